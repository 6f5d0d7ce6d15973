"""What every formation offers the loop and the finished set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from condensery.data import LabelledSet
from condensery.methods.task import Task


class Formation(Protocol):
    """How stored numbers become training images.

    Stored tensors are indexed by class first (classes × stored images × …), so that a chunk of
    classes, or a rank's share of them, is a slice.

    A formation that learns beside the pixels has three members more: a setting ``rate``,
    ``weights()``, the leaves that it learns by name, and ``load_weights(weights)``, which takes
    them from a set's file. They are stored in the set, and count in its bytes.

    One that cannot start from just any number of real images has ``check_start(train, ipc)``, which
    raises a :class:`DataError`; it is asked before anything is planned or compiled.
    """

    def for_data(self, mean: Sequence[float], std: Sequence[float]) -> Self:
        """The same for data with this normalisation, black 0 and white 1."""

    def decoded(self, stored: int) -> int:
        """How many training images this many stored ones of a class make."""

    def start(self, task: Task, train: LabelledSet) -> Tensor:
        """The stored tensor before anything is learned."""

    def decode(self, stored: Tensor, rows: Tensor | None = None) -> Tensor:
        """Training images of some classes, normalised, k×s×… → k×m×C×H×W, differentiable.

        Args:
            stored: of these classes.
            rows: k×n, which of each class's training images are wanted; all by default.
        """

    def project(self, stored: Tensor) -> None:
        """Bring a stored tensor back to where it may be, in place.

        Called at the end of every outer iteration, and on every set that is handed out.
        """

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the stored tensor."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state`."""


def some_of(images: Tensor, rows: Tensor | None) -> Tensor:
    """The wanted images of each class, k×m×… → k×n×…"""
    if rows is None:
        return images
    return images[torch.arange(len(rows), device=rows.device)[:, None], rows]


def weights_of(formation: Formation) -> dict[str, Tensor]:
    """What a formation learns beside the stored tensors; nothing for most."""
    weights: dict[str, Tensor] = getattr(formation, "weights", dict)()
    return weights
