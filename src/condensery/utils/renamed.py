"""Arguments that have another name than they had: the old one works, and warns."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from typing import Any


def old_names(
    function: str,
    given: Mapping[str, Any],
    names: Mapping[str, str],
    known: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The values of arguments that were given under old names, by their new ones.

    Args:
        function: which one was called.
        given: what it was given beside its own arguments.
        names: new names by old ones.
        known: words that people use for an argument, and its name; they are told, not taken.

    Raises:
        TypeError: for a name that was never one of its arguments.
    """
    for name in given:
        if name not in names:
            near = (known or {}).get(name)
            close = difflib.get_close_matches(name, names, n=1)
            near = near or (names[close[0]] if close else None)
            hint = f"; did you mean '{near}'?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument '{name}'{hint}")
    for name in given:
        warnings.warn(
            f"the argument {name} of {function} is now called {names[name]}",
            DeprecationWarning,
            stacklevel=3,
        )
    return {names[name]: value for name, value in given.items()}
