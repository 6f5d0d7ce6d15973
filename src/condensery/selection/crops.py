"""Crops that a teacher is surest of, packed: RDED's images, without its labels.

Sun et al., "On the Diversity and Realism of Distilled Dataset", CVPR 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condensery.augment.photos import cropped, crops
from condensery.config.schema import Choice
from condensery.data import Data, LabelledSet
from condensery.errors import DataError, UsageError
from condensery.methods.formation import MultiFormation, Pixels
from condensery.methods.formation.multi import pack
from condensery.runtime.devices import to_device
from condensery.runtime.randomness import stream

#: Random images of each class, and crops of each of them.
IMAGES, CROPS = 300, 5
#: Share of an image's area that a crop keeps, and its sides' ratio.
_AREA, _RATIO = (0.08, 1.0), (1.0, 1.0)
#: Images whose crops are looked at together.
_ROWS = 50


@dataclass(frozen=True)
class Realistic:
    """How a set of crops is made: f×f of them to a stored image."""

    factor: int = 2
    """f."""

    def check(self, data: Data, ipc: int) -> None:
        """Raise if a budget cannot be filled with crops, before any work is done for it.

        Raises:
            UsageError: for recordings, or a factor that leaves nothing to see.
            DataError: for a class with too few images.
        """
        if data.rate is not None:
            raise UsageError(
                "rded crops pictures, and these are recordings; take another selection"
            )
        if self.factor < 1:
            raise UsageError(f"--factor must be at least 1, got {self.factor}")
        if self.factor > 1:
            self.formation.check(*data.train.shape[1:])
        wanted = ipc * self.factor**2
        for name, count in zip(data.train.class_names, data.train.counts, strict=True):
            if count < wanted:
                raise DataError(
                    f"class '{name}' has {count} training images, and {ipc} stored images of "
                    f"{self.factor}×{self.factor} crops take {wanted}; use a smaller --ipc or "
                    "--factor"
                )

    @property
    def formation(self) -> MultiFormation:
        """What its tiles are decoded by."""
        return MultiFormation(factor=self.factor)

    def built(self, train: LabelledSet) -> MultiFormation | Pixels:
        """The set's own formation."""
        if self.factor == 1:
            return Pixels()
        return self.formation.for_data(train.mean, train.std)

    @property
    def choice(self) -> Choice:
        """The formation as a configuration names it."""
        kind: dict[str, Any] = {"start_from": "real"}
        if self.factor == 1:
            return Choice("pixels", kind)
        return Choice("multi_formation", {**kind, "factor": self.factor})

    @property
    def facts(self) -> dict[str, Any]:
        """What a set's configuration says of it."""
        return {"factor": self.factor, "images": IMAGES, "crops": CROPS}

    def of_class(
        self, teacher: nn.Module, train: LabelledSet, seed: int, c: int, ipc: int
    ) -> Tensor:
        """The stored images of a class, ipc×C×H×W, normalised; its surest crops come first."""
        wanted = ipc * self.factor**2
        found = surest_crops(teacher, train, seed, c, wanted)
        return pack(found, train.shape, self.factor, "area")


def surest_crops(teacher: nn.Module, train: LabelledSet, seed: int, c: int, n: int) -> Tensor:
    """The n crops of a class with the least cross-entropy, at most one of an image.

    Of 300 random images (or n, if that is more) five square crops each are resized to the whole
    size, and the one is kept that the teacher is surest of.

    Args:
        teacher: a network in evaluation mode.
        train: the training split.
        seed: of the draws.
        c: the class.
        n: how many.

    Returns:
        n×C×H×W, normalised, the surest first.
    """
    members = train.host_index[c]
    rng = stream(seed, "rded", group=c)
    drawn = members[rng.permutation(len(members))[: max(n, IMAGES)]]
    kept, losses = [], []
    for first in range(0, len(drawn), _ROWS):
        images, loss = _best_of(teacher, train, drawn[first : first + _ROWS], rng, c)
        kept.append(images)
        losses.append(loss)
    order = torch.cat(losses).argsort(stable=True)[:n]
    return torch.cat(kept)[order]


def _best_of(
    teacher: nn.Module,
    train: LabelledSet,
    rows: np.ndarray[Any, Any],
    rng: np.random.Generator,
    c: int,
) -> tuple[Tensor, Tensor]:
    """The surest crop of each image, and its cross-entropy."""
    dtype = next(teacher.parameters()).dtype
    placed = to_device(torch.from_numpy(rows), train.index_device)
    images = train.normalised(placed, dtype=dtype)
    height, width = images.shape[2:]
    theta = crops(CROPS * len(rows), height, width, rng, False, area=_AREA, ratio=_RATIO)
    several = cropped(images.repeat_interleave(CROPS, 0), theta)
    labels = torch.full((len(several),), c, device=several.device)
    with torch.no_grad():
        logits = torch.cat([teacher(part) for part in several.split(_ROWS)])
    loss = cross_entropy(logits, labels, reduction="none").unflatten(0, (-1, CROPS))
    least, which = loss.min(1)
    places = torch.arange(len(rows), device=which.device) * CROPS + which
    return several[places], least
