"""Which ops an augmentation may use, and how strong they are."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache

from condensery.errors import UsageError, unknown_name

#: Every op, and how many values in [0, 1) describe one draw of it.
VALUES: dict[str, int] = {
    "color": 3,
    "crop": 2,
    "cutout": 2,
    "flip": 1,
    "scale": 2,
    "rotate": 1,
    "noise": 1,
}


@dataclass(frozen=True)
class Strategy:
    """Ops and their magnitudes, by default those of DSA (Zhao and Bilen, ICML 2021)."""

    ops: tuple[str, ...] = ()
    """Names of the ops, in the order in which a sequence applies them; none twice."""
    brightness: float = 1.0
    """Width of the brightness shift, which is uniform about 0."""
    saturation: float = 2.0
    """Largest saturation factor; the least is 0."""
    contrast: float = 0.5
    """The contrast factor lies in 1 ± this."""
    crop: float = 0.125
    """Largest shift, as a share of the side, rounded to whole pixels."""
    cutout: float = 0.5
    """Side of the square that is cut out, as a share of the image's, rounded to whole pixels."""
    scale: float = 1.2
    """Largest zoom factor of an axis; the least is one over it."""
    rotate: float = 15.0
    """Largest rotation in degrees, either way."""
    noise: float = 0.001
    """Standard deviation of the noise added to each pixel."""

    def __post_init__(self) -> None:
        for op in self.ops:
            if op not in VALUES:
                raise unknown_name("augmentation op", op, VALUES)
            if self.ops.count(op) > 1:
                raise UsageError(f"augmentation op '{op}' is named twice; remove one")
        for item in dataclasses.fields(self):
            if item.name == "ops":
                continue
            value = getattr(self, item.name)
            least = 1.0 if item.name == "scale" else 0.0
            most = 1.0 if item.name in ("crop", "cutout") else math.inf
            if not (math.isfinite(value) and least <= value <= most):
                bounds = f"at least {least:g}" if most == math.inf else f"in {least:g} … {most:g}"
                raise UsageError(f"augmentation's {item.name} must be {bounds}, got {value}")

    def without(self, op: str) -> Strategy:
        """The same without one op."""
        if op not in VALUES:
            raise unknown_name("augmentation op", op, VALUES)
        return dataclasses.replace(self, ops=tuple(o for o in self.ops if o != op))

    @property
    def text(self) -> str:
        """The ops as :func:`parse_strategy` reads them.

        >>> parse_strategy("colour_flip").without("flip").text
        'color'
        """
        return "_".join(self.ops) or "none"


@lru_cache(maxsize=64)
def parse_strategy(text: str) -> Strategy:
    """The ops of a string such as ``color_crop_cutout_flip_scale_rotate``, at DSA's magnitudes.

    Args:
        text: names joined by underscores; ``colour`` is ``color``; ``none`` is no op at all.

    Raises:
        UsageError: for an op that does not exist, or that is named twice.

    >>> parse_strategy("colour_crop").ops
    ('color', 'crop')
    """
    if text == "none":
        return Strategy()
    names = ("color" if name == "colour" else name for name in text.split("_"))
    return Strategy(tuple(names))
