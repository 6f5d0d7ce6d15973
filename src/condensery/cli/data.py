"""``condensery data``: a data set as it was read."""

from __future__ import annotations

from typing import Any

from condensery.data import as_json, describe

from .shared import read
from .telling import conclude


def data(options: Any) -> int:
    """Describe a data set as it was read."""
    loaded = read(options.spec, options)
    conclude(options, as_json(loaded), describe(loaded))
    return 0
