"""What black and white are in arrays of floating numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from condensery.errors import DataError, UsageError

RangeLike: TypeAlias = "str | Sequence[float]"
"""``"LOW,HIGH"``, the two numbers, or ``"normalised"``."""

_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"
_STRAY = 0.01  # this share of values may lie outside, by rounding or resampling
_SLACK = 0.02
_CHUNK = 1024  # images of which intermediate values are held at a time


@dataclass(frozen=True)
class ValueRange:
    """The numbers of black and white; none of both: images are normalised already."""

    low: float | None = None
    high: float | None = None

    @classmethod
    def parse(cls, given: RangeLike) -> ValueRange:
        """What a user says of the range.

        Raises:
            UsageError: for anything but two finite numbers, the lower one first, or the word.

        >>> ValueRange.parse("-1,1"), str(ValueRange.parse((0, 255)))
        (ValueRange(low=-1.0, high=1.0), '0,255')
        """
        if isinstance(given, str):
            if given == "normalised":
                return cls()
            found = re.fullmatch(f"{_NUMBER},{_NUMBER}", given)
            numbers = [float(one) for one in found.groups()] if found else []
        else:
            try:
                numbers = [float(one) for one in given]
            except (TypeError, ValueError):
                numbers = []
        if len(numbers) != 2 or not all(map(math.isfinite, numbers)) or numbers[0] >= numbers[1]:
            raise UsageError(
                "the range must be the numbers of black and white, such as 0,255 or -1,1, or the "
                f"word normalised, got {given!r:.40}"
            )
        return cls(*numbers)

    def __str__(self) -> str:
        return "normalised" if self.low is None else f"{self.low:.15g},{self.high:.15g}"

    def to_unit(self, images: Tensor, what: str) -> Tensor:
        """Floating images with black 0 and white 1; normalised ones as they are.

        Raises:
            DataError: when more than a hundredth of the values lie outside the range.
        """
        if self.low is None or self.high is None:
            return images
        unit = (images - self.low).div_(self.high - self.low)
        stray = sum(
            int(((part < -_SLACK) | (part > 1 + _SLACK)).sum()) for part in unit.split(_CHUNK)
        )
        if stray > _STRAY * unit.numel():
            raise DataError(
                f"{what} range from {bounds_text(images)}, and not within {self}; correct --range "
                "(value_range= of load), or clip them"
            )
        return unit


def bounds_text(images: Tensor) -> str:
    """The least and the greatest value, in words."""
    return f"{float(images.min()):.3g} to {float(images.max()):.3g}"


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel."""
    parts, n = images.split(_CHUNK), images[:, 0].numel()
    centre = sum(part.double().sum((0, 2, 3)) for part in parts) / n
    aside = sum(((part.double() - centre[:, None, None]) ** 2).sum((0, 2, 3)) for part in parts)
    return centre, (aside / n).sqrt()


def note_on(images: Tensor) -> str | None:
    """A sentence on floating images that leave black 0 and white 1; None where they do not.

    Their own scale is kept, since it may mean something; what looks like pixels of another scale,
    or normalised, is said to.
    """
    low, high = float(images.min()), float(images.max())
    if low >= -_SLACK and high <= 1 + _SLACK:
        return None
    centre, spread = _moments(images)
    looks = ""
    if low < 0 and bool((centre.abs() < 0.1).all()) and bool(((spread - 1).abs() < 0.1).all()):
        looks = " and look normalised already"
    elif -1 - _SLACK <= low < 0 and 0.5 < high <= 1 + _SLACK:
        looks = " and look like pixels from -1 to 1"
    elif low >= 0 and 128 < high <= 255:
        looks = " and look like pixels from 0 to 255"
    said = f"images range from {low:.3g} to {high:.3g}{looks}; they keep this scale"
    return f"{said} (--range LOW,HIGH would bring black to 0 and white to 1)"
