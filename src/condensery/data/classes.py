"""Labels of any kind become 0 … C−1; a test split is drawn where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condensery.errors import DataError
from condensery.runtime.randomness import stream
from condensery.utils.text import plural

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """Both splits' labels as class numbers."""

    train: Rows
    test: Rows | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def as_labels(values: Any, split: str) -> NDArray[Any]:
    """Labels as one row of whole numbers or of strings; N×1 is taken as N."""
    try:
        labels = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"the {split} labels differ in shape; one label per image is needed"
        ) from error
    if labels.dtype.kind in "SO":
        labels = _decoded(labels, split)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(
            f"the {split} labels have shape {labels.shape}; one label per image is needed "
            "(take the argmax of one-hot labels)"
        )
    if labels.dtype.kind == "b":
        return labels.astype(np.int64)
    if labels.dtype.kind == "T" or (
        labels.dtype.kind == "O" and all(isinstance(v, str) for v in labels)
    ):
        return labels.astype(np.str_)
    if labels.dtype.kind not in "iuU":
        raise DataError(
            f"the {split} labels are of type {labels.dtype}; whole numbers or strings are needed"
        )
    return labels


def text_of(name: Any) -> str:
    r"""A class name, of text or of bytes.

    >>> text_of(b"caf\xc3\xa9"), text_of("cat")
    ('café', 'cat')
    """
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _decoded(labels: NDArray[Any], split: str) -> NDArray[Any]:
    """Labels of bytes as text; objects other than text and numbers stay as they are."""
    flat = labels.ravel().tolist()
    if flat and all(isinstance(v, bytes) for v in flat):
        return np.array([text_of(v) for v in flat], dtype=np.str_).reshape(labels.shape)
    if any(v is None for v in flat):
        raise DataError(f"{split} image {flat.index(None)} has no label; every image needs one")
    return labels


def number(
    train: NDArray[Any], test: NDArray[Any] | None, names: Sequence[str] | None = None
) -> Labels:
    """Class numbers for labels of any kind, decided by the training split alone.

    Args:
        train: whole numbers or strings.
        test: labels of the same kind, or none.
        names: class names by label; without them the distinct values, sorted, are the classes.

    Raises:
        DataError: a label outside the names, a class that only the test split has, or one class
            only.
    """
    notes: list[str] = []
    if not len(train):
        raise DataError("the training split has no images; check the source")
    if names is not None and train.dtype.kind != "U":
        known: NDArray[Any] = np.arange(len(names))
        for split, labels in (("training", train), ("test", test)):
            _in_range(labels, split, len(names))
        present = np.unique(train)
        shown = [str(names[v]) for v in present]
        if len(present) < len(names):
            empty = [names[v] for v in np.setdiff1d(known, present)]
            notes.append(f"left out for lack of training images: {_few(empty, 'class', 'classes')}")
    else:
        present = np.unique(train)
        shown = [str(v) for v in present]
        if names is not None and (odd := sorted(set(shown) - set(names))):
            raise DataError(f"label '{odd[0]}' is not among the class names; add it or relabel")
        if train.dtype.kind != "U" and not np.array_equal(present, np.arange(len(present))):
            notes.append(f"labels {shown[0]} … {shown[-1]} were numbered 0 … {len(present) - 1}")
    if len(present) < 2:
        raise DataError(
            f"there is only one class, '{shown[0]}'; condensing needs at least two classes"
        )
    if len(set(shown)) < len(shown):
        twice = next(n for n in shown if shown.count(n) > 1)
        raise DataError(f"two classes are called '{twice}'; give every class its own name")
    numbered = None if test is None else _place(test, present, names)
    placed = np.searchsorted(present, train).astype(np.int64)
    return Labels(placed, numbered, tuple(shown), tuple(notes))


def _in_range(labels: NDArray[Any] | None, split: str, classes: int) -> None:
    if labels is None or not len(labels):
        return
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"label {labels[row]} of {split} image {row} is outside 0 … {classes - 1}, the "
            f"{classes} class names; correct the labels or the names, and leave out images "
            "without a label"
        )


def _place(labels: NDArray[Any], present: NDArray[Any], names: Sequence[str] | None) -> Rows:
    """Test labels by position among the training split's classes."""
    if (labels.dtype.kind == "U") != (present.dtype.kind == "U"):
        raise DataError("training and test labels must both be numbers or both be strings")
    foreign = np.setdiff1d(labels, present)
    if len(foreign):
        value = foreign[0]
        name = names[value] if names is not None and labels.dtype.kind != "U" else value
        raise DataError(
            f"class '{name}' has test images but no training images; add training images or leave "
            "it out of the test split"
        )
    return np.searchsorted(present, labels).astype(np.int64)


def hold_out(
    labels: Rows, classes: int, purpose: str = "test-split", one_of: int = 5
) -> tuple[Rows, Rows]:
    """A stratified fifth (or so) for testing: positions of training and test images, ascending.

    Every class with at least two images gives at least one; the draw depends on the labels alone.
    """
    test: list[Rows] = []
    for c in range(classes):
        members = np.flatnonzero(labels == c)
        n = max(1, round(len(members) / one_of)) if len(members) > 1 else 0
        test.append(stream(0, purpose, group=c).permutation(members)[:n])
    held = np.sort(np.concatenate(test))
    if not len(held):
        raise DataError(
            "no test split can be drawn because every class has only one image; add images or "
            "provide a test split"
        )
    return np.setdiff1d(np.arange(len(labels)), held), held


def choose(names: Sequence[str], wanted: Mapping[str, str]) -> list[int]:
    """Positions of a subset's classes, in the subset's order.

    Args:
        names: class names of the whole set: identifiers such as ``n02091831`` or words such as
            ``"Saluki, gazelle hound"``.
        wanted: identifier → word of the subset's classes.
    """
    words = [[w.strip().lower() for w in name.split(",")] for name in names]
    first = {w[0]: i for i, w in reversed(list(enumerate(words)))}
    any_word = {w: i for i, row in reversed(list(enumerate(words))) for w in row}
    chosen = []
    for identifier, word in wanted.items():
        # A class's first word goes before synonyms: 'tub' is also a synonym of 'bathtub'.
        position = first.get(identifier, first.get(word.lower(), any_word.get(word.lower())))
        if position is None:
            raise DataError(
                f"the source has no class {identifier} ('{word}'), which the subset needs; check "
                "that it is the complete collection"
            )
        chosen.append(position)
    return chosen


def _few(names: Sequence[str], one: str, many: str) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:5])
    return f"{plural(len(names), one, many)} ({shown}{', …' * (len(names) > 5)})"
