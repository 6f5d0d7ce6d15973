"""Matplotlib, which is imported when something is drawn with it."""

from __future__ import annotations

from typing import Any

from .extras import needed


def pyplot() -> Any:
    """``matplotlib.pyplot``.

    Raises:
        UsageError: where it is not installed, with the line that installs it.
    """
    return needed("matplotlib.pyplot", "plots", "drawing")
