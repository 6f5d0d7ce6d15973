"""Gradient matching: gradients of class losses to a network's weights (DC, DSA, GM, IDC)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from condensery.errors import UsageError
from condensery.methods.task import Step

from .distances import parse_distance, row_distance
from .gradients import Parameters, class_gradients, compiles, matched_parameters


@dataclass(kw_only=True)
class ClassGradients:
    """Distance between the gradients of the classes' mean cross-entropies.

    DC, algorithm 1, lines 5 to 7; GM, equations 4 to 6, for the levels.
    """

    distance: str = "cosine"
    """cosine, l2, squared, mean_squared or l1, or a sum such as cosine+0.1*l2, over rows."""
    parameters: Literal["weights", "conv", "all"] = "weights"
    """Which take part: weights of at least two dimensions, those of convolutions, or all."""
    level: Literal["intra", "inter", "multi", "interleaved"] = "intra"
    """Each class's gradient, their mean, both (GM), or one after the other, step by step."""
    inter_weight: float | None = None
    """What the mean's distance counts against a class's; the number of classes by default."""

    separable: ClassVar[bool] = True
    additive: ClassVar[bool] = True
    single: ClassVar[bool] = True
    passes: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        parse_distance(self.distance)
        if self.inter_weight is not None and not 0 < self.inter_weight < math.inf:
            raise UsageError(
                f"objective.inter_weight must be positive and finite, got {self.inter_weight}"
            )

    def compiles(self, network: nn.Module) -> bool:
        """Only chains of layers: compiled code cannot be differentiated twice."""
        return compiles(network)

    def levels(self, step: Step) -> tuple[float, float]:
        """1 for the classes and λ for their mean (GM, equation 6), as the level has them."""
        weight = float(step.classes) if self.inter_weight is None else self.inter_weight
        inter = self.level == "inter" or (self.level == "interleaved" and step.number % 2 == 1)
        if self.level == "multi":
            return 1.0, weight
        return (0.0, weight) if inter else (1.0, 0.0)

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Each class's gradient, k×P."""
        which: Parameters = self.parameters
        return class_gradients(network, images, labels, weights, which)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """Σ over rows of the distance, for some classes or for their mean."""
        shapes = list(matched_parameters(step.network, self.parameters).values())
        return row_distance(real, synthetic, shapes, parse_distance(self.distance))

    def state(self) -> dict[str, Any]:
        """Nothing: the objective remembers nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
