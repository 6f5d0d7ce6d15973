"""What condensed sets are for: continual learning, adaptation, architecture search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adaptation import adapt as adapt
    from .architecture_search import search as search
    from .continual_learning import continual as continual
    from .memory import Memory as Memory

# Imported when they are first used, so that a command loads what it needs.
_PUBLIC = {
    "Memory": "memory",
    "adapt": "adaptation",
    "continual": "continual_learning",
    "search": "architecture_search",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'condensery.applications' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
