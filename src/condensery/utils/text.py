"""Numbers, counts and tables for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tabulate import tabulate

from .escape import printable


def size_text(count: int) -> str:
    """A size in bytes, in decimal units.

    >>> size_text(31360), size_text(12)
    ('31.4 kB', '12 bytes')
    """
    if count < 1000:
        return f"{count} bytes"
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


def time_text(seconds: float) -> str:
    """A duration.

    >>> time_text(3725), time_text(0.0123)
    ('1 h 2 min', '12 ms')
    """
    if not math.isfinite(seconds):
        return "unknown"
    if 0.0005 <= seconds < 0.095:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"


def minutes_text(minutes: float) -> str:
    """A time that somebody gave in minutes.

    >>> minutes_text(1), minutes_text(2.5)
    ('1 minute', '2.5 minutes')
    """
    return "1 minute" if minutes == 1 else f"{minutes:g} minutes"


def shape_text(shape: Sequence[int]) -> str:
    """A shape, such as ``3×32×32``."""
    return "×".join(str(side) for side in shape)


def plural(count: int, one: str, several: str | None = None) -> str:
    """A count of things.

    >>> plural(1, "class", "classes"), plural(3, "set")
    ('1 class', '3 sets')
    """
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """A table for a screen, or in GitHub's Markdown, whose cells are Markdown themselves.

    Columns whose cells all begin with a digit are aligned right on a screen.
    """
    if markdown:
        return str(tabulate(rows, list(head), tablefmt="github", disable_numparse=True))
    rows = [[printable(cell) for cell in row] for row in rows]
    columns = [[row[i] for row in rows] for i in range(len(head))]
    sides = ["right" if _countable(cells) else "left" for cells in columns]
    made = tabulate(rows, list(head), tablefmt="simple", disable_numparse=True, colalign=sides)
    return "\n".join(line.rstrip() for line in made.splitlines())


def _countable(cells: Sequence[str]) -> bool:
    return bool(cells) and all(cell[:1].isdigit() or cell in ("", "-") for cell in cells)
