"""What the loop's choices know about the work at hand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from condensery.data import LabelledSet


@dataclass(frozen=True)
class Step:
    """Which pixel step it is, and what is compared in it."""

    network: nn.Module
    """The matching network."""
    iteration: int
    """Outer iteration."""
    step: int
    """Pixel steps done with this network."""
    number: int
    """Pixel steps done in this run."""
    real: tuple[int, ...]
    """Images of each class's real batch."""
    synthetic: tuple[int, ...]
    """Images of each class's synthetic batch."""
    observed: Tensor | None = None
    """A row of each real image, class after class, where the objective observes them."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.real)


@dataclass(frozen=True)
class Task:
    """The training split's facts, the budget and where the tensors live."""

    shape: tuple[int, int, int]
    """C, H, W of one training image."""
    classes: int
    """Number of classes."""
    ipc: int
    """Budget: full-size images' worth of stored numbers per class."""
    seed: int
    """Random seed."""
    flip: bool
    """Whether augmentation may flip images horizontally."""
    device: torch.device
    """Where stored tensors and networks live."""
    dtype: torch.dtype
    """Type of the stored tensors while they are learned."""
    fingerprint: str = ""
    """Of the training split's content."""
    guide: nn.Module | None = None
    """A network that knows the training split, where the supply has one; it chooses images that
    stand for their class."""

    @classmethod
    def of(
        cls,
        train: LabelledSet,
        *,
        ipc: int,
        seed: int,
        flip: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> Task:
        """The task of condensing one training split on the device that holds it."""
        device = train.device
        return cls(train.shape, train.classes, ipc, seed, flip, device, dtype, train.fingerprint)
