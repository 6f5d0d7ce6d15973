"""Where and how a reproduction runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from condensery.runtime.distributed import ALONE, Ranks


@dataclass(frozen=True, kw_only=True)
class ReproductionSettings:
    """Where and how a reproduction runs."""

    out: Path
    """Its folder: ``sets/``, ``tested/`` and ``results/``."""
    plan: str = "auto"
    """Execution plan."""
    device: str | None = None
    """Torch device."""
    threads: int | None = None
    """CPU threads."""
    quiet: bool = False
    """Whether nothing is said."""
    say: Callable[[str], None] = print
    """What prints a line."""
    ranks: Ranks = field(default_factory=lambda: ALONE)
    """Processes that share the work; the first one writes and speaks."""
