"""What is stored, and how it is decoded into training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from .data import LabelledSet, require_per_class
from .errors import UsageError
from .randomness import stream
from .task import Task


class Formation(Protocol):
    """How stored numbers become training images.

    Stored tensors are indexed by class first (classes × stored images × …), so that a chunk of
    classes, or a rank's share of them, is a slice.
    """

    def start(self, task: Task, train: LabelledSet) -> Tensor:
        """The stored tensor before anything is learned."""

    def decode(self, stored: Tensor) -> Tensor:
        """Training images of some classes, k×s×… → k×m×C×H×W, differentiable."""

    def project(self, stored: Tensor) -> None:
        """Bring the stored tensor back to what may be stored, in place, after each step."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the stored tensor."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take :meth:`state` back."""


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
    """Whole images, one number a pixel, in normalised space and never clamped."""

    start_from: Literal["real", "noise"] = "real"
    """``real``: random training images of the class; ``noise``: N(0, 1)."""

    def start(self, task: Task, train: LabelledSet) -> Tensor:
        """The stored tensor before anything is learned, classes × ipc × C×H×W."""
        if self.start_from == "noise":
            images = noise(task)
        else:
            rows = random_rows(train, task.ipc, task.seed)
            flat = train.normalised(rows.flatten().to(train.images.device), dtype=task.dtype)
            images = flat.reshape(task.classes, task.ipc, *task.shape)
        return images.to(device=task.device, dtype=task.dtype).contiguous()

    def decode(self, stored: Tensor) -> Tensor:
        """The stored images themselves."""
        return stored

    def project(self, stored: Tensor) -> None:
        """Nothing: learned pixels are free."""

    def state(self) -> dict[str, Any]:
        """Nothing beside the stored tensor."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


#: What a recipe calls each kind.
KINDS: dict[str, type[Any]] = {"pixels": Pixels}
