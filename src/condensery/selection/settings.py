"""How the network is trained whose features, or whose forgetting, a selection uses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from condensery import nets
from condensery.config.build import make
from condensery.config.sgd import SGD
from condensery.data import Data
from condensery.errors import UsageError
from condensery.training.protocol import Protocol
from condensery.training.whole_split import WholeSchedule

#: Epochs are chosen so that about this many images are seen, within the bounds below.
_IMAGES = 600_000
_FEWEST, _MOST = 5, 30


@dataclass(frozen=True, kw_only=True)
class SelectionTraining:
    """The training of a selection's network on the whole training split.

    The papers say that it is trained on the whole data set, and no more. Few epochs at a rate that
    rises and falls once are enough for features; forgetting tells images apart the better the more
    epochs there are, since an image can be forgotten in every second one at most.
    """

    net: str
    """The network, with options."""
    epochs: int
    """Passes over the training split."""
    batch: int = 128
    """Images per step."""
    rate: float = 0.05
    """Largest learning rate: it rises to it in the first fifth of the steps, then falls to 0."""
    momentum: float = 0.9
    """SGD's momentum."""
    weight_decay: float = 5e-4
    """SGD's weight decay."""
    augmentation: Literal["none", "batch_op", "image_op", "idc", "photos"] = "none"
    """As a protocol's: batch_op (DSA), image_op (DC), idc, photos (larger images)."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} must be at least 1, got {getattr(self, name)}")
        SGD.of(self, "--")

    @property
    def protocol(self) -> Protocol:
        """How the network is trained."""
        return Protocol(
            name="selection",
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            drops=[],
            augmentation=self.augmentation,
        )

    def schedule(self, steps: int) -> WholeSchedule:
        """The learning rate by step, of this many steps in all."""
        return WholeSchedule(self.protocol, steps)


def selection_training(data: Data, **given: Any) -> SelectionTraining:
    """The settings for a data set; what is not given, or None, keeps its default.

    Raises:
        UsageError: for a wrong value, or a network that cannot be built.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    usual = min(_MOST, max(_FEWEST, math.ceil(_IMAGES / len(data.train))))
    settings: SelectionTraining = make(
        SelectionTraining, {"net": data.net, "epochs": usual, **chosen}, "training"
    )
    nets.try_out(settings.net, data.train.shape, data.train.classes)
    return settings
