"""What a visit leaves to the next one: records, sets, accuracies and checkpoints, in a few tars."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: At most so many files of so many bytes; tars have headers, and others may come back beside them.
TARS, ROOM = 4, 15 * 2**20
#: Records of all visits, in the state.
RECORDS = "records.jsonl"
#: The end of a log that is kept.
_LOG = 32 * 1024
#: Of a run's checkpoints: the newest that is certainly whole.
_CHECKPOINTS = ("state.safetensors", "state-before.safetensors")
#: Each kind of file, by what goes first when there is little room.
_FIRST, _RESULTS, _SETS, _UNFINISHED, _LOGS, _CACHES, _COMPILED = range(7)


@dataclass(frozen=True)
class Bundle:
    """Files that are of use together only."""

    order: int
    """What goes first."""
    name: str
    """What it is called when it is left out."""
    files: tuple[tuple[str, bytes], ...]
    """Name in the tar, and content."""

    @property
    def size(self) -> int:
        """Bytes in a tar."""
        return sum(1024 + -(-len(content) // 512) * 512 for _, content in self.files)


def read_records(*files: Path) -> list[dict[str, Any]]:
    """The records of some files; a torn last line is left out."""
    out: list[dict[str, Any]] = []
    for file in files:
        if not file.exists():
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found = json.loads(line)
                if found not in out:
                    out.append(found)
    return out


def unpack(state: Path, work: Path) -> list[str]:
    """Put an earlier visit's tars into the folder of work; the names of those that were read."""
    tars = sorted(state.glob("*.tar"))
    for file in tars:
        with tarfile.open(file) as held:
            held.extractall(work, filter="data")
    return [file.name for file in tars]


def pack(work: Path, out: Path, commit: str | None) -> list[str]:
    """Write the tars; the names of what found no room.

    Args:
        work: the queue's folder.
        out: where the tars go.
        commit: what results are marked with that were made where there is no git.
    """
    bundles = sorted(_bundles(work, commit), key=lambda b: (b.order, b.size))
    filled: list[list[Bundle]] = [[] for _ in range(TARS)]
    left = [ROOM] * TARS
    missing: list[str] = []
    for one in bundles:
        place = next((k for k in range(TARS) if one.size <= left[k]), None)
        if place is None:
            missing.append(f"{one.name} ({one.size / 2**20:.1f} MiB)")
            continue
        filled[place].append(one)
        left[place] -= one.size
    for number, held in enumerate(filled, 1):
        if held:
            _write(out / f"state-{number}.tar", held)
    return missing


def _write(path: Path, bundles: list[Bundle]) -> None:
    temporary = path.with_suffix(".part")
    with tarfile.open(temporary, "w") as tar:
        for name, content in (file for one in bundles for file in one.files):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            about.mode = 0o644
            tar.addfile(about, io.BytesIO(content))
    temporary.replace(path)


def _bundles(work: Path, commit: str | None) -> Iterator[Bundle]:
    records = work / RECORDS
    if records.exists():
        yield _bundle(_FIRST, work, [records])
    for file in _files(work / "reproduce" / "results"):
        yield _result(work, file, commit)
    for folder in ("answers", "reproduce/tested"):
        for file in _files(work / folder):
            yield _bundle(_RESULTS, work, [file])
    for folder in ("reproduce/sets", "runs"):
        for recipe in sorted((work / folder).rglob("recipe.yaml")):
            yield _run(work, recipe.parent)
    for file in _files(work / "pools"):
        yield _bundle(_CACHES, work, [file])
    for file in _files(work / "logs"):
        content = file.read_bytes()[-_LOG:]
        yield Bundle(_LOGS, str(file.name), ((_name(work, file), content),))
    for folder in ("cache/selection", "cache/whole"):  # decoded images are made again
        for file in _files(work / folder):
            yield _bundle(_CACHES, work, [file])
    for file in _files(work / "compiled"):
        yield _bundle(_COMPILED, work, [file])


def _run(work: Path, folder: Path) -> Bundle:
    """A set, or what an unfinished one goes on from."""
    kept = [file for file in sorted(folder.iterdir()) if file.is_file()]
    kept = [file for file in kept if file.name != "images.png" and file.name[0] != "."]
    if any(file.suffix == ".safetensors" for file in kept):
        return _bundle(_SETS, work, kept)
    states = [folder / "checkpoints" / name for name in _CHECKPOINTS]
    newest = [file for file in states if file.exists()][:1]
    return _bundle(_UNFINISHED, work, [*kept, *newest])


def _result(work: Path, file: Path, commit: str | None) -> Bundle:
    content = file.read_bytes()
    with suppress(ValueError):
        held = json.loads(content)
        if isinstance(held, dict) and held.get("commit") is None and commit:
            content = (json.dumps({**held, "commit": commit}, indent=2) + "\n").encode()
    return Bundle(_RESULTS, file.name, ((_name(work, file), content),))


def _bundle(order: int, work: Path, files: list[Path]) -> Bundle:
    content = tuple((_name(work, file), file.read_bytes()) for file in files)
    name = _name(work, files[0] if len(files) == 1 else files[0].parent)
    return Bundle(order, name, content)


def _name(work: Path, file: Path) -> str:
    return file.relative_to(work).as_posix()


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [file for file in found if file.is_file() and not file.name.startswith(".")]
