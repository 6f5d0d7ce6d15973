"""Several ways to condense one data set, compared under one budget and one protocol.

    python benchmarks/several.py --data mnist --ipc 1 --protocol dc --runs local/cafe \
        --row "dm: --recipe dm --iterations 300" --row "cafe: --recipe cafe --iterations 6" \
        --out benchmarks/results/mnist_ipc1_cafe.json

Each row is a name and the arguments of ``condensery condense``; ``--set NAME=PATH`` adds a set that
already exists, such as a checkpoint of a run that goes on. Random selections stand beside them.
What is finished in ``--runs`` is taken as it is. One JSON file: numbers with n and std, seeds,
protocol, commands, what the supply did, plans, times, commit and hardware.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from condensery.cli.main import main as condensery

from measure import write_report


def run(commands: list[str], *arguments: str) -> None:
    """Run a command and remember it."""
    commands.append("condensery " + " ".join(arguments))
    print("$", commands[-1], flush=True)
    code = condensery(arguments)
    if code:
        sys.exit(code)


def lives(folder: Path, until: int) -> dict[str, Any]:
    """How the networks of a run were left, up to an iteration, where its metrics tell."""
    file = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    lines = [line for line in lines if line["iteration"] <= until]
    found = [
        one
        for line in lines
        if isinstance(line["supply"].get("networks"), list)
        for one in line["supply"]["networks"]
    ]
    out: dict[str, Any] = {}
    if lines:
        out = {"pixel_steps": lines[-1]["step"], "condensing_seconds": lines[-1]["seconds"]}
    if found:
        loops = sum(one["steps"] - 1 for one in found)
        capped = sum(one["epochs_capped"] for one in found)
        out |= {
            "networks": len(found),
            "ended_by_the_queue": sum(one["ended"] == "converged" for one in found),
            "inner_loops": loops,
            "inner_loops_ended_by_the_queue": loops - capped,
            "inner_epochs": sum(one["epochs"] for one in found),
        }
    return out


def known(
    answer: Path, place: Path, nets: int, protocol: str, epochs: int | None
) -> dict[str, Any] | None:
    """The result of the same evaluation of the same set, where it was done before."""
    if not answer.exists():
        return None
    (row,) = json.loads(answer.read_text())["results"]
    name = f"{protocol}+epochs={epochs}" if epochs else protocol
    files = [place] if place.is_file() else list(place.glob("**/condensed.safetensors"))
    newer = any(file.stat().st_mtime > answer.stat().st_mtime for file in files)
    same = row["n"] == nets * len(row["sets"]) and row["protocol"] == name
    return dict(row) if same and row["set"] == str(place) and not newer else None


def described(row: dict[str, Any], name: str, place: Path) -> dict[str, Any]:
    """A result with what its run tells."""
    early = place.is_file() and place.parent.name == "checkpoints"
    folder = place if place.is_dir() else place.parent.parent if early else place.parent
    facts: dict[str, Any] = {}
    if (folder / "run.json").exists():
        held = json.loads((folder / "run.json").read_text())
        facts = {"condensing_plan": held["plan"], "condensing_commit": held["commit"]}
    until = int(place.stem) if early else sys.maxsize
    return {**row, "set": name, **lives(folder, until), **facts}


def main() -> None:
    """Condense, select, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--protocol", default="dc")
    parser.add_argument("--epochs", type=int, help="shorten the protocol")
    parser.add_argument("--nets", type=int, default=5, help="networks on each set")
    parser.add_argument("--draws", type=int, default=5, help="random selections; 0 for none")
    parser.add_argument("--draw-nets", type=int, default=1, help="networks on each of them")
    parser.add_argument("--row", action="append", default=[], help="NAME: arguments of condense")
    parser.add_argument("--set", action="append", default=[], help="NAME=PATH")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    commands = list[str]()
    data, ipc = ["--data", options.data], ["--ipc", str(options.ipc)]
    threads = ["--threads", str(options.threads)] if options.threads else []
    places: dict[str, tuple[Path, int]] = {}
    for text in options.row:
        name, _, arguments = text.partition(":")
        place = options.runs / name
        words = [*shlex.split(arguments), *data, *ipc, *threads]
        run(commands, "condense", *words, "--out", str(place))
        places[name] = place, options.nets
    for text in options.set:
        name, _, path = text.partition("=")
        places[name] = Path(path), options.nets
    if options.draws:
        place = options.runs / "random"
        draws = ["--sets", str(options.draws)] if options.draws > 1 else []
        run(commands, "select", "random", *data, *ipc, *draws, "--out", str(place))
        places["random"] = place, options.draw_nets
    short = ["--epochs", str(options.epochs)] if options.epochs else []
    results = []
    for name, (place, nets) in places.items():
        answer = options.runs / f"{name}.{options.protocol}.json"
        how = ["--protocol", options.protocol, *short, "--nets", str(nets), *threads]
        words = ["evaluate", str(place), *data, *how, "--json", str(answer)]
        row = known(answer, place, nets, options.protocol, options.epochs)
        if row is None:
            run(commands, *words)
            (row,) = json.loads(answer.read_text())["results"]
        else:
            commands.append("condensery " + " ".join(words))
        results.append(described(row, name, place))
    content = {
        "benchmark": "several",
        "commands": [c.replace(str(options.runs), "RUNS") for c in commands],
        "results": results,
    }
    write_report(options.out, content)


if __name__ == "__main__":
    main()
