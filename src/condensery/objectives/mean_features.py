"""Distribution matching: class means of a network's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from condensery.nets import embed
from condensery.task import Step

from .functional import squared_mean_distance, weighted_mean_rows


@dataclass(kw_only=True)
class MeanFeatures:
    """Squared distance between class-mean features (DM, equation 6 and algorithm 1, line 5).

    The embedding ψ is what feeds the last linear layer: the flattened map after the last pooling.
    """

    separable: ClassVar[bool] = True
    additive: ClassVar[bool] = True
    single: ClassVar[bool] = False
    passes: ClassVar[float] = 1.0

    def compiles(self, network: nn.Module) -> bool:
        """Always."""
        return True

    def levels(self, step: Step) -> tuple[float, float]:
        """Each class for itself."""
        return 1.0, 0.0

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Class means of the embedding, k×d."""
        return weighted_mean_rows(embed(network, images), weights)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """Σ_c ‖mean ψ(real_c) − mean ψ(synthetic_c)‖²."""
        return squared_mean_distance(real, synthetic)

    def state(self) -> dict[str, Any]:
        """Nothing: the objective remembers nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""
