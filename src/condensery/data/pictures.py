"""Encoded pictures of both splits become two labelled sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from condensery.errors import DataError

from .classes import Rows, choose, hold_out, number
from .labelled import LabelledSet
from .stack import Item, stack_up, usual_side

_MOST_UNREADABLE = 0.1  # more than this, and the source itself is in doubt


@dataclass(frozen=True)
class Pictures:
    """One split before decoding."""

    labels: NDArray[np.int64] | NDArray[np.str_]
    """As the source writes them."""
    pick: Callable[[Rows], Iterator[Item]]
    """Ascending positions → (name for messages, content) of each."""


@dataclass(frozen=True)
class Splits:
    """Both splits before decoding."""

    train: Pictures
    test: Pictures | None
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """Where pictures come from; nothing is read until ``read`` is called."""

    name: str
    fingerprint: str
    """Changes when the files change, and is cheap to find out."""
    read: Callable[[], Splits]


@dataclass(frozen=True)
class Pair:
    """Both splits, decoded; normalisation measured on training."""

    train: LabelledSet
    test: LabelledSet
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Block:
    images: NDArray[np.uint8]
    kept: NDArray[np.bool_]
    notes: list[str]


def decode(
    splits: Splits,
    name: str,
    *,
    size: int | None = None,
    channels: int | None = None,
    subset: Mapping[str, str] | None = None,
) -> Pair:
    """Decode both splits; the test split follows what training decided and decides nothing.

    Args:
        splits: what to decode.
        name: short name of the data set.
        size: side in pixels; ``None`` keeps the pictures' own, common size.
        channels: 1 or 3; ``None``: 1 where every training picture is grey.
        subset: identifier → word of the classes to keep, in their new order.
    """
    test_labels = None if splits.test is None else splits.test.labels
    labels = number(splits.train.labels, test_labels, splits.class_names)
    names, notes = labels.names, [*splits.notes, *labels.notes]
    chosen = list(range(len(names))) if subset is None else choose(names, subset)
    place = np.full(len(names), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    names = tuple(names[c] for c in chosen)

    train_labels = place[labels.train]
    train_rows = np.flatnonzero(train_labels >= 0)
    test_source = splits.test
    if test_source is None or labels.test is None:
        kept, held = hold_out(train_labels[train_rows], len(names))
        test_source, test_labels, test_rows = splits.train, train_labels, train_rows[held]
        train_rows = train_rows[kept]
        notes.append(drawn_note(len(test_rows)))
    else:
        test_labels = place[labels.test]
        test_rows = np.flatnonzero(test_labels >= 0)

    train = _block(splits.train, train_rows, train_labels, names, size, channels, "training")
    shape = train.images.shape[1:]
    test = _block(test_source, test_rows, test_labels, names, size, shape[0], "test", shape)
    train_set = LabelledSet.of(
        torch.from_numpy(train.images),
        torch.from_numpy(train_labels[train_rows][train.kept]),
        names,
        name,
    )
    test_set = LabelledSet.of(
        torch.from_numpy(test.images),
        torch.from_numpy(test_labels[test_rows][test.kept]),
        names,
        name,
        mean=train_set.mean,
        std=train_set.std,
    )
    return Pair(train_set, test_set, (*notes, *train.notes, *test.notes))


def drawn_note(n: int) -> str:
    """The sentence on a test split that was drawn."""
    return f"no test split was given: a fifth of every class, {n} images in all, was set aside"


def _block(
    pictures: Pictures,
    rows: Rows,
    labels: Rows,
    names: tuple[str, ...],
    size: int | None,
    channels: int | None,
    split: str,
    shape: tuple[int, ...] | None = None,
) -> _Block:
    """Decode some rows of a split, leaving out what cannot be read."""
    if not len(rows):
        raise DataError(f"the {split} split has no images at all; check the source")
    with warnings.catch_warnings():
        # PIL's remarks on odd metadata would say nothing that a reader could act on.
        warnings.filterwarnings("ignore", module="PIL")
        stack, bad = stack_up(pictures.pick(rows), len(rows), size, channels, split)
    kept = np.ones(len(rows), dtype=bool)
    kept[list(bad)] = False
    notes = _judge(bad, kept, labels[rows], names, split)
    images = stack.images()
    if shape is not None and images.shape[1:] != shape:
        raise DataError(
            f"test images are {_size(images.shape[1:])} but training images {_size(shape)}; "
            f"bring them to one size, for example with --size {usual_side(max(shape))}"
        )
    if channels is None and stack.grey and stack.colour:
        notes.append(f"grey {split} images among colour ones, converted to RGB: {stack.grey}")
    elif channels == 3 and stack.grey:
        notes.append(f"grey {split} images, converted to RGB: {stack.grey}")
    elif channels == 1 and stack.colour:
        notes.append(f"colour {split} images, converted to grey: {stack.colour}")
    return _Block(images, kept, notes)


def _judge(
    bad: dict[int, str], kept: NDArray[np.bool_], labels: Rows, names: tuple[str, ...], split: str
) -> list[str]:
    """Unreadable pictures: a note while they are few, an error when they are many."""
    if not bad:
        return []
    shown = ", ".join(list(bad.values())[:5]) + ", …" * (len(bad) > 5)
    count = f"{len(bad)} of {len(kept)} {split} images cannot be read ({shown})"
    for c in np.unique(labels):
        if not kept[labels == c].any():
            raise DataError(
                f"no {split} image of class '{names[c]}' can be read; repair or replace the "
                f"files, or leave the class out. In all, {count}"
            )
    if len(bad) > _MOST_UNREADABLE * len(kept):
        raise DataError(f"{count}; repair, replace or remove them")
    return [f"left out: {count}"]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}×{shape[1]}"
