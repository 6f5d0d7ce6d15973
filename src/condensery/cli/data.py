"""``condensery data``: a data set as it was read."""

from __future__ import annotations

from typing import Any

from condensery.data import as_json, describe

from .shared import printer, read, write_result


def data(options: Any) -> int:
    """Describe a data set as it was read."""
    loaded = read(options.spec, options)
    printer(options)("\n".join(describe(loaded)))
    write_result(options, as_json(loaded))
    return 0
