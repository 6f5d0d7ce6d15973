"""Distribution matching: class means of a network's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from condensery.methods.task import Step
from condensery.nets import embed

from .functional import squared_mean_distance, weighted_mean_rows


@dataclass(kw_only=True)
class MeanFeatures:
    """Squared distance between class-mean features (DM, equation 6 and algorithm 1, line 5).

    The embedding ψ is what feeds the last linear layer: the flattened map after the last pooling.
    With the identity in its place this is the linear-kernel MMD of the pixels (DM, appendix B.2).
    """

    embedding: Literal["network", "identity"] = "network"
    """What is averaged: the network's features, or the pixels themselves."""

    separable: ClassVar[bool] = True
    additive: ClassVar[bool] = True
    single: ClassVar[bool] = False

    @property
    def passes(self) -> float:
        """One forward pass; pixels need none."""
        return 1.0 if self.embedding == "network" else 0.0

    def compiles(self, network: nn.Module) -> bool:
        """Where the network takes part."""
        return self.embedding == "network"

    def levels(self, step: Step) -> tuple[float, float]:
        """Each class for itself."""
        return 1.0, 0.0

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Class means of the embedding, k×d."""
        seen = embed(network, images) if self.embedding == "network" else images.flatten(1)
        return weighted_mean_rows(seen, weights)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """Σ_c ‖mean ψ(real_c) − mean ψ(synthetic_c)‖²."""
        return squared_mean_distance(real, synthetic)

    def state(self) -> dict[str, Any]:
        """Nothing: the objective remembers nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
