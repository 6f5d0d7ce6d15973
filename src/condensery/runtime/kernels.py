"""Whether kernels of our own may be used, and where they are."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from .compile import use_own_cache

_state = {"allowed": False}


@contextmanager
def fused(allowed: bool) -> Iterator[None]:
    """Kernels that do several layers or ops in one may be used in the block, or may not."""
    before, _state["allowed"] = _state["allowed"], allowed
    try:
        yield
    finally:
        _state["allowed"] = before


def may_fuse() -> bool:
    """Whether they may be used now."""
    return _state["allowed"]


@cache
def kernels(name: str) -> ModuleType | None:
    """A module of kernels; None where there is no Triton."""
    use_own_cache()
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
