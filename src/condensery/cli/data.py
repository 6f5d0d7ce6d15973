"""``condensery data``: what was understood of a data set."""

from __future__ import annotations

from typing import Any

from condensery.data import as_json, describe

from .shared import printer, read, write_result


def data(options: Any) -> int:
    """Say what was understood of a data set."""
    loaded = read(options.spec, options)
    printer(options)("\n".join(describe(loaded)))
    write_result(options, as_json(loaded))
    return 0
