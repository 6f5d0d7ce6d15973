"""Distribution matching: class means of a network's features."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from condensery.config.later import LATER
from condensery.errors import UsageError
from condensery.methods.task import Step
from condensery.nets import embed, embed_and_classify

from .functional import class_losses, squared_mean_distance, weighted_mean_rows


@dataclass(kw_only=True)
class MeanFeatures:
    """Squared distance between class-mean features (DM, equation 6 and algorithm 1, line 5).

    With ``classification`` the synthetic images are also classified by the network, or by its
    judge where a supply gives it one: L = Σ_c (‖·‖² + α · mean cross-entropy), as in TGDD.

    The embedding ψ is what feeds the last linear layer: the flattened map after the last pooling.
    With the identity in its place this is the linear-kernel MMD of the pixels (DM, appendix B.2).
    """

    embedding: Literal["network", "identity"] = "network"
    """What is averaged: the network's features, or the pixels themselves."""
    classification: float = field(default=0.0, metadata=LATER)
    """What the mean cross-entropy of a class's synthetic images counts (α of TGDD); 0 leaves it
    out. It wants networks that have learned: a pool's, or some trained on real images."""

    separable: ClassVar[bool] = True
    additive: ClassVar[bool] = True
    single: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.classification < math.inf:
            raise UsageError(
                "objective.classification must be finite and not negative, got "
                f"{self.classification}"
            )
        if self.classification and self.embedding == "identity":
            raise UsageError(
                "objective.classification needs a network; leave it out, or set "
                "objective.embedding network"
            )

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
        """Class means of the embedding, k×d; then each class's mean cross-entropy, k×1."""
        if self.classification:
            seen, logits = embed_and_classify(network, images)
            losses = class_losses(logits, labels, weights)
            return torch.cat([weighted_mean_rows(seen, weights), losses], 1)
        return self.real_statistic(network, images, labels, weights)

    def real_statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Class means of the embedding, k×d: real images are not classified."""
        seen = embed(network, images) if self.embedding == "network" else images.flatten(1)
        return weighted_mean_rows(seen, weights)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """Σ_c ‖mean ψ(real_c) − mean ψ(synthetic_c)‖² + α · cross-entropy of synthetic_c."""
        if not self.classification:
            return squared_mean_distance(real, synthetic)
        matched = squared_mean_distance(real, synthetic[:, :-1])
        return matched + self.classification * synthetic[:, -1].sum()

    def state(self) -> dict[str, Any]:
        """Nothing: the objective remembers nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
