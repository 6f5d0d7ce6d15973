"""Sets in files that ``torch.save`` wrote, as published programs lay them out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from condensery.errors import DataError

from .raw import Raw
from .torch_files import is_whole, open_torch


def experiments(path: Path) -> list[Raw]:
    """The sets of a ``.pt`` file: one per experiment.

    The programs of DC, DSA, DM and CAFE save a dictionary whose ``data`` is a list with
    (images, labels) for each experiment, images normalised.
    """
    held = open_torch(path)
    found = held
    if isinstance(held, Mapping):
        by_name = next((n for n in (("images", "labels"), ("x", "y")) if set(n) <= set(held)), None)
        found = [held[n] for n in by_name] if by_name else held.get("data")
    pairs = [found] if _is_pair(found) else found
    if not isinstance(pairs, Sequence) or not pairs or not all(map(_is_pair, pairs)):
        raise DataError(
            f"{path} has no images with labels; (images, labels), or a dictionary whose 'data' "
            "lists such pairs, is needed"
        )
    _check_whole(path, [one for pair in pairs for one in pair])
    return [Raw(images, labels, normalised=True) for images, labels in pairs]


def halves(path: Path) -> tuple[Path, Path] | None:
    """``images_best.pt`` and ``labels_best.pt``, or the like, as the programs of MTT and DATM save.

    The path is that of the images, or of a folder with one such pair.
    """
    found = sorted(path.glob("images_*.pt")) if path.is_dir() else [path]
    if len(found) != 1 or not found[0].name.startswith("images_"):
        return None
    labels = found[0].with_name(found[0].name.replace("images_", "labels_", 1))
    return (found[0], labels) if labels.is_file() else None


def of_halves(images: Path, labels: Path) -> Raw:
    """Both tensors; of soft labels, the most likely class."""
    first, second = open_torch(images), open_torch(labels)
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        raise DataError(f"{images} and {labels.name} must each hold one tensor; save them so")
    _check_whole(images, [first, second])
    if second.dim() == 2 and second.shape[1] > 1:
        warnings.warn(
            f"{labels} holds soft labels; the most likely class of each was taken", stacklevel=2
        )
        second = second.argmax(1)
    return Raw(first, second, normalised=True)


def _check_whole(path: Path, tensors: Sequence[Tensor]) -> None:
    """Raise if a tensor claims more numbers than its file holds."""
    if not all(map(is_whole, tensors)):
        raise DataError(
            f"{path} holds tensors of more numbers than it stores, such as expanded ones; save "
            "them with .contiguous()"
        )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(one, Tensor) for one in value)
        and value[0].dim() > 1
    )
