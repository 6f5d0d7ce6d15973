"""Pictures of numbers, with matplotlib where it is installed."""

from __future__ import annotations

import warnings
from typing import Any

from .extras import needed


def pyplot() -> Any:
    """``matplotlib.pyplot``, drawing to files and to no screen.

    Raises:
        UsageError: where it is not installed, with the line that installs it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own, about fonts and what it depends on
        needed("matplotlib", "plots", "drawing").use("Agg")
        return needed("matplotlib.pyplot", "plots", "drawing")
