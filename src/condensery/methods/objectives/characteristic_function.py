"""Characteristic functions of the classes' features (NCFM, Wang et al., CVPR 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from condensery.errors import UsageError
from condensery.methods.task import Step
from condensery.nets import embed, embed_and_classify
from condensery.runtime.randomness import stream

from .functional import characteristic_distance, class_losses


@dataclass(kw_only=True)
class CharacteristicFunction:
    """Distance between the characteristic functions of real and synthetic features.

    Φ(t) = mean_j e^{i⟨t, f_j⟩} of a class's features f_j, which have length 1, at frequencies
    t ~ N(0, I): scale · Σ_c mean_t √(½(|Φ_r| − |Φ_s|)² + (|Φ_r||Φ_s| − Re Φ_r Φ̄_s)). They are drawn
    once and stay, where NCFM learns a network that draws them.
    """

    scale: float = 300.0
    """What the distance is multiplied by."""
    frequencies: int = 1024
    """How many frequencies there are."""
    classification: float = 0.0
    """What the mean cross-entropy of a class's synthetic images counts; 0 leaves it out."""
    _drawn: dict[int, Tensor] = field(init=False, repr=False, default_factory=dict)

    separable: ClassVar[bool] = True
    additive: ClassVar[bool] = True
    single: ClassVar[bool] = False
    passes: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if self.frequencies < 1:
            raise UsageError(f"objective.frequencies must be at least 1, got {self.frequencies}")
        if not 0 < self.scale < math.inf:
            raise UsageError(f"objective.scale must be positive and finite, got {self.scale}")
        if not 0 <= self.classification < math.inf:
            raise UsageError(
                "objective.classification must be finite and not negative, got "
                f"{self.classification}"
            )

    def compiles(self, network: nn.Module) -> bool:
        """Never: frequencies are drawn when the features' size is known."""
        return False

    def levels(self, step: Step) -> tuple[float, float]:
        """Each class for itself."""
        return 1.0, 0.0

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Real and imaginary parts of Φ, k×2T; then each class's mean cross-entropy, k×1."""
        if not self.classification:
            return self.real_statistic(network, images, labels, weights)
        seen, logits = embed_and_classify(network, images)
        return torch.cat([self._parts(seen, weights), class_losses(logits, labels, weights)], 1)

    def real_statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Real and imaginary parts of Φ, k×2T: real images are not classified."""
        return self._parts(embed(network, images), weights)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """The loss, summed over classes."""
        found = self.scale * characteristic_distance(real, synthetic[:, : real.shape[1]])
        if self.classification:
            found = found + self.classification * synthetic[:, -1].sum()
        return found

    def state(self) -> dict[str, Any]:
        """Nothing: the frequencies are always the same."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _parts(self, seen: Tensor, weights: Tensor) -> Tensor:
        angles = normalize(seen.to(weights.dtype), dim=1) @ self._frequencies(
            seen.shape[1], weights
        )
        return weights @ torch.cat([angles.cos(), angles.sin()], 1)

    def _frequencies(self, size: int, like: Tensor) -> Tensor:
        """The frequencies t, d×T."""
        if size not in self._drawn:
            drawn = stream(0, "frequencies", size).standard_normal((size, self.frequencies))
            self._drawn[size] = torch.from_numpy(drawn)
        self._drawn[size] = self._drawn[size].to(like)
        return self._drawn[size]
