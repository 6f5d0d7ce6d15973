"""Stored images that are training images as they are, and where any formation starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from condensery.data import LabelledSet, require_per_class
from condensery.errors import UsageError
from condensery.methods.guide import Guide
from condensery.methods.task import Task
from condensery.runtime.randomness import stream

from .base import some_of


def random_rows(train: LabelledSet, n: int, seed: int) -> Tensor:
    """``n`` random images of every class, without replacement: their positions, classes × n."""
    if n < 1:
        raise UsageError(f"ipc must be at least 1, got {n}")
    require_per_class(train, n)
    rows = [
        members.cpu()[stream(seed, "start", group=c).permutation(len(members))[:n]]
        for c, members in enumerate(train.index)
    ]
    return torch.stack(rows)


def noise(task: Task) -> Tensor:
    """N(0, 1) in normalised space, classes × ipc × C×H×W."""
    out = torch.empty(task.classes, task.ipc, *task.shape)
    for c, part in enumerate(out):
        rng = stream(task.seed, "start", group=c)
        part.copy_(torch.from_numpy(rng.standard_normal(tuple(part.shape), dtype=np.float32)))
    return out


@dataclass(kw_only=True)
class Pixels:
    """Whole images, one number per pixel, in normalised space and never clamped."""

    start_from: Literal["real", "noise", "kmeans"] = "real"
    """``real``: random training images of the class; ``noise``: N(0, 1); ``kmeans``: those
    nearest to the centroids of k-means on the class (DREAM)."""

    def check_start(self, train: LabelledSet, ipc: int) -> None:
        """Raise if a class has fewer images than the budget, and they are started from."""
        if self.start_from != "noise":
            require_per_class(train, ipc)

    def for_data(self, mean: Sequence[float], std: Sequence[float]) -> Pixels:
        """Itself: it stores what networks see."""
        return self

    def decoded(self, stored: int) -> int:
        """As many."""
        return stored

    def start(self, task: Task, train: LabelledSet) -> Tensor:
        """The stored tensor before anything is learned, classes × ipc × C×H×W."""
        if self.start_from == "noise":
            images = noise(task)
        else:
            rows = self._rows(task, train)
            flat = train.normalised(rows.flatten().to(train.index_device), dtype=task.dtype)
            images = flat.reshape(task.classes, task.ipc, *task.shape)
        return images.to(device=task.device, dtype=task.dtype).contiguous()

    def _rows(self, task: Task, train: LabelledSet) -> Tensor:
        """Which training images it starts from, classes × ipc."""
        if self.start_from == "real":
            return random_rows(train, task.ipc, task.seed)
        require_per_class(train, task.ipc)
        guide = Guide.of(task, train)
        found = [guide.nearest(c, task.ipc, "start-centroids") for c in range(task.classes)]
        return torch.stack(found)

    def decode(self, stored: Tensor, rows: Tensor | None = None) -> Tensor:
        """The stored images themselves."""
        return some_of(stored, rows)

    def project(self, stored: Tensor) -> None:
        """Nothing: learned pixels are free."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the stored tensor."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
