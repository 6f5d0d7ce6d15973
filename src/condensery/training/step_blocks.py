"""Mini-batches that are drawn one by one, augmented together, and then stepped through."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from condensery.augment.draws import to_device

from .augmenter import Augmenter, Drawn
from .datasets import TrainingSet

_Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

#: Numbers of images that are augmented together before their steps.
_TOGETHER = 1 << 24


class Block:
    """Mini-batches that wait for their steps.

    On a GPU the many small calls of an augmentation cost more than a step of a small network.

    Args:
        data: what the batches are taken from.
        augmenter: how they are augmented.
        step: takes a step on augmented images, their targets, at a learning rate.
    """

    def __init__(
        self,
        data: TrainingSet,
        augmenter: Augmenter,
        step: Callable[[Tensor, Tensor, float], None],
    ) -> None:
        self.data, self.augmenter, self.step = data, augmenter, step
        self._rows: list[_Rows] = []
        self._drawn: list[Drawn] = []
        self._rates: list[float] = []
        self._waiting = 0
        first = torch.zeros(1, dtype=torch.int64, device=data.index_device)
        self._shape = data.take(first)[0].shape[1:]

    def add(self, rows: _Rows, rng: np.random.Generator, rate: float) -> None:
        """The next mini-batch: its rows, where its draws come from, and its learning rate."""
        self._rows.append(rows)
        self._drawn.append(self.augmenter.draw(rng, len(rows), self._shape))
        self._rates.append(rate)
        self._waiting += len(rows)
        if self._waiting * self._shape.numel() >= _TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Take the steps of all that waits."""
        if not self._rows:
            return
        rows = torch.from_numpy(np.concatenate(self._rows))
        images, labels = self.data.take(to_device(rows, self.data.index_device))
        images, targets = self.augmenter.apply(images, labels, self._drawn)
        sizes = [len(one) for one in self._rows]
        for batch in zip(images.split(sizes), targets.split(sizes), self._rates, strict=True):
            self.step(*batch)
        self._rows, self._drawn, self._rates, self._waiting = [], [], [], 0
