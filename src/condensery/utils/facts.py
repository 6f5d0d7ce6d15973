"""A folder's ``run.json``: times, machines, versions and paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .files import write_json


def note_facts(folder: Path, **facts: Any) -> dict[str, Any]:
    """Put facts about times and machines into a folder's ``run.json``; all that it says then."""
    try:
        held = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        held = {}
    known = held if isinstance(held, dict) else {}
    if facts:
        known = {**known, **facts}
        write_json(folder / "run.json", known)
    return known
