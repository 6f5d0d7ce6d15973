"""On which scale the images of a set from elsewhere are."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from condensery.data import Data
from condensery.data.ranges import ValueRange, bounds_text
from condensery.errors import DataError

from .raw import Raw

_PIXELS = "pixels from 0 to 1"
_STRAY = 0.01  # this share may lie outside, as learned pixels do
#: Learned pixels are not clamped, but hardly one of a hundred lies outside these bounds.
_BOUNDS = {False: (-1.0, 2.0), True: (-10.0, 10.0)}
#: Mean and std per channel.
Normalisation: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]


def normalised(
    images: Tensor, raw: Raw, data: Data, path: Path, normalisation: Normalisation
) -> Tensor:
    """Images of a set as networks see them.

    What the user says of their range goes before what the file's format and its values say.

    Raises:
        DataError: for values that contradict what is said, or look like those of another scale.
    """
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in normalisation)
    measured = data.train.images.is_floating_point()  # on a scale of its own
    if images.dtype == torch.uint8:
        if measured:
            raise DataError(f"set {path} has 8-bit images, but those of {data.name} are float32")
        return (images.float() / 255 - mean) / std
    if raw.mean is not None:
        return (images - mean) / std
    if data.value_range is not None:
        unit = data.value_range.to_unit(images, f"images of {path}")
        return images if data.value_range == ValueRange() else (unit - mean) / std
    as_they_are = raw.normalised
    if as_they_are and not measured and 0 <= float(images.min()) <= float(images.max()) <= 1:
        as_they_are = False  # IDC's program saves pixels; black is negative where it is normalised
    if not measured:
        _check_bounds(images, path, as_they_are)
        if not as_they_are:
            check_pixels(images, path, data)
    return images if as_they_are else (images - mean) / std


def _check_bounds(images: Tensor, path: Path, is_normalised: bool) -> None:
    """Raise if values contradict the format."""
    low, high = _BOUNDS[is_normalised]
    if float(((images < low) | (images > high)).double().mean()) > _STRAY:
        wanted = "normalised images" if is_normalised else "images with black 0 and white 1"
        more = "" if is_normalised else ", 8 bits, or mean and std beside them,"
        raise DataError(
            f"images of {path} range from {bounds_text(images)}; {wanted}{more} are needed, or "
            "--range (value_range= of load), such as 0,255, has to say what black and white are"
        )


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
            f"images of {path} range from {bounds_text(images)} and look like {nearest}; say "
            "so with --range "
            f"{'-1,1' if '-1' in nearest else 'normalised'} (value_range= of load), or put mean "
            "and std beside them"
        )
