"""Lines for people, which cannot break the work that they tell about.

Where nobody reads any more, or the disk that the output goes to is full, the work goes on; the
command says so at its end.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from .escape import printable

#: What went wrong on standard output since :func:`printing_failed` was last called.
_failures: list[OSError] = []


def put(*lines: str) -> None:
    """Print lines on standard output; control characters in them are shown, and not obeyed."""
    for line in lines:
        failure = _put(line, sys.stdout)
        if failure is not None:
            _failures.append(failure)


def put_as_is(text: str) -> None:
    """Print what this program made itself, with the control characters in it, on a line."""
    failure = _put(text, sys.stdout, plain=False)
    if failure is not None:
        _failures.append(failure)


def put_error(line: str) -> None:
    """Print a line on standard error."""
    _put(line, sys.stderr)


def printing_failed() -> OSError | None:
    """The first thing that went wrong on standard output, if anything did; it is forgotten then."""
    first = _failures[0] if _failures else None
    _failures.clear()
    return first


def _put(line: str, stream: TextIO | None, *, plain: bool = True) -> OSError | None:
    if stream is None:  # it was closed when the program was started
        return None
    text = printable(line) if plain else line
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            encoding = stream.encoding or "ascii"
            known = text.encode(encoding, "backslashreplace").decode(encoding)
            print(known, file=stream, flush=True)
    except OSError as error:
        # What waits to be written must not fail again when the program ends.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None
