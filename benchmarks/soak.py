"""A long run, watched: resident memory and open files over time, as JSON and as a picture.

    python benchmarks/soak.py --out benchmarks/results/soak.json --picture docs/images/soak.png \
        -- condense --data fsdd --recipe idc --minutes 33 --out runs/soak

Everything after ``--`` is a command of condensery. Growth is the slope of a line through the second
half of the anonymous memory (Linux; files that are mapped are not counted), in MB an hour.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from measure import write_report


def sample(process: int) -> dict[str, float]:
    """Memory in MB and open files of a process."""
    fields = {}
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            fields[name] = float(value.split()[0]) / 1024
    files = len(list(Path(f"/proc/{process}/fd").iterdir()))
    return {"rss_mb": fields["VmRSS"], "anonymous_mb": fields["RssAnon"], "files": float(files)}


def watch(command: list[str], seconds: float) -> tuple[list[dict[str, float]], int]:
    """Run a command to its end and look at it now and then."""
    worker = subprocess.Popen([sys.executable, "-m", "condensery", *command])
    began, samples = time.monotonic(), list[dict[str, float]]()
    while worker.poll() is None:
        try:
            samples.append({"seconds": time.monotonic() - began, **sample(worker.pid)})
        except (OSError, KeyError):
            break  # it has just ended
        if len(samples) % 30 == 0:
            print(samples[-1], flush=True)
        time.sleep(seconds)
    return samples, worker.wait()


def growth(samples: list[dict[str, float]], what: str) -> float:
    """Slope through the second half, an hour."""
    half = samples[len(samples) // 2 :]
    at = np.array([one["seconds"] for one in half]) / 3600
    return float(np.polyfit(at, np.array([one[what] for one in half]), 1)[0])


def draw(samples: list[dict[str, float]], path: Path) -> None:
    """Memory over time; open files below it."""
    width, height, edge = 900, 420, 60
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    last = samples[-1]["seconds"]
    parts = (
        ("anonymous_mb", "memory, MB", 20, 260, "#1f5fa8"),
        ("files", "files", 300, 380, "#a8451f"),
    )
    for what, words, top, bottom, colour in parts:
        values = [one[what] for one in samples]
        most = max(values) * 1.15
        pen.line([(edge, top), (edge, bottom), (width - 20, bottom)], fill="black")
        places = [
            (edge + one["seconds"] / last * (width - 20 - edge), bottom - v / most * (bottom - top))
            for one, v in zip(samples, values, strict=True)
        ]
        pen.line(places, fill=colour, width=2)
        pen.text((edge + 6, top), f"{words}: 0 … {most:.0f}", fill="black")
    pen.text((width - 150, height - 30), f"0 … {last / 60:.0f} minutes", fill="black")
    picture.save(path)


def main() -> None:
    """Watch, print, write."""
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="between two looks")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments[:cut])
    command = arguments[cut + 1 :]
    samples, code = watch(command, options.seconds)
    facts: dict[str, Any] = {
        "benchmark": "soak",
        "command": "condensery " + " ".join(command),
        "exit": code,
        "minutes": samples[-1]["seconds"] / 60,
        "samples": len(samples),
        "growth_mb_an_hour": growth(samples, "anonymous_mb"),
        "growth_files_an_hour": growth(samples, "files"),
        "most": {k: max(one[k] for one in samples) for k in ("rss_mb", "anonymous_mb", "files")},
        "series": [{k: round(v, 1) for k, v in one.items()} for one in samples],
    }
    write_report(options.out, facts)
    if options.picture:
        draw(samples, options.picture)
    print({k: facts[k] for k in ("minutes", "growth_mb_an_hour", "growth_files_an_hour", "most")})


if __name__ == "__main__":
    main()
