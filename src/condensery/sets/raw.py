"""A set from elsewhere before it is checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Raw:
    """Images and labels as a file has them."""

    images: Any
    labels: Any
    names: tuple[str, ...] | None = None
    mean: Any = None
    std: Any = None
    normalised: bool = False
    """Whether the format's images are normalised by the data's mean and std."""
    stored_bytes: int | None = None
    """Size of the images in the file, where it is not that of ``images``."""
