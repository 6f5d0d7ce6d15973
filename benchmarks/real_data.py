"""Condensing against random selection on real data, under one protocol.

    python benchmarks/real_data.py --data mnist --ipc 10 --iterations 900 --epochs 300 \
        --runs local/mnist --out result.json

Condenses one set (a finished or unfinished run in ``--runs`` is taken up), draws random sets,
trains networks on all of them and writes one JSON file: numbers with n and std, seeds, protocol,
commands, plan, times, commit and hardware.
"""

from __future__ import annotations

import argparse
import json
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


def main() -> None:
    """Condense, select, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="dm")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--protocol", default="dsa")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--nets", type=int, default=5, help="networks on the condensed set")
    parser.add_argument("--draw-nets", type=int, default=2, help="networks on each random draw")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    runs, commands = options.runs, list[str]()
    condensed, draws = runs / options.recipe, runs / "random"
    data, ipc = ["--data", options.data], ["--ipc", str(options.ipc)]
    run(
        commands, "condense", "--recipe", options.recipe, *data, *ipc,
        "--iterations", str(options.iterations), "--out", str(condensed),
    )  # fmt: skip
    if not draws.exists():
        run(
            commands, "select", "random", *data, *ipc, "--sets", str(options.draws),
            "--out", str(draws),
        )  # fmt: skip
    results: list[dict[str, Any]] = []
    for place, nets in ((condensed, options.nets), (draws, options.draw_nets)):
        answer = runs / f"{place.name}.json"
        run(
            commands, "evaluate", str(place), "--protocol", options.protocol,
            "--epochs", str(options.epochs), "--nets", str(nets), "--json", str(answer),
        )  # fmt: skip
        results += json.loads(answer.read_text())["results"]
    facts = json.loads((condensed / "run.json").read_text())
    for result in results:
        result["set"] = Path(result["set"]).name
    content = {
        "benchmark": "real_data",
        "commands": [c.replace(str(runs), "RUNS") for c in commands],
        "results": results,
        "condensing_seconds": facts["seconds"],
        "condensing_plan": facts["plan"],
        "condensing_commit": facts["commit"],
    }
    write_report(options.out, content)


if __name__ == "__main__":
    main()
