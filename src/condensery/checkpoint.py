"""A run's state as one file: tensors, and plain values in its metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import DataError
from .files import whole_file

_KEY = "condensery-state"


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write nested dictionaries of tensors and JSON values, whole."""
    tensors: dict[str, Tensor] = {}
    values = _split(state, "", tensors)
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(values, sort_keys=True)})


def load_state(path: Path) -> dict[str, Any]:
    """What :func:`save_state` wrote.

    Raises:
        DataError: when the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            values = json.loads((opened.metadata() or {})[_KEY])
            for name in opened.keys():  # noqa: SIM118  (not a mapping)
                *folders, last = name.split("/")
                below = values
                for folder in folders:
                    below = below[folder]
                below[last] = opened.get_tensor(name)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"checkpoint {path} is damaged ({error}); remove it to start this run again"
        ) from error
    return dict(values)


def _split(tree: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The values of a tree; its tensors go into ``tensors`` under their path."""
    values: dict[str, Any] = {}
    for name, item in tree.items():
        if isinstance(item, Tensor):
            tensors[prefix + name] = item.detach().cpu().contiguous()
        elif isinstance(item, dict):
            values[name] = _split(item, f"{prefix}{name}/", tensors)
        else:
            values[name] = item
    return values
