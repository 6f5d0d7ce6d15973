"""Compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

#: Every trainer and every matcher compiles the same function for its own network. Torch gives up
#: silently after 8 variants of one function, which a table of a few networks reaches.
_VARIANTS = 1024


def compiled(function: F) -> F:
    """A function compiled for fixed shapes; each new shape compiles again."""
    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit"):
        if hasattr(config, name):
            setattr(config, name, max(_VARIANTS, getattr(config, name)))
    return cast(F, torch.compile(function, dynamic=False))
