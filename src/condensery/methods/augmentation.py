"""The loop's fourth choice: what matching ignores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from torch import Tensor

from condensery.augment.draws import Draw, sample_all, sample_one
from condensery.augment.ops import apply
from condensery.augment.strategy import parse_strategy


class Augmentation(Protocol):
    """How the real and the synthetic batch of a class are augmented: with the same draws."""

    def for_data(self, flip: bool) -> Self:
        """The same for data that may not be flipped, when ``flip`` is False."""

    def draw(self, rng: np.random.Generator) -> tuple[Draw, ...]:
        """What to do to one class in one step, one row per draw; possibly nothing."""

    def apply(self, images: Tensor, draws: Sequence[Draw]) -> Tensor:
        """Augmented images, N×C×H×W → the same."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state`."""


@dataclass(kw_only=True)
class NoAugmentation:
    """Images as they are."""

    def for_data(self, flip: bool) -> NoAugmentation:
        """Itself."""
        return self

    def draw(self, rng: np.random.Generator) -> tuple[Draw, ...]:
        """Nothing."""
        return ()

    def apply(self, images: Tensor, draws: Sequence[Draw]) -> Tensor:
        """The images themselves."""
        return images

    def state(self) -> dict[str, Any]:
        """Nothing: it remembers nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


@dataclass(kw_only=True)
class SiameseOp:
    """One op, drawn uniformly for each class and step (DSA, Zhao and Bilen, ICML 2021, eq. 7)."""

    strategy: str = "color_crop_cutout_flip_scale_rotate"
    """Ops to draw from, joined by underscores; flip goes where data may not be flipped."""

    def __post_init__(self) -> None:
        self.strategy = parse_strategy(self.strategy).text

    def for_data(self, flip: bool) -> SiameseOp:
        """A copy, without flip when ``flip`` is False."""
        return replace(self, strategy=_for_data(self.strategy, flip))

    def draw(self, rng: np.random.Generator) -> tuple[Draw, ...]:
        """One op with one row of values; nothing where no op is left."""
        strategy = parse_strategy(self.strategy)
        return (sample_one(rng, strategy),) if strategy.ops else ()

    def apply(self, images: Tensor, draws: Sequence[Draw]) -> Tensor:
        """Augmented images, N×C×H×W → the same."""
        return _apply_all(images, draws, self.strategy)

    def state(self) -> dict[str, Any]:
        """Nothing: every draw comes from its address."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


@dataclass(kw_only=True)
class SiameseSequence:
    """Every op in order, each with its own values (IDC, Kim et al., ICML 2022, appendix C.1)."""

    strategy: str = "color_crop_cutout"
    """Ops in their order, joined by underscores; flip goes where data may not be flipped."""

    def __post_init__(self) -> None:
        self.strategy = parse_strategy(self.strategy).text

    def for_data(self, flip: bool) -> SiameseSequence:
        """A copy, without flip when ``flip`` is False."""
        return replace(self, strategy=_for_data(self.strategy, flip))

    def draw(self, rng: np.random.Generator) -> tuple[Draw, ...]:
        """Every op with one row of values."""
        return sample_all(rng, parse_strategy(self.strategy))

    def apply(self, images: Tensor, draws: Sequence[Draw]) -> Tensor:
        """Augmented images, N×C×H×W → the same."""
        return _apply_all(images, draws, self.strategy)

    def state(self) -> dict[str, Any]:
        """Nothing: every draw comes from its address."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def _for_data(strategy: str, flip: bool) -> str:
    parsed = parse_strategy(strategy)
    return (parsed if flip else parsed.without("flip")).text


def _apply_all(images: Tensor, draws: Sequence[Draw], strategy: str) -> Tensor:
    parsed = parse_strategy(strategy)
    for draw in draws:
        images = apply(images, draw, parsed)
    return images


#: What a recipe calls each kind of augmentation while matching.
KINDS: dict[str, type[Any]] = {
    "none": NoAugmentation,
    "siamese_op": SiameseOp,
    "siamese_sequence": SiameseSequence,
}
