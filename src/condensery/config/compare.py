"""In which field two configurations differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def difference(held: Any, wanted: dict[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """The first field in which two configurations differ, empty when they agree.

    Args:
        held: what a folder has; a field that it lacks was not there yet, and had its default.
        wanted: what is asked for.
        defaults: of the fields.
    """
    if not isinstance(held, dict):
        return "its recipe.yaml is not readable"
    known = defaults or {}
    for name in sorted({*held, *wanted}):
        there, here = held.get(name, known.get(name)), wanted.get(name)
        if isinstance(there, dict) and isinstance(here, dict) and there != here:
            below = difference(there, here, known.get(name))
            if below:
                return f"{name}.{below}"
            continue
        if there != here:
            return f"{name} there: {there}, here: {here}"
    return ""
