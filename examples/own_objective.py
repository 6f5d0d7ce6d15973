"""Condense by an objective of your own: the spread of features beside their mean.

    python examples/own_objective.py

A class with the methods of ``condensery.methods.objectives.base.Objective`` is named by its import
path. Everything else (the loop, augmentation, chunks, checkpoints, evaluation) stays as it is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensery import condense, evaluate, load
from condensery.methods.task import Step
from condensery.nets import embed


@dataclass(kw_only=True)
class MeanAndSpread:
    """Squared distance between the classes' mean features, and between their mean squares."""

    spread: float = 0.1
    """What the mean squares count."""

    separable = True  # compare is a sum over classes
    additive = True  # a class's batch may be taken in pieces
    single = False  # a call takes several classes
    passes = 1.0  # one forward pass for each real image

    def compiles(self, network: nn.Module) -> bool:
        return True

    def levels(self, step: Step) -> tuple[float, float]:
        return 1.0, 0.0  # each class counts, and the mean of all of them does not

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """k×2d: row c of ``weights`` (k×N) holds what each of N images counts in class c."""
        features = embed(network, images).to(weights.dtype)
        return torch.cat([weights @ features, self.spread**0.5 * (weights @ features.square())], 1)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        return (real - synthetic).square().sum()

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=100)
    given = parser.parse_args()
    data = load("digits")
    own = {"objective.kind": "own_objective:MeanAndSpread", "objective.spread": 0.1}
    for name, changes in (("mean", {}), ("mean and spread", own)):
        condensed = condense(data, "dm", ipc=1, iterations=given.iterations, overrides=changes)
        (row,) = evaluate(condensed, data, repeats=3, epochs=given.epochs)
        print(f"{name:<16} {row.mean:.1f} ± {row.std:.1f} % (n={row.n}, {row.protocol})")


if __name__ == "__main__":
    main()
