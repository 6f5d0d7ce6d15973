"""One optimiser step on all classes against steps class by class, as IDC's program takes them.

    python benchmarks/momentum.py --out benchmarks/results/momentum.json

Class by class, with one momentum buffer for all pixels, a class coasts on its momentum while the
others take their turns: c steps before its own gradient and C−1−c after it. That is emulated
exactly here. A gradient moves its pixels by rate / (1 − momentum) in both, sooner or later; what
differs is when. Sets of scikit-learn's digits, from the same starts.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from condensery import evaluate, load
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import exact_plan
from condensery.sets.condensed import CondensedSet

from measure import write_report

NET = "convnet2:width=32"


def class_by_class(run: Condenser) -> None:
    """Replace the optimiser's step by one that ranges from class to class."""
    momentum, rate = run.config.optimizer.momentum, run.config.optimizer.rate
    buffer = torch.zeros_like(run.stored.detach())

    def step() -> None:
        slope = run.stored.grad
        assert slope is not None
        with torch.no_grad():
            for turn in range(len(run.stored)):  # whose turn it is
                buffer.mul_(momentum)
                buffer[turn] += slope[turn]
                run.stored.sub_(rate * buffer)

    run.optimizer.step = step  # type: ignore[method-assign]


def condensed(data: Data, seed: int, steps: int, rate: float, by_class: bool) -> CondensedSet:
    """One short run of ``idc`` at one image per class."""
    small: dict[str, Any] = {"ipc": 1, "iterations": int(steps > 0), "seed": seed}
    small |= {"supply.steps": max(steps, 1), "supply.net": NET, "supply.images": 200}
    run = Condenser(data, configure(data, "idc", {**small, "optimizer.rate": rate}), exact_plan())
    if by_class:
        class_by_class(run)
    return run.run()


def main() -> None:
    """Condense, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--nets", type=int, default=2, help="a set")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.005, help="ten times the recipe's, here")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    data, rate = load("digits"), options.rate
    ways = {
        "start": (0, rate, False),
        "all classes at once": (options.steps, rate, False),
        "class by class": (options.steps, rate, True),
        "all at once, twice the rate": (options.steps, 2 * rate, False),
    }
    rows = []
    for name, (steps, speed, by_class) in ways.items():
        found: list[float] = []
        for seed in range(options.seeds):
            made = condensed(data, seed, steps, speed, by_class)
            how: dict[str, Any] = {"protocol": "idc", "epochs": options.epochs, "plan": "exact"}
            how |= {"n": options.nets, "seed": seed, "threads": 1, "nets": NET}
            found += evaluate(made, data, **how)[0].accuracies
        mean, std = float(np.mean(found)), float(np.std(found))
        rows.append({"way": name, "n": len(found), "mean": mean, "std": std, "accuracies": found})
        print(f"{name}: {mean:.1f} ± {std:.1f} (n={len(found)})", flush=True)
    if options.out:
        content = {
            "benchmark": "momentum",
            "protocol": f"idc+epochs={options.epochs}",
            "settings": {k: v for k, v in vars(options).items() if k != "out"},
            "rows": rows,
        }
        write_report(options.out, content)


if __name__ == "__main__":
    main()
