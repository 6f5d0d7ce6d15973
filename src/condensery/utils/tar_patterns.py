"""Patterns with braces that stand for tar files, ``train-{000..099}.tar``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, product
from pathlib import Path

from condensery.errors import DataError

ENDING = ".tar"
#: Files that one pattern may name.
_MOST_FILES = 10_000


def named(pattern: str) -> list[Path]:
    """The files of a pattern with braces; none where it is no such pattern.

    >>> [path.name for path in named("train-{08..10}.tar")]
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    >>> [path.name for path in named("{train,val}-0.tar")]
    ['train-0.tar', 'val-0.tar']

    Raises:
        DataError: when it stands for more files than anybody has.
    """
    parts = re.split(r"(\{[^{}]*\})", pattern)
    if len(parts) == 1 or not pattern.lower().endswith(ENDING):
        return []
    ways = [_alternatives(part) if part.startswith("{") else (part,) for part in parts]
    found = ["".join(words) for words in islice(product(*ways), _MOST_FILES + 1)]
    if len(found) > _MOST_FILES:
        raise DataError(f"'{pattern}' stands for more than {_MOST_FILES} files; name their folder")
    return [Path(name) for name in found]


def _alternatives(braces: str) -> Sequence[str]:
    inside = braces[1:-1]
    ends = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", inside)
    if ends is None:
        return inside.split(",")
    first, last = int(ends[1]), int(ends[2])
    width = len(ends[1]) if ends[1].startswith("0") else 0
    stop = min(last, first + _MOST_FILES) + 1
    return [f"{number:0{width}}" for number in range(first, stop)]
