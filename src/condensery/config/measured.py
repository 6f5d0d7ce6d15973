"""Which recipe ``--recipe auto`` stands for: a table of what was measured.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from .recipes import matches

#: The word that asks for it.
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A recipe, and why."""

    recipe: str
    """Its name."""
    protocol: str
    """What its sets are tested by."""
    because: str = ""
    """What was measured, in words; empty where nothing was."""
    source: str = ""
    """The file that has the numbers."""

    def text(self) -> str:
        """One line for people.

        >>> Advice(recipe="dm_mf", protocol="dsa").text()
        'recipe: dm_mf, the default where nothing was measured for such data, budget and time'
        """
        if not self.because:
            why = "the default where nothing was measured for such data, budget and time"
            return f"recipe: {self.recipe}, {why}"
        return f"recipe: {self.recipe}, because of {self.because}: {self.source}"


@cache
def table() -> dict[str, Any]:
    """The table as it is written."""
    file = resources.files("condensery.config") / "measured.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def advice(facts: Mapping[str, Any]) -> Advice:
    """The first row of the table that holds, or the default.

    Args:
        facts: ``data``, ``ipc``, ``size``, ``classes``, ``audio``, ``device`` and ``minutes``,
            which is None without a limit.

    >>> facts = {"data": "mnist", "ipc": 1, "device": "cpu", "minutes": None}
    >>> advice(facts).recipe, advice({**facts, "ipc": 7, "minutes": 5}).recipe
    ('dm_mf', 'best')
    """
    for row in table()["rows"]:
        if matches(row["when"], facts):
            return Advice(**{name: value for name, value in row.items() if name != "when"})
    kind = "free" if facts["minutes"] is None else "limited"
    return Advice(**table()["otherwise"][kind])
