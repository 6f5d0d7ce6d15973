"""Encoded pictures of both splits become two labelled sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from condensery.errors import DataError, UsageError

from .axes import Layout
from .classes import Rows, choose, hold_out, number
from .labelled import LabelledSet
from .ranges import ValueRange
from .stack import Item, stack_up, usual_side
from .store import Memory, Store

_MOST_UNREADABLE = 0.1  # more than this, and the source itself is in doubt


class NoRecordingsError(UsageError):
    """A sample rate is given for pictures."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a sample rate applies to recordings, but '{name}' holds images; leave --sample-rate "
            "(sample_rate= of load) out"
        )


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
    recordings: bool = False
    """Whether they are recordings instead of pictures."""


@dataclass(frozen=True)
class Wanted:
    """What the user, or the catalogue, asks of a source."""

    size: int | None = None
    """Side length in pixels; ``None`` keeps the pictures' own, common size."""
    channels: int | None = None
    """1 or 3; ``None``: 1 where every training picture is grey."""
    rate: int | None = None
    """Samples per second of recordings; ``None`` keeps their own."""
    subset: Mapping[str, str] | None = None
    """Identifier → word of the classes to keep, in their new order."""
    one_of: int = 5
    """One in this many is set aside for testing, where there is no test split."""
    layout: Layout | None = None
    """Order of the axes of arrays with four."""
    value_range: ValueRange | None = None
    """Black and white of floating arrays; ``None`` keeps their own scale."""


@dataclass(frozen=True)
class PictureSource:
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
    rate: int | None = None
    """Samples per second, where the images are spectrograms of recordings."""


@dataclass(frozen=True)
class SplitRows:
    """The rows of a split that are wanted."""

    pictures: Pictures
    rows: Rows
    labels: Rows
    """Class numbers of all of the split's rows."""


@dataclass(frozen=True)
class Division:
    """Which rows go where, before decoding."""

    train: SplitRows
    test: SplitRows
    names: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Block:
    shape: tuple[int, int, int]
    kept: NDArray[np.bool_]
    notes: list[str]


def decode(splits: Splits, name: str, wanted: Wanted, store: Store | None = None) -> Pair:
    """Decode both splits; the test split follows what training decided and decides nothing.

    Args:
        splits: what to decode.
        name: short name.
        wanted: size, channels and classes.
        store: where decoded images go; memory by default.
    """
    if wanted.rate is not None:
        raise NoRecordingsError(name)
    store = store or Memory()
    division = divide(splits, wanted)
    names, size = division.names, wanted.size
    train = _block(store, division.train, names, size, wanted.channels, "training")
    first = one_set(store, division.train, train.kept, names, name)
    test = _block(store, division.test, names, size, train.shape[0], "test", train.shape)
    second = one_set(store, division.test, test.kept, names, name, first)
    return Pair(first, second, (*division.notes, *train.notes, *test.notes))


def divide(splits: Splits, wanted: Wanted) -> Division:
    """Number the classes, keep the wanted ones, and draw a test split where there is none.

    Raises:
        DataError: when a split is left without rows, among others.
    """
    test_labels = None if splits.test is None else splits.test.labels
    labels = number(splits.train.labels, test_labels, splits.class_names)
    names, notes = labels.names, [*splits.notes, *labels.notes]
    subset = wanted.subset
    chosen = list(range(len(names))) if subset is None else choose(names, subset)
    place = np.full(len(names), -1, dtype=np.int64)
    place[chosen] = np.arange(len(chosen))
    names = tuple(names[c] for c in chosen)

    train_labels = place[labels.train]
    train_rows = np.flatnonzero(train_labels >= 0)
    if splits.test is None or labels.test is None:
        kept, held = hold_out(train_labels[train_rows], len(names), one_of=wanted.one_of)
        test = SplitRows(splits.train, train_rows[held], train_labels)
        train_rows = train_rows[kept]
        notes.append(drawn_note(len(test.rows), wanted.one_of))
    else:
        test_numbers = place[labels.test]
        test = SplitRows(splits.test, np.flatnonzero(test_numbers >= 0), test_numbers)
    train = SplitRows(splits.train, train_rows, train_labels)
    for part, split in ((train, "training"), (test, "test")):
        if not len(part.rows):
            raise DataError(f"the {split} split has no images; check the source")
    return Division(train, test, names, tuple(notes))


def one_set(
    store: Store,
    part: SplitRows,
    kept: NDArray[np.bool_],
    names: tuple[str, ...],
    name: str,
    train: LabelledSet | None = None,
) -> LabelledSet:
    """The store's last split with its labels; normalised as training, or measured on itself."""
    return LabelledSet.of(
        store.images(),
        torch.from_numpy(part.labels[part.rows][kept]),
        names,
        name,
        mean=train.mean if train else None,
        std=train.std if train else None,
        parts=store.parts,
    )


def drawn_note(n: int, one_of: int = 5) -> str:
    """The sentence on a test split that was drawn."""
    share = {5: "a fifth", 8: "an eighth"}.get(one_of, f"one of {one_of}")
    return f"no test split was given: {share} of every class, {n} images in all, was set aside"


def _block(
    store: Store,
    part: SplitRows,
    names: tuple[str, ...],
    size: int | None,
    channels: int | None,
    split: str,
    shape: tuple[int, int, int] | None = None,
) -> _Block:
    """Decode some rows of a split, leaving out what cannot be read."""
    rows = part.rows
    with warnings.catch_warnings():
        # PIL's remarks on odd metadata would say nothing that a reader could act on.
        warnings.filterwarnings("ignore", module="PIL")
        stack, bad = stack_up(part.pictures.pick(rows), store, len(rows), size, channels, split)
    kept = np.ones(len(rows), dtype=bool)
    kept[list(bad)] = False
    notes = judge(bad, kept, part.labels[rows], names, split, "image")
    if shape is not None and stack.shape != shape:
        raise DataError(
            f"test images are {_size(stack.shape)} but training images {_size(shape)}; "
            f"resize them to one size, for example with --size {usual_side(max(shape))}"
        )
    if channels is None and stack.grey and stack.colour:
        notes.append(f"grey {split} images among colour ones, converted to RGB: {stack.grey}")
    elif channels == 3 and stack.grey:
        notes.append(f"grey {split} images, converted to RGB: {stack.grey}")
    elif channels == 1 and stack.colour:
        notes.append(f"colour {split} images, converted to grey: {stack.colour}")
    return _Block(stack.shape, kept, notes)


def judge(
    bad: dict[int, str],
    kept: NDArray[np.bool_],
    labels: Rows,
    names: tuple[str, ...],
    split: str,
    kind: str,
) -> list[str]:
    """What cannot be read: a note while they are few, an error when they are many."""
    if not bad:
        return []
    shown = ", ".join(list(bad.values())[:5]) + ", …" * (len(bad) > 5)
    count = f"{len(bad)} of {len(kept)} {split} {kind}s cannot be read ({shown})"
    for c in np.unique(labels):
        if not kept[labels == c].any():
            raise DataError(
                f"no {split} {kind} of class '{names[c]}' can be read; repair or replace the "
                f"files, or leave the class out. In all, {count}"
            )
    if len(bad) > _MOST_UNREADABLE * len(kept):
        raise DataError(f"{count}; repair, replace or remove them")
    return [f"left out: {count}"]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}×{shape[1]}"
