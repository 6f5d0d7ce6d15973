"""Tables that fit a terminal: what repeats goes below them, and what does not fit is left out."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .escape import printable
from .text import table

#: The least that is left of a row's name.
_NAME = 14


def columns() -> int | None:
    """The columns of the terminal, ``$COLUMNS`` where it is set; None where nothing limits them."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    except (AttributeError, OSError, ValueError):  # closed, or no stream of the system's
        return None


def fitting_table(
    cells: Mapping[str, Sequence[str]],
    *,
    keyed: Sequence[str] = (),
    optional: Sequence[str] = (),
    width: int | None = None,
) -> str:
    """A table for a screen, in as many columns as that has.

    While it is too wide: a column whose cells are all alike goes below the table; then columns of
    long names get numbers, which are told below; then columns are left out, one after another; then
    names in the first column are shortened.

    Args:
        cells: the columns, from left to right; the first one names the rows and stays.
        keyed: columns whose cells may become numbers; they, those that may be left out, and ``n``
            may go below the table.
        optional: columns that may be left out, the first one first.
        width: of the screen; :func:`columns` by default, and no limit where there is none.

    >>> cells = {"set": ["a", "b"], "network": ["convnet3"] * 2, "accuracy": ["71.0", "68.5"]}
    >>> print(fitting_table(cells, keyed=["network"], width=20))
    set      accuracy
    -----  ----------
    a            71.0
    b            68.5
    network: convnet3
    """
    limit = columns() if width is None else width
    shown, below = dict(cells), list[str]()
    if limit is None:
        return _drawn(shown)
    first = next(iter(shown))
    movable = (*keyed, *optional, "n")
    for name in list(shown)[1:]:
        alike = len(set(shown[name])) == 1 and name in movable
        if alike and _wide(shown, limit):
            below.append(f"{name}: {shown.pop(name)[0]}")
    for name in keyed:
        if name in shown and _wide(shown, limit):
            known = list(dict.fromkeys(shown[name]))
            shown[name] = [str(known.index(cell) + 1) for cell in shown[name]]
            below += [f"{name} {number}: {cell}" for number, cell in enumerate(known, 1)]
    left: list[str] = []
    for name in optional:
        if name in shown and _wide(shown, limit):
            left.append(name)
            del shown[name]
    over = _width(shown) - limit
    if over > 0:
        longest = max(len(cell) for cell in shown[first])
        shown[first] = [_short(cell, max(_NAME, longest - over)) for cell in shown[first]]
    if left:
        below.append(f"for lack of room without {', '.join(left)}; --json - has everything")
    return "\n".join([_drawn(shown), *wrapped(below, limit)])


def wrapped(lines: Sequence[str], width: int | None = None) -> list[str]:
    """Lines broken at words to fit the terminal."""
    limit = columns() if width is None else width
    plain = [printable(line) for line in lines]
    if limit is None:
        return plain
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return [part for line in plain for part in textwrap.wrap(line, max(20, limit), **how) or [""]]


def flowing(line: str, width: int | None = None) -> list[str]:
    """A line of prose, broken at words to fit the terminal; what follows is indented.

    A row of a table stays as it is, and so does a command that is to be pasted.

    >>> flowing("note: no test split was given", 20)
    ['note: no test split', '  was given']
    >>> flowing("  source    12 images, 3000 kB", 25)
    ['  source    12 images,', '            3000 kB']
    >>> flowing("next: condensery show runs/digits", 20)
    ['next: condensery show runs/digits']
    """
    limit = columns() if width is None else width
    label = re.match(r"  \S+(?: \S+)* {2,}(?=\S)", line)
    is_row = label is None and "  " in line.lstrip()
    if limit is None or len(line) <= limit or is_row or line.startswith("next: "):
        return [line]
    indent = " " * (len(label[0]) if label else 2 + len(line) - len(line.lstrip()))
    how: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(
        line, max(40, limit) if width is None else limit, subsequent_indent=indent, **how
    )


def _drawn(cells: Mapping[str, Sequence[str]]) -> str:
    return table(list(cells), [list(line) for line in zip(*cells.values(), strict=True)])


def _width(cells: Mapping[str, Sequence[str]]) -> int:
    return max(len(line) for line in _drawn(cells).splitlines())


def _wide(cells: Mapping[str, Sequence[str]], limit: int) -> bool:
    return _width(cells) > limit


def _short(text: str, room: int) -> str:
    """A name with its middle left out: both ends of a path tell more."""
    if len(text) <= room:
        return text
    head = (room - 1) // 3
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"
