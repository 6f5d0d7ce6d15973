"""Where two configurations differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldDifference:
    """A field that two configurations have different values of."""

    field: str
    """Dotted where it belongs to a choice."""
    held: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.field} there: {self.held}, here: {self.wanted}"


def first_difference(
    held: Mapping[str, Any],
    wanted: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    *,
    shared_only: bool = False,
) -> FieldDifference | None:
    """The first field in which two configurations differ, None when they agree.

    Args:
        held: one of them, of a folder or a set.
        wanted: the other one.
        defaults: values of fields that ``held`` lacks: an earlier version that did not know them
            wrote it.
        shared_only: whether fields that only one of them has are passed over.
    """
    known = defaults or {}
    names = {*held} & {*wanted} if shared_only else {*held, *wanted}
    for name in sorted(names):
        there, here = held.get(name, known.get(name)), wanted.get(name, known.get(name))
        if there == here:
            continue
        if not (isinstance(there, Mapping) and isinstance(here, Mapping)):
            return FieldDifference(name, there, here)
        below = first_difference(there, here, known.get(name), shared_only=shared_only)
        if below is not None:
            return FieldDifference(f"{name}.{below.field}", below.held, below.wanted)
    return None
