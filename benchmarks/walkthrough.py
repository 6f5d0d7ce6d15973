"""The README's walk-through on 300 photographs, timed, as transcripts of 80 columns.

    python benchmarks/walkthrough.py --data imagenette96 --work local/walk --out docs/walkthrough.md

Takes 30 photographs of each class of a data set in ``$CONDENSERY_DATA`` (parquet), writes them into
class folders, and runs every command as a user would. What they print goes into a page.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from condensery.runtime.processors import default_threads
from condensery.runtime.provenance import machine

COMMANDS = (
    "condensery data ./photos --size 64",
    "condensery condense --data ./photos --size 64 --ipc 10 --out runs/photos --minutes 2",
    # The steps that whole takes of its own accord, in smaller batches: few images, many epochs.
    "condensery evaluate runs/photos random whole+epochs=24+batch=16 --minutes 5",
    "condensery compare dm=runs/photos random --net mlp --epochs 20 --nets 2 --reference random",
    "condensery export runs/photos --to npz --out photos",
)
_HEAD = """# A session, with its output

300 photographs of ten classes ({data}), in folders of classes, at 64 pixels, in a terminal of 80
columns. {where} All commands together took {minutes:.1f} minutes. Made by
`benchmarks/walkthrough.py`; progress is left out.
"""


def photographs(data: str, folder: Path, each: int) -> None:
    """Some photographs of every class, as files in folders of classes."""
    from datasets import Image, load_dataset

    place = Path(os.environ["CONDENSERY_DATA"]) / data
    files = sorted(str(file) for file in place.glob("train-*.parquet"))
    split = load_dataset("parquet", data_files=files, split="train")
    names, taken = split.features["label"].names, dict[int, int]()
    for row in split.cast_column("image", Image(decode=False)):
        label = row["label"]
        number = taken[label] = taken.get(label, 0) + 1
        if number <= each:
            file = folder / names[label].replace(" ", "_") / f"{number:03d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(row["image"]["bytes"])


def told(command: str, work: Path) -> tuple[str, float]:
    """What a command prints in 80 columns, and its seconds."""
    words = shlex.split(command)
    environment = {**os.environ, "COLUMNS": "80"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stderr}")
    return done.stdout, time.monotonic() - began


def main() -> None:
    """Make the photographs, run the commands, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="imagenette96")
    parser.add_argument("--work", type=Path, default=Path("local/walk"))
    parser.add_argument("--out", type=Path, default=Path("docs/walkthrough.md"))
    parser.add_argument("--note", default="", help="what else ran on the machine")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    photographs(options.data, options.work / "photos", 30)
    os.environ["CONDENSERY_CACHE"] = str(options.work.resolve() / "cache")
    parts, total = list[str](), 0.0
    for command in COMMANDS:
        shown, seconds = told(command, options.work)
        total += seconds
        print(f"{seconds:7.1f} s  {command}\n{shown}", flush=True)
        parts.append(f"```\n$ {command}\n{shown.rstrip()}\n```\n\n{seconds:.0f} seconds.\n")
    threads = default_threads()
    where = f"{machine().get('processor') or 'A processor'}, {threads} of its cores."
    head = _HEAD.format(
        data=options.data, where=f"{where} {options.note}".strip(), minutes=total / 60
    )
    options.out.write_text("\n".join([head, *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
