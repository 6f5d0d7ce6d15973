"""Parts of a data set: some of its classes, some of its rows, a validation split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from condensery.errors import DataError

from .classes import hold_out
from .labelled import Data, LabelledSet


def rows_of_classes(part: LabelledSet, classes: Sequence[int]) -> Tensor:
    """Positions of some classes' images, class by class, in the order of ``classes``."""
    return torch.cat([part.index[c] for c in classes])


def taken(part: LabelledSet, rows: Tensor) -> LabelledSet:
    """Some rows of a split; classes, labels and normalisation stay what they are.

    A network for it has a head for all classes, whether or not the rows have images of each.

    Args:
        part: the split.
        rows: positions, int64, in the order that is wanted.
    """
    rows = rows.to(part.index_device)
    images, labels = part.images[rows], part.labels_at(rows)
    return LabelledSet.of(images, labels, part.class_names, part.name, mean=part.mean, std=part.std)


def of_classes(data: Data, classes: Sequence[int]) -> Data:
    """The images of some classes, which are numbered 0, 1, … in the order given.

    Normalisation is measured on these classes' training images alone, unless it is published: a
    method that is given the part learns nothing about the rest.

    Args:
        data: the whole set.
        classes: positions of the classes.

    Raises:
        DataError: for a class that has no training images.
    """
    train, names = data.train, data.train.class_names
    empty = next((c for c in classes if not len(train.index[c])), None)
    if empty is not None:
        raise DataError(f"class '{names[empty]}' has no training images; leave the class out")
    how = {"mean": train.mean, "std": train.std} if data.published else {}
    part = numbered(train, classes, **how)
    test = numbered(data.test, classes, mean=part.mean, std=part.std)
    return replace(data, train=part, test=test)


def numbered(
    part: LabelledSet,
    classes: Sequence[int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> LabelledSet:
    """The images of some classes, which are numbered 0, 1, … in the order given.

    Args:
        part: a split.
        classes: positions of the classes.
        mean: normalisation, per channel; measured where none is given.
        std: normalisation.
    """
    rows = rows_of_classes(part, classes).sort().values  # as they lie in the whole split
    numbers = torch.zeros(part.classes, dtype=torch.int64)
    numbers[torch.tensor(list(classes))] = torch.arange(len(classes))
    labels = numbers.to(part.device)[part.labels_at(rows)]
    names = [part.class_names[c] for c in classes]
    return LabelledSet.of(part.images[rows], labels, names, part.name, mean=mean, std=std)


def with_validation(data: Data, one_of: int = 10) -> Data:
    """A data set whose test split is held out of training: choices may be made by it.

    Args:
        data: the whole set; its test split is not used.
        one_of: one in so many images of each class is held out, at least one.
    """
    labels = data.train.labels.cpu().numpy()
    kept, held = hold_out(labels, data.train.classes, "validation-split", one_of)
    train, test = (taken(data.train, torch.from_numpy(rows)) for rows in (kept, held))
    return replace(data, train=train, test=test)
