"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence


def size_text(count: int) -> str:
    """A size in bytes for people.

    >>> size_text(31360)
    '31.4 kB'
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def time_text(seconds: float) -> str:
    """A duration for people.

    >>> time_text(3725)
    '1 h 2 min'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{seconds / 60:.1f} min"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns that line up; a column whose cells all begin with a digit stands to the right."""
    columns = list(zip(head, *rows, strict=True))
    out = []
    for title, *cells in columns:
        width = max(len(cell) for cell in (title, *cells))
        right = bool(cells) and all(cell[:1].isdigit() or cell in ("", "-") for cell in cells)
        out.append([cell.rjust(width) if right else cell.ljust(width) for cell in (title, *cells)])
    lines = ["  ".join(line).rstrip() for line in zip(*out, strict=True)]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([lines[0], rule, *lines[1:]])
