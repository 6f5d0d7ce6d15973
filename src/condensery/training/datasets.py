"""What networks are trained on: tensors on the device, or rows of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol as Interface

import torch
from torch import Tensor

from condensery.data import LabelledSet


class TrainingSet(Interface):
    """What a network is trained on."""

    def __len__(self) -> int: ...

    @property
    def index_device(self) -> torch.device:
        """Where rows are wanted."""

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows."""


@dataclass(frozen=True)
class Tensors:
    """A set of normalised images in memory, such as a decoded condensed set."""

    images: Tensor
    """N×C×H×W."""
    labels: Tensor
    """N."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def index_device(self) -> torch.device:
        """Where rows are wanted."""
        return self.images.device

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows."""
        return self.images[rows], self.labels[rows]


@dataclass(frozen=True)
class Split:
    """A split of real data, normalised as it is taken."""

    data: LabelledSet
    """The split."""
    dtype: torch.dtype = torch.float32
    """Type of the images."""

    def __len__(self) -> int:
        return len(self.data)

    @property
    def index_device(self) -> torch.device:
        """Where rows are wanted."""
        return self.data.index_device

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows."""
        return self.data.normalised(rows, dtype=self.dtype), self.data.labels_at(rows)


@dataclass(frozen=True)
class Subset:
    """Some rows of a split, normalised as they are taken."""

    data: LabelledSet
    """The split."""
    rows: Tensor
    """Positions in it."""
    dtype: torch.dtype = torch.float32
    """Type of the images."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def index_device(self) -> torch.device:
        """Where rows are wanted."""
        return self.rows.device

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some of the rows."""
        chosen = self.rows[rows]
        return self.data.normalised(chosen, dtype=self.dtype), self.data.labels_at(chosen)

    def all(self) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of every row."""
        return self.data.normalised(self.rows, dtype=self.dtype), self.data.labels_at(self.rows)


@dataclass(frozen=True)
class Joined:
    """Two sets as one, such as a split of real data and a memory; rows of the first come first."""

    first: TrainingSet
    """The rows 0, 1, …"""
    second: TrainingSet
    """Those after them."""

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def index_device(self) -> torch.device:
        """Where rows are wanted."""
        return self.first.index_device

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows, without asking the device which they are."""
        late, n = rows >= len(self.first), len(self.first)
        images, labels = self.first.take(rows.clamp(max=n - 1))
        after = (rows - n).clamp(min=0).to(self.second.index_device)
        others, names = self.second.take(after)
        late = late.to(images.device)
        return torch.where(late[:, None, None, None], others, images), torch.where(
            late, names, labels
        )
