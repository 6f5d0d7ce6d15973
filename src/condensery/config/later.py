"""Settings that came after their kind, and what is written of them."""

from __future__ import annotations

import dataclasses
from typing import Any

#: Metadata of such a setting. While it has its default it is left out of what is written, so that
#: files stay the same bytes as before.
LATER = {"later": True}


def unset(built: Any, item: dataclasses.Field[Any]) -> bool:
    """Whether a setting came later, and has its default."""
    if "later" not in item.metadata:
        return False
    made = item.default_factory
    default = item.default if made is dataclasses.MISSING else made()
    return bool(getattr(built, item.name) == default)


def as_written(built: Any) -> dict[str, Any]:
    """A dataclass of plain values as it is written."""
    return {
        item.name: getattr(built, item.name)
        for item in dataclasses.fields(built)
        if not unset(built, item)
    }
