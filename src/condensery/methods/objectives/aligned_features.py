"""CAFE: features of every layer aligned, and real images told apart by the synthetic centres."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from condensery.errors import UsageError, unknown_name
from condensery.methods.task import Step
from condensery.nets import embed, features

from .functional import discrimination, squared_mean_distance, weighted_mean_rows


@dataclass(kw_only=True)
class AlignedFeatures:
    """Layer-wise class means, and classifying real images by synthetic ones (CAFE, equation 4).

    Σ_l w_l Σ_c ‖mean f_l(real_c) − mean f_l(synthetic_c)‖² + β·L_d: the first part is equation 1
    with weights, L_d the discrimination loss of equations 2 and 3. Layers are those that the
    network names (:func:`condensery.nets.features`); L_d looks at the last one.
    """

    layers: list[str] | None = None
    """Names of the layers that are aligned, such as [block1, pooled]; all of the network's by
    default, and [] leaves the alignment out."""
    weights: list[float] = field(default_factory=lambda: [1.0])
    """What each of the network's layers counts, ending with its last one; in a network with more
    layers the first number stays for those before."""
    repeat_last: bool = False
    """Whether the last map counts once more as the vector that it is flattened to."""
    discrimination: float = 1.0
    """What the discrimination loss counts (β); 0 leaves it out."""
    reduction: Literal["mean", "sum"] = "mean"
    """Whether the discrimination loss is the mean over the real images (the paper) or their sum."""

    additive: ClassVar[bool] = True
    single: ClassVar[bool] = False
    passes: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if not self.weights or not all(0 <= weight < math.inf for weight in self.weights):
            raise UsageError(
                "objective.weights must be one number or more, none of them negative, got "
                f"{self.weights}"
            )
        if not 0 <= self.discrimination < math.inf:
            raise UsageError(
                "objective.discrimination must be finite and not negative, got "
                f"{self.discrimination}"
            )
        if self.layers is not None and len(set(self.layers)) < len(self.layers):
            raise UsageError(f"objective.layers names a layer twice: {', '.join(self.layers)}")
        if self.discrimination == 0 and (self.layers == [] or not any(self.weights)):
            raise UsageError(
                "nothing is compared: objective.discrimination is 0 and no layer is aligned; set "
                "one of objective.layers, objective.weights and objective.discrimination"
            )

    @property
    def separable(self) -> bool:
        """Only the discrimination ties the classes."""
        return self.discrimination == 0

    @property
    def observes(self) -> bool:
        """Whether real images are compared one by one."""
        return self.discrimination > 0

    def compiles(self, network: nn.Module) -> bool:
        """Always."""
        return True

    def levels(self, step: Step) -> tuple[float, float]:
        """Each class for itself, as far as they are not tied."""
        return 1.0, 0.0

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Class means of the layers, each times √w_l, then the embedding's for L_d; k×D."""
        return self._see(network, images, weights)[0]

    def observe(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """:meth:`statistic`, and each image's embedding, N×d."""
        return self._see(network, images, weights)

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """The loss of equation 4."""
        if step.observed is None:
            return squared_mean_distance(real, synthetic)
        last = step.observed.shape[1]
        aligned = squared_mean_distance(real[:, :-last], synthetic[:, :-last])
        loss = discrimination(step.observed, step.real, synthetic[:, -last:], self.reduction)
        return aligned + self.discrimination * loss

    def state(self) -> dict[str, Any]:
        """Nothing: the objective remembers nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _see(self, network: nn.Module, images: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        if self.layers == []:
            embedding = embed(network, images)
            return weighted_mean_rows(embedding, shares), embedding
        found = features(network, images)
        weights = self._weights_of(network, self._layers_of(found))
        means = [
            math.sqrt(weight) * weighted_mean_rows(found[name], shares)
            for name, weight in weights.items()
        ]
        embedding = found["embedding"]
        if self.observes:
            means.append(weighted_mean_rows(embedding, shares))
        return torch.cat(means, 1), embedding

    def _layers_of(self, found: dict[str, Tensor]) -> list[str]:
        """The layers in order, without an embedding that is the layer before it, flattened."""
        names = list(found)
        if len(names) > 1 and not self.repeat_last:
            last, before = (found[name][0].numel() for name in (names[-1], names[-2]))
            return names[:-1] if last == before else names
        return names

    def _weights_of(self, network: nn.Module, layers: list[str]) -> dict[str, float]:
        """The layers that count, in the network's order, and how much."""
        for name in self.layers or ():
            if name not in layers:
                raise unknown_name(f"layer of {type(network).__name__}", name, layers)
        before = max(0, len(layers) - len(self.weights))
        weights = [self.weights[0]] * before + self.weights
        counted = {
            name: weight
            for name, weight in zip(layers, weights[-len(layers) :], strict=True)
            if weight > 0 and (self.layers is None or name in self.layers)
        }
        if not counted:
            raise UsageError(
                f"objective.weights {self.weights} and objective.layers leave no layer of "
                f"{type(network).__name__} to align; its layers: {', '.join(layers)}"
            )
        return counted
