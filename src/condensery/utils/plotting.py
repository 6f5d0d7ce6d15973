"""Pictures of numbers, with matplotlib where it is installed."""

from __future__ import annotations

import warnings
from typing import Any

from condensery.errors import UsageError


def pyplot() -> Any:
    """``matplotlib.pyplot``, drawing to files and to no screen.

    Raises:
        UsageError: where matplotlib is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own, about fonts and what it depends on
            import matplotlib

            matplotlib.use("Agg")
            from matplotlib import pyplot as drawn
    except ImportError as error:
        raise UsageError(
            "a picture needs matplotlib; install condensery[plots], or leave --picture out"
        ) from error
    return drawn
