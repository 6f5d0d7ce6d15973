"""``metadata.csv`` beside pictures: their names and labels, as the ``datasets`` library lays it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from condensery.errors import DataError
from condensery.utils.reading import text_of

from .classes import Rows
from .pictures import Pictures, Splits
from .stack import Item
from .tables import LABELS, split_of

NAME = "metadata.csv"
_FILES = ("file_name", "filename", "file", "path", "image")


def splits_in(root: Path) -> Splits | None:
    """The splits that such files describe; None where there is none, or no label in it.

    One stands beside the pictures, or in each folder of a split. A row's picture is named from the
    folder of the file.

    Raises:
        DataError: for rows that cannot be used.
    """
    if (root / NAME).is_file():
        found = _rows(root / NAME)
        return None if found is None else Splits(found, None, None)
    inner = [p for p in sorted(root.iterdir()) if p.is_dir() and (p / NAME).is_file()]
    by_split = {split: p for p in reversed(inner) if (split := split_of(p.name)) is not None}
    if "train" not in by_split:
        return None
    train = _rows(by_split["train"] / NAME)
    place = by_split.get("test") or by_split.get("validation")
    test = None if place is None else _rows(place / NAME)
    if train is None:
        return None
    return Splits(train, test, None)


def write(folder: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Write such a file.

    Args:
        folder: beside which pictures.
        rows: the name of each, from that folder, and its label.
    """
    with (folder / NAME).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("file_name", "label"), *rows])


def _rows(path: Path) -> Pictures | None:
    try:
        lines = csv.DictReader(text_of(path).splitlines(), strict=True)
        heads = [(head or "").strip() for head in lines.fieldnames or ()]
        lines.fieldnames = heads
        rows = list(lines)
    except OSError as error:
        raise DataError(f"'{path.name}' cannot be read: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"'{path.name}' cannot be read ({error}); save it as UTF-8") from error
    file, label = (next((n for n in known if n in heads), None) for known in (_FILES, LABELS))
    if file is None or label is None:
        return None
    for number, row in enumerate(rows, 2):
        if not row.get(file) or not row.get(label):
            raise DataError(
                f"line {number} of '{path.name}' lacks {file} or {label}; every picture needs both"
            )
    if not rows:
        raise DataError(f"'{path.name}' has no rows; a line for each picture is needed")
    files = [str(row[file]) for row in rows]
    return Pictures(
        numbers_or_names([str(row[label]) for row in rows]), _picker(path.parent, files)
    )


def numbers_or_names(values: Sequence[str]) -> Rows | np.ndarray[tuple[int], np.dtype[np.str_]]:
    """Labels that were written as text: numbers where all are; otherwise names."""
    if all(v.isascii() and v.isdigit() and len(v) < 10 for v in values):
        return np.array([int(v) for v in values], dtype=np.int64)
    return np.array(values, dtype=np.str_)


def _picker(home: Path, files: Sequence[str]) -> Callable[[Rows], Iterator[Item]]:
    real = home.resolve()

    def pick(rows: Rows) -> Iterator[Item]:
        for row in rows:
            name = files[row]
            try:
                path = (home / name).resolve()
            except (OSError, ValueError, RuntimeError):  # a NUL in it, or a loop of links
                path = Path("/")
            if not path.is_relative_to(real):
                raise DataError(
                    f"'{NAME}' names {name!r:.80}, which is outside its folder; put the file there"
                )
            yield name, path

    return pick
