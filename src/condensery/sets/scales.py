"""On which scale the images of a set from elsewhere are."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from condensery.data import Data
from condensery.errors import DataError

_PIXELS = "pixels from 0 to 1"
_STRAY = 0.01  # this share may lie outside, as learned pixels do


def check_pixels(images: Tensor, path: Path, data: Data) -> None:
    """Raise if images that leave black 0 and white 1 are spread as those of another scale are.

    Learned pixels may leave them, too; but their mean and spread stay nearer to the data's own than
    to those of normalised images (0 and 1), or of images from -1 to 1.

    Raises:
        DataError: naming the range and the scale.
    """
    if float(((images < -0.02) | (images > 1.02)).double().mean()) <= _STRAY:
        return
    mean, std = (torch.tensor(values) for values in (data.train.mean, data.train.std))
    scales = {
        _PIXELS: (mean, std),
        "images from -1 to 1": (2 * mean - 1, 2 * std),
        "normalised images": (torch.zeros_like(mean), torch.ones_like(std)),
    }
    centre = images.mean((0, 2, 3))
    spread = images.std((0, 2, 3), correction=0).clamp(min=1e-6)

    def distance(name: str) -> float:
        there, wide = scales[name]
        return float((((centre - there) / wide).abs() + (spread / wide).log().abs()).mean())

    nearest = min(scales, key=distance)
    if nearest != _PIXELS:
        raise DataError(
            f"images of {path} range from {float(images.min()):.3g} to {float(images.max()):.3g} "
            f"and look like {nearest}; save them with black 0 and white 1, or in 8 bits, or put "
            "mean and std beside them"
        )
