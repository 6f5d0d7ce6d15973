"""Puts what a machine with a GPU and no network lacks into ``.gpu/``: wheels, data, the commit.

    CONDENSERY_DATA=… python benchmarks/gpu/pack.py

Run where there is a network. git ignores the folder; it travels with the working tree.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The whole folder, at most: what travels is limited.
ROOM = 60 * 2**20
#: Packages that are carried, with their versions where ``constraints.txt`` has none.
WHEELS = {
    "datasets": "",
    "dill": "0.4.1",
    "multiprocess": "0.70.19",
    "jsonargparse": "",
    "docstring_parser": "",
    "typeshed_client": "2.15.0",
    "platformdirs": "",
}
#: Packages that are expected there, with versions where they are known.
EXPECTED = {
    **dict.fromkeys(("click", "filelock", "fsspec", "hf-xet", "httpx", "joblib", "packaging")),
    **dict.fromkeys(("pandas", "pillow", "pyarrow", "pyyaml", "requests", "scikit-learn")),
    **dict.fromkeys(("scipy", "tabulate", "tqdm", "typing-extensions", "xxhash")),
    "huggingface-hub": "1.33.0",
    "numpy": "2.5.2",
    "safetensors": "0.8.0",
    "torch": "2.11.0",
}
DATA = ("mnist", "usps", "cifar10")
_PYTHON = "3.12"
_PLATFORMS = (
    *(f"manylinux_2_{n}_x86_64" for n in (28, 27, 24, 17)),
    *("manylinux2014_x86_64", "manylinux1_x86_64"),
)


def plain(name: str) -> str:
    """A package's name as the index has it.

    >>> plain("docstring_parser[x]")
    'docstring-parser'
    """
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def constrained(text: str) -> dict[str, str]:
    """Versions by package, out of ``constraints.txt``."""
    pairs = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {plain(name.strip()): version.strip() for name, _, version in pairs if "#" not in name}


def wanted() -> list[str]:
    """The carried packages with their versions."""
    known = constrained((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    return [f"{name}=={version or known[plain(name)]}" for name, version in WHEELS.items()]


def download(folder: Path) -> None:
    """Fetch the wheels for the other machine's Python."""
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", _PYTHON, "--implementation", "cp"]
    subprocess.run([*command, *platforms, "-d", str(folder), *wanted()], check=True)


def requirements(wheel: Path) -> tuple[str, str, list[str]]:
    """A wheel's name, version and what it says it requires."""
    with zipfile.ZipFile(wheel) as held:
        name = next(n for n in held.namelist() if n.endswith(".dist-info/METADATA"))
        about = message_from_bytes(held.read(name))
    return plain(about["Name"]), about["Version"], about.get_all("Requires-Dist") or []


def unmet(wheels: Path, project: list[str]) -> list[str]:
    """Requirements of the project and of the carried wheels that nothing there fulfils."""
    from packaging.requirements import Requirement

    found = {name: (version, needs) for name, version, needs in map(requirements, wheels.iterdir())}
    there = {**EXPECTED, **{name: version for name, (version, _) in found.items()}}
    asked = [("condensery", text, "") for text in project]
    # The extra that pyproject.toml asks for.
    asked += [
        (name, text, "signatures" if name == "jsonargparse" else "")
        for name, (_, needs) in found.items()
        for text in needs
    ]
    out = []
    for asker, text, extra in asked:
        need = Requirement(text)
        place = {"extra": extra, "python_version": _PYTHON, "platform_machine": "x86_64"}
        place |= {"python_full_version": f"{_PYTHON}.3", "sys_platform": "linux"}
        if need.marker is not None and not need.marker.evaluate(place):
            continue
        name = plain(need.name)
        version = there.get(name)
        if name not in there or (version and not need.specifier.contains(version, True)):
            out.append(f"{asker} requires {text}; there: {version or 'nothing'}")
    return out


def commit() -> str:
    """The commit of the checkout, marked where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")


def size_of(folder: Path) -> int:
    """Bytes below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def copy_state(states: list[Path], folder: Path, room: int) -> list[str]:
    """Copy an earlier visit's records and tars, the most valuable first; those without room."""
    missing = []
    files = [f for s in states for kind in ("*.jsonl", "*.tar") for f in sorted(s.glob(kind))]
    for file in files:
        if file.stat().st_size > room:
            missing.append(file.name)
            continue
        room -= file.stat().st_size
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / file.name)
    return missing


def main() -> int:
    """The command line."""
    import tomllib

    results = ROOT / "benchmarks" / "results" / "gpu"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--state", type=Path, help="folder of an earlier visit's tars and records")
    parser.add_argument("--data", nargs="+", default=list(DATA), help="data sets that are carried")
    parser.add_argument("--to", type=Path, default=ROOT / ".gpu", help="folder, made anew")
    asked = parser.parse_args()
    source = os.environ.get("CONDENSERY_DATA")
    if not source:
        return _fail("set CONDENSERY_DATA to the folder that has mnist/, usps/ and cifar10/")
    shutil.rmtree(asked.to, ignore_errors=True)
    (asked.to / "wheels").mkdir(parents=True)
    download(asked.to / "wheels")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    complaints = unmet(asked.to / "wheels", project["dependencies"])
    if complaints:
        return _fail("; ".join(complaints))
    for name in asked.data:
        files = sorted(Path(source, name).glob("*.parquet"))
        if not files:
            return _fail(f"there is no parquet file in {Path(source, name)}")
        (asked.to / "data" / name).mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, asked.to / "data" / name / file.name)
    (asked.to / "commit").write_text(commit() + "\n", encoding="utf-8")
    states = [asked.state] if asked.state else [results, results / "state"]
    missing = copy_state(states, asked.to / "state", ROOM - size_of(asked.to))
    if missing:
        print(f"no room for the state in {', '.join(missing)}: carry less --data")
    for part in sorted(asked.to.iterdir()):
        size = part.stat().st_size if part.is_file() else size_of(part)
        print(f"{size / 2**20:6.1f} MiB  {part.name}")
    size = size_of(asked.to)
    print(f"{size / 2**20:6.1f} MiB in {asked.to}")
    if size > ROOM:
        return _fail(f"{size / 2**20:.1f} MiB are above the {ROOM / 2**20:.0f}: carry less --data")
    return 0


def _fail(message: str) -> int:
    print(f"pack: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
