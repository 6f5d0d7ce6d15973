"""What decides a run: its plain fields, the pixel optimiser, and the four choices by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from condensery.errors import UsageError

from .later import LATER, as_written, unset
from .sgd import SGD

#: Share of the rate that is left where it has fallen.
_LEAST = 0.01


@dataclass(frozen=True)
class Choice:
    """One of the loop's four choices: a kind and its settings."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Flat, as in YAML."""
        return {"kind": self.kind, **self.settings}


@dataclass(frozen=True, kw_only=True)
class PixelOptimizer:
    """SGD, or Adam, on the stored tensors."""

    rate: float = 1.0
    """Learning rate of the stored pixels; positive. Typed as ``auto`` it is found by short trials
    on held-out training images, and this has the number."""
    rate_for_ipc: int | None = None
    """Budget that ``rate`` is meant for: it is multiplied by the budget over this one."""
    rate_for_size: int | None = None
    """Side of images that ``rate`` is meant for: it is multiplied by the side's square over this
    one's."""
    momentum: float = 0.5
    """Momentum, 0 ≤ m < 1."""
    drops: list[int] = field(default_factory=list)
    """Outer iterations from which on the rate is multiplied by ``drop_factor`` once more."""
    drop_factor: float = 0.5
    """What a drop multiplies the rate by."""
    algorithm: Literal["sgd", "adam"] = field(default="sgd", metadata=LATER)
    """What moves the pixels; ``momentum`` is Adam's β₁, too."""
    falls_until: int | None = field(default=None, metadata=LATER)
    """Outer iteration by which the rate has fallen to a hundredth, along half a cosine; null:
    it does not fall."""

    def __post_init__(self) -> None:
        SGD.of(self, "optimizer.")
        for name in ("rate_for_ipc", "rate_for_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"optimizer.{name} must be at least 1, got {value}")
        if any(drop < 1 for drop in self.drops):
            raise UsageError(f"optimizer.drops are iterations of at least 1, got {self.drops}")
        if self.falls_until is not None and self.falls_until < 1:
            raise UsageError(f"optimizer.falls_until must be at least 1, got {self.falls_until}")
        if not 0 < self.drop_factor <= 1:
            raise UsageError(
                f"optimizer.drop_factor must be positive and at most 1, got {self.drop_factor}"
            )

    def settled(self, ipc: int, size: int) -> PixelOptimizer:
        """With the rate of a budget and a size of images, in a number (IDC, the authors' program).

        >>> PixelOptimizer(rate=0.01, rate_for_ipc=10, rate_for_size=32).settled(50, 16).rate
        0.0125
        """
        rate = self.rate
        if self.rate_for_ipc is not None:
            rate *= max(ipc, 1) / self.rate_for_ipc
        if self.rate_for_size is not None:
            rate *= (size / self.rate_for_size) ** 2
        return dataclasses.replace(self, rate=rate, rate_for_ipc=None, rate_for_size=None)

    def rate_at(self, iteration: int) -> float:
        """The learning rate of an outer iteration, counted from 0.

        >>> [PixelOptimizer(rate=1.0, drops=[2, 3]).rate_at(i) for i in range(4)]
        [1.0, 1.0, 0.5, 0.25]
        >>> [round(PixelOptimizer(rate=1.0, falls_until=4).rate_at(i), 3) for i in (0, 2, 4, 9)]
        [1.0, 0.505, 0.01, 0.01]
        """
        passed = sum(iteration >= drop for drop in self.drops)
        rate = float(self.rate * self.drop_factor**passed)
        if self.falls_until is None:
            return rate
        half = math.pi * min(1.0, iteration / self.falls_until)
        return rate * (_LEAST + (1 - _LEAST) * (1 + math.cos(half)) / 2)


#: Fields that are written only where they were requested: earlier versions do not know them.
_WHERE_SAID = ("layout", "value_range")


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """The plain fields of a run's configuration."""

    recipe: str
    """Name of the recipe that this started from."""
    data: str
    """What to condense; see ``condensery data``."""
    size: int | None = None
    """Side length in pixels to resize pictures to."""
    channels: int | None = None
    """1 for grey, 3 for colour."""
    sample_rate: int | None = None
    """Sample rate to resample recordings to; their own by default."""
    flip: bool | None = None
    """Whether augmentation may flip images horizontally; the data set's own rule by default."""
    layout: str | None = None
    """Order of the axes of arrays, ``NCHW`` or ``NHWC``; found by default."""
    value_range: str | None = None
    """Black and white of floating arrays, such as ``0,255``; their own scale by default."""
    zca: bool = False
    """Whether images are whitened with statistics of the training split."""
    ipc: int = 10
    """Budget: full-size images' worth of stored numbers per class."""
    seed: int = 0
    """Random seed."""
    iterations: int = 1000
    """Outer iterations; 0 writes the initial set."""
    until: Literal["iterations", "converged"] = "iterations"
    """``converged``: stop before the last iteration when the loss has stopped falling."""
    window: int | None = None
    """Outer iterations, and so networks, of a window of ``converged``; by default a twentieth of
    the recipe's own schedule, which a smaller ``iterations`` does not change, but no more than 500
    pixel steps need, and at least ten."""
    real_batch: int = 256
    """Real images per class in one step; a smaller class is used whole."""
    synthetic_batch: int | None = None
    """Most training images per class that a step takes of the synthetic set; all by default."""
    real_batches: Literal["random", "kmeans"] = field(default="random", metadata=LATER)
    """Which real images a step takes: ``random``; ``kmeans``: those nearest to the centroids of
    k-means on their class, as many as ``real_batch`` (DREAM)."""
    real_batches_renewed: int = field(default=10, metadata=LATER)
    """Pixel steps after which ``kmeans`` are computed anew."""
    real_batches_of: int = field(default=1024, metadata=LATER)
    """Random images of a class that ``kmeans`` are computed of each time."""

    def __post_init__(self) -> None:
        for name, least in (("ipc", 1), ("iterations", 0), ("real_batch", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("real_batches_renewed", "real_batches_of"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.synthetic_batch is not None and self.synthetic_batch < 1:
            raise UsageError(f"synthetic_batch must be at least 1, got {self.synthetic_batch}")
        if self.window is not None and self.window < 10:
            raise UsageError(
                f"window must be at least 10 iterations, fewer say little, got {self.window}"
            )
        if self.size is not None and self.size < 4:
            raise UsageError(f"size must be at least 4 pixels, got {self.size}")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Scalars):
    """Everything that decides a condensed set, apart from the data's content and the plan."""

    optimizer: PixelOptimizer = field(default_factory=PixelOptimizer)
    formation: Choice = field(default_factory=lambda: Choice("pixels"))
    objective: Choice = field(default_factory=lambda: Choice("mean_features"))
    supply: Choice = field(default_factory=lambda: Choice("fresh"))
    augmentation: Choice = field(default_factory=lambda: Choice("none"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as written to ``recipe.yaml``."""
        out: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if item.name in _WHERE_SAID and value is None:
                continue
            if isinstance(value, Choice):
                out[item.name] = value.as_dict()
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                out[item.name] = as_written(value)
            elif not unset(self, item):
                out[item.name] = value
        return out

    def dump(self) -> str:
        """YAML that ``condensery condense --config`` repeats."""
        head = "# condensery condense --config THIS_FILE --out DIR\n"
        return head + yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)


RUN_FIELDS = tuple(f.name for f in dataclasses.fields(RunConfig))
