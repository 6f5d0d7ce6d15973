"""Mini-batches that are drawn one by one, augmented together, and then stepped through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .augment.draws import to_device
from .augmenting import Drawn
from .training_sets import TrainingSet

if TYPE_CHECKING:
    from .train import Course

_Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

#: Numbers of images that are augmented together before their steps.
_TOGETHER = 1 << 24


class Block:
    """Mini-batches that wait for their steps: drawn one by one, augmented together.

    On a GPU the many small calls of an augmentation cost more than a step of a small network.

    Args:
        course: whose steps.
        data: what the batches are taken from.
    """

    def __init__(self, course: Course, data: TrainingSet) -> None:
        self.course, self.data = course, data
        self._rows: list[_Rows] = []
        self._drawn: list[Drawn] = []
        self._rates: list[float] = []
        self._waiting = 0
        self._shape = data.take(torch.zeros(1, dtype=torch.int64, device=data.index_device))[
            0
        ].shape

    def add(
        self,
        rows: _Rows,
        rng: np.random.Generator,
        rate: float,
    ) -> None:
        """The next mini-batch: its rows, where its draws come from, and its learning rate."""
        self._rows.append(rows)
        self._drawn.append(self.course.trainer.augmented.draw(rng, len(rows), self._shape[1:]))
        self._rates.append(rate)
        self._waiting += len(rows)
        if self._waiting * self._shape[1:].numel() >= _TOGETHER:
            self.finish()

    def finish(self) -> None:
        """The steps of all that waits."""
        if not self._rows:
            return
        trainer, course = self.course.trainer, self.course
        rows = torch.from_numpy(np.concatenate(self._rows))
        images, labels = self.data.take(to_device(rows, self.data.index_device))
        images, targets = trainer.augmented.apply(images, labels, self._drawn)
        sizes = [len(one) for one in self._rows]
        batches = zip(images.split(sizes), targets.split(sizes), self._rates, strict=True)
        for batch, target, rate in batches:
            course.optimizer.param_groups[0]["lr"] = rate
            trainer.recorded_step(course, batch, target)
        self._rows, self._drawn, self._rates, self._waiting = [], [], [], 0
