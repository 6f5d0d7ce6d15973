"""A folder's ``run.json``: times, machines, versions and paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .files import write_json
from .reading import read_json


def note_facts(folder: Path, **facts: Any) -> dict[str, Any]:
    """Put facts about times and machines into a folder's ``run.json``; all that it says then."""
    try:
        held = read_json(folder / "run.json")
    except (OSError, ValueError):
        held = {}
    known = held if isinstance(held, dict) else {}
    if facts:
        known = {**known, **facts}
        write_json(folder / "run.json", known)
    return known
