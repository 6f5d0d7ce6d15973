"""Where IDC starts: images packed into the tiles by area means or by nearest pixels.

    python benchmarks/starts.py --data mnist --ipc 1 --draws 5 --epochs 300 --threads 1 \
        --out benchmarks/results/mnist_ipc1_starts.json
    python benchmarks/starts.py --data cifar10 --ipc 1 --draws 5 --protocol idc \
        --out benchmarks/results/cifar10_ipc1_starts.json

Nothing is learned. Both ways take the same images of a seed and the same network draws; networks
are trained on the decoded start and tested on a tenth of each class of the training split, which is
held out, and not on the test split. One JSON file: accuracies pair by pair, their mean difference
with its standard error, protocol, plan, commit and hardware.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path

import torch

from condensery import condense, evaluate, load
from condensery.data import Data, LabelledSet
from condensery.methods.pools.networks import divide

from measure import write_report

WAYS = ("area", "nearest")


def without_test(data: Data, share: float = 0.1) -> Data:
    """The training split in two: what is condensed, and what networks are tested on."""

    def part(rows: torch.Tensor) -> LabelledSet:
        rows = rows.sort().values
        full = data.train
        return LabelledSet.of(
            full.images[rows],
            full.labels[rows],
            full.class_names,
            full.name,
            mean=full.mean,
            std=full.std,
        )

    kept, held = (part(rows) for rows in divide(data.train, share, 0))
    return dataclasses.replace(data, train=kept, test=held)


def main() -> None:
    """Start, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--nets", type=int, default=1, help="networks on each start")
    parser.add_argument("--net", default=None)
    parser.add_argument("--protocol", default="idc")
    parser.add_argument("--epochs", type=int, help="shorten the protocol")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    data = without_test(load(options.data))
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    about: dict[str, object] = {}
    for seed in range(options.draws):
        for way in WAYS:
            one = condense(
                data,
                "idc",
                ipc=options.ipc,
                iterations=0,
                seed=seed,
                overrides={"formation.shrink": way},
                threads=options.threads,
            )
            (row,) = evaluate(
                one,
                data,
                network=options.net,
                repeats=options.nets,
                protocol=options.protocol,
                epochs=options.epochs,
                seed=seed,
                threads=options.threads,
            )
            found[way].append(row.mean)
            about = {"net": row.net, "protocol": row.protocol, "plan": row.plan}
            print(f"seed {seed}, {way}: {row.mean:.2f}", flush=True)
    pairs = [b - a for a, b in zip(found["area"], found["nearest"], strict=True)]
    error = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else None
    content = {
        "benchmark": "starts",
        "data": options.data,
        "tested_on": "a tenth of each class of the training split, held out",
        "ipc": options.ipc,
        "nets": options.nets,
        **about,
        "accuracies": found,
        "nearest_minus_area": {
            "mean": statistics.fmean(pairs),
            "standard_error": error,
            "n": len(pairs),
        },
    }
    write_report(options.out, content)
    print(content["nearest_minus_area"])


if __name__ == "__main__":
    main()
