"""A set as evaluation sees it, whoever made it: normalised images, labels, and what it costs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from condensery.data.labelled import fingerprint_of

from .condensed import CondensedSet


@dataclass(frozen=True, eq=False)
class Candidate:
    """What networks are trained on, decoded."""

    images: Tensor
    """N×C×H×W, float32, normalised."""
    labels: Tensor
    """N, int64, positions among the data's classes."""
    mean: tuple[float, ...]
    """The normalisation of ``images``, per channel; the test split gets the same."""
    std: tuple[float, ...]
    """The normalisation's standard deviation, per channel."""
    method: str
    """What made it."""
    ipc: int
    """Its budget: full-size images' worth of stored numbers per class."""
    stored_bytes: int
    """Size of what is stored."""
    decoded: float = 1.0
    """Training images that a stored one makes."""
    flip: bool = True
    """Whether training on it may flip images horizontally."""

    @classmethod
    def of(cls, condensed: CondensedSet) -> Candidate:
        """A set that this library made."""
        about, stored = condensed.about, condensed.stored
        return cls(
            images=condensed.images,
            labels=condensed.labels,
            mean=about.mean,
            std=about.std,
            method=about.method,
            ipc=about.ipc,
            stored_bytes=condensed.stored_bytes,
            decoded=len(condensed) / (len(stored) * stored.shape[1]),
            flip=about.flip,
        )

    @classmethod
    def union(
        cls,
        sets: Sequence[CondensedSet],
        class_names: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> Candidate:
        """The training images of several sets, whatever their formations, with one normalisation.

        Args:
            sets: each of them with some of the classes.
            class_names: all classes; labels are positions among them.
            mean: per channel, of the union.
            std: per channel, of the union.
        """
        images, labels = [], []
        shift, scale = (torch.tensor(tuple(v)).view(1, -1, 1, 1) for v in (mean, std))
        for one in sets:
            about = one.about
            same = (about.mean, about.std) == (tuple(mean), tuple(std))
            images.append(one.images if same else (one.pixels() - shift) / scale)
            numbers = torch.tensor([list(class_names).index(name) for name in about.class_names])
            labels.append(numbers[one.labels])
        stored = sum(one.stored.shape[0] * one.stored.shape[1] for one in sets)
        return cls(
            images=torch.cat(images),
            labels=torch.cat(labels),
            mean=tuple(mean),
            std=tuple(std),
            method=sets[0].about.method,
            ipc=sets[0].about.ipc,
            stored_bytes=sum(one.stored_bytes for one in sets),
            decoded=sum(map(len, sets)) / stored,
            flip=all(one.about.flip for one in sets),
        )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def content(self) -> str:
        """SHA-256 of all that an accuracy can depend on: images, labels, normalisation."""
        held = (fingerprint_of(self.images, self.labels, ()), self.mean, self.std)
        return hashlib.sha256(repr(held).encode()).hexdigest()
