"""Libraries that only some uses need: what to install is said at the first of them."""

from __future__ import annotations

import importlib
from typing import Any

from condensery.errors import UsageError


def needed(module: str, extra: str, use: str) -> Any:
    """A module of an optional dependency.

    Args:
        module: what is imported.
        extra: the extra of this package that installs it.
        use: what needs it, such as ``parquet files``.

    Raises:
        UsageError: where it is not installed, with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise UsageError(
            f'{use}: {name} is not installed; install it with pip install "condensery[{extra}]"'
        ) from error
