"""Runs that are killed over and over, and whether they end with the bytes of one that never was.

    python benchmarks/kills.py --kills 200 --out benchmarks/results/kills.json

Recipes of every formation, objective and supply take turns on scikit-learn's digits. Each run is
killed (SIGKILL) three times: at a drawn moment, while a checkpoint is written, at a drawn moment;
then it is resumed to its end, and its file is compared with that of an uninterrupted run.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from condensery.cli.main import main as condensery
from condensery.utils.files import whole_file

from measure import write_report

SMALL = ["--ipc", "1", "--real-batch", "8", "--plan", "exact", "--threads", "1"]
NET = ["--supply.net", "convnet2:width=16"]
RECIPES = {
    "dm": ["--recipe", "dm", *NET],
    "dm_bn": ["--recipe", "dm_bn", "--supply.net", "convnet2:width=16,norm=batch"],
    "dsa": ["--recipe", "dsa", *NET, "--supply.steps", "3", "--supply.epochs", "1"],
    "gm_mdo": ["--recipe", "gm_mdo", "--supply.net", "convnet2:width=16,norm=batch"],
    "cafe": ["--recipe", "cafe", *NET, "--supply.step_cap", "3", "--supply.query", "8"],
    "idc": ["--recipe", "idc", *NET, "--supply.steps", "3", "--supply.images", "32"],
    "fsrcnn": ["--recipe", "dm", *NET, "--formation.kind", "fsrcnn", "--optimizer.rate", "0.1"],
    "mmd": ["--recipe", "mmd"],
}
ITERATIONS = 14


def child(arguments: list[str], slowly: bool) -> None:
    """The command in a process of its own, with slow writing where it is asked."""
    torch.set_num_threads(1)
    if slowly:
        from condensery.utils import checkpoint

        @contextlib.contextmanager
        def torn(path: Path) -> Iterator[Path]:
            with whole_file(path) as temporary:
                temporary.write_bytes(b"half of it")
                time.sleep(0.1)
                yield temporary

        vars(checkpoint)["whole_file"] = torn
    raise SystemExit(condensery(arguments))


def killed(arguments: list[str], out: Path, dice: random.Random, writing: bool) -> dict[str, Any]:
    """Start a command and kill it; where it was, and what it was doing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["condensery.cli.condense"])
    process = context.Process(target=child, args=(arguments, writing))
    process.start()
    wait = dice.uniform(0.0, 0.4)
    seen = False
    while process.is_alive():
        if not seen and (out / "run.json").exists():
            seen, begun = True, time.monotonic()
        half = list((out / "checkpoints").glob(".state*-writing-*/*")) if writing else []
        if half or (seen and not writing and time.monotonic() - begun > wait):
            process.kill()
            break
        time.sleep(0.001)
    process.join()
    file = out / "metrics.jsonl"
    lines = file.read_bytes().count(b"\n") if file.exists() else 0
    return {"exit": process.exitcode, "iteration": lines, "writing": writing}


def main() -> None:
    """Kill, resume, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    dice = random.Random(0)
    tally = {name: {"kills": 0, "runs": 0, "same_bytes": 0} for name in RECIPES}
    kills = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as place:
        number = 0
        while len(kills) < options.kills:
            name = list(RECIPES)[number % len(RECIPES)]
            number += 1
            arguments = ["condense", *SMALL, *RECIPES[name], "--iterations", str(ITERATIONS)]
            whole, out = Path(place, f"whole-{name}"), Path(place, str(number))
            if not whole.exists():
                condensery([*arguments, "--out", str(whole), "--quiet"])
            for turn in range(3):
                again = ["resume", str(out)] if turn else [*arguments, "--out", str(out)]
                often = ["--checkpoint-every", dice.choice(["1it", "2steps", "0.05s"]), "--quiet"]
                found = killed([*again, *often], out, dice, writing=turn == 1)
                if found["exit"] == -9:
                    kills.append({"recipe": name, **found})
                    tally[name]["kills"] += 1
            # Killed so early that there is no run yet: the command begins it.
            begun = (out / "recipe.yaml").exists()
            last = ["resume", str(out)] if begun else [*arguments, "--out", str(out)]
            code = condensery([*last, "--quiet"])
            file = "condensed.safetensors"
            same = code == 0 and (out / file).read_bytes() == (whole / file).read_bytes()
            tally[name]["runs"] += 1
            tally[name]["same_bytes"] += same
            print(
                f"{len(kills)} kills, {name}: {'same bytes' if same else 'DIFFERENT'}", flush=True
            )
    content = {
        "benchmark": "kills",
        "kills": len(kills),
        "while_writing": sum(one["writing"] for one in kills),
        "before_the_first_report": sum(one["iteration"] == 0 for one in kills),
        "runs": sum(one["runs"] for one in tally.values()),
        "same_bytes": sum(one["same_bytes"] for one in tally.values()),
        "by_recipe": tally,
        "seed": 0,
    }
    write_report(options.out, content)


if __name__ == "__main__":
    main()
