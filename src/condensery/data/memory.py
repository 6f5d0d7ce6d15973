"""Data that are in memory already: arrays, labelled sets, torch data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import Dataset

from condensery.errors import DataError, UsageError

from . import arrays, foreign, hub
from .classes import hold_out
from .labelled import LabelledSet, require_per_class
from .pictures import Pair, Wanted, decode, drawn_note


def in_memory(data: Any, test: Any, wanted: Wanted) -> tuple[Pair, str]:
    """Arrays, tensors, labelled sets and torch data sets."""
    if isinstance(data, LabelledSet):
        return _labelled(data, test, wanted.size, wanted.channels), data.name
    if isinstance(data, (tuple, list)):
        if test is not None and not isinstance(test, (tuple, list)):
            raise DataError("test= must be (images, labels), as the training data are")
        train, held = _two(data, "training"), None if test is None else _two(test, "test")
        if foreign.holds_pictures(train[0]):
            return foreign.from_pictures(train, held, "pictures", wanted), "pictures"
        return arrays.pair(train, held, "arrays", **foreign.as_arrays(wanted)), "arrays"
    if hub.is_held(data):
        return _of_datasets(data, test, wanted)
    if isinstance(data, Dataset):
        if test is not None and not isinstance(test, Dataset):
            raise DataError("test= must be a torch Dataset, as the training data are")
        name = re.sub(r"\W+", "_", type(data).__name__).lower()
        return foreign.from_torch(data, test, name, wanted), name
    raise DataError(
        f"a {type(data).__name__} is not a data set; give a name, a path, (images, labels), a "
        "LabelledSet, a torch Dataset or a datasets.Dataset"
    )


def _of_datasets(data: Any, test: Any, wanted: Wanted) -> tuple[Pair, str]:
    """A ``Dataset`` or ``DatasetDict`` of the datasets library."""
    if test is not None and (not hub.is_held(test) or isinstance(test, Mapping)):
        raise DataError("test= must be a datasets.Dataset, as the training data are")
    if isinstance(data, Mapping) and test is not None:
        raise UsageError("a DatasetDict has its own test split; leave test= out")
    splits = hub.splits_held(data, test)
    return decode(splits, "datasets", wanted), "datasets"


def _two(data: Any, which: str) -> tuple[Any, Any]:
    if len(data) != 2:
        raise DataError(f"the {which} data must be a pair (images, labels), got {len(data)}")
    return data[0], data[1]


def _labelled(train: LabelledSet, test: Any, size: int | None, channels: int | None) -> Pair:
    """Labelled sets as they are; the test split is normalised as the training split is."""
    require_per_class(train, 1)
    c, height, width = train.shape
    if size not in (None, height) or size not in (None, width) or channels not in (None, c):
        raise UsageError(
            f"this LabelledSet is {c}×{height}×{width}; give its arrays as (images, labels) to "
            "have them resized or converted"
        )
    if test is None:
        parts = hold_out(train.labels.cpu().numpy(), train.classes)
        rows = [torch.from_numpy(p).to(train.images.device) for p in parts]
        kept, held = (
            LabelledSet.of(
                train.images[r],
                train.labels[r],
                train.class_names,
                train.name,
                mean=train.mean if n else None,
                std=train.std if n else None,
            )
            for n, r in enumerate(rows)
        )
        return Pair(kept, replace(held, mean=kept.mean, std=kept.std), (drawn_note(len(held)),))
    if not isinstance(test, LabelledSet):
        raise DataError("test= must be a LabelledSet, as the training data are")
    if (test.shape, test.class_names) != (train.shape, train.class_names):
        raise DataError(
            f"the test set has shape {test.shape} and {test.classes} classes but the training set "
            f"{train.shape} and {train.classes}; make shapes and class names match"
        )
    return Pair(train, replace(test, mean=train.mean, std=train.std))
