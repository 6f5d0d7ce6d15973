"""Accuracy per class, and which classes are taken for which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .names import shown
from .sources import ResultPart

#: Classes of which a matrix can still be read.
_MOST = 40


@dataclass(frozen=True)
class Confusion:
    """Of one row: percent of each class's test images that were taken for each class."""

    title: str
    classes: tuple[str, ...]
    percent: tuple[tuple[float, ...], ...]
    """Row c: what the images of class c were taken for; sums to 100."""

    @property
    def right(self) -> tuple[tuple[str, float], ...]:
        """Class and accuracy, the hardest first."""
        pairs = [(name, self.percent[c][c]) for c, name in enumerate(self.classes)]
        return tuple(sorted(pairs, key=lambda pair: pair[1]))


def confusions(part: ResultPart) -> list[Confusion]:
    """Those of all rows that counted them."""
    found = []
    for row in part.rows:
        counts: Any = row.get("confusion")
        names: Any = part.about.get("class_names")
        if not _square(counts) or len(counts) > _MOST:
            continue
        known = isinstance(names, list) and len(names) == len(counts)
        words = tuple(map(str, names)) if known else tuple(map(str, range(len(counts))))
        percent = tuple(tuple(100 * value / max(1, sum(line)) for value in line) for line in counts)
        title = ", ".join(
            shown(str(row[name])) for name in ("set", "net", "protocol") if name in row
        )
        found.append(Confusion(title, words, percent))
    return found


def _square(counts: Any) -> bool:
    return (
        isinstance(counts, list)
        and bool(counts)
        and all(
            isinstance(line, list)
            and len(line) == len(counts)
            and all(isinstance(value, int) and value >= 0 for value in line)
            for line in counts
        )
    )
