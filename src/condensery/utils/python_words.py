"""Errors in the words of Python, where a function was called and no command."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from condensery.errors import DataError, UsageError

P = ParamSpec("P")
R = TypeVar("R")

#: Flags whose argument has another name in Python.
_NAMES = {"nets": "repeats", "net": "network", "sets": "several calls"}
_FLAG = re.compile(r"--([a-z][\w-]*(?:\.\w+)*)(?: (\d[\d.]*)(?!\w))?")


def python_words(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose errors name arguments in place of the command's flags."""

    @functools.wraps(function)
    def called(*args: P.args, **named: P.kwargs) -> R:
        try:
            return function(*args, **named)
        except (UsageError, DataError) as error:
            error.args = (in_python(str(error)),)
            raise

    return called


def in_python(text: str) -> str:
    """A message with arguments in place of flags.

    >>> in_python("use --ipc 3 or less, or --formation.start_from noise; see --nets")
    "use ipc=3 or less, or overrides={'formation.start_from': ...} noise; see repeats"
    """

    def argument(found: re.Match[str]) -> str:
        name, value = found[1].replace("-", "_") if "." not in found[1] else found[1], found[2]
        if "." in name:
            return f"overrides={{{name!r}: {value or '...'}}}"
        name = _NAMES.get(name, name)
        return name if value is None else f"{name}={value}"

    return _FLAG.sub(argument, text)
