"""The training augmentation of larger photographs (IDC's ImageNet protocol, appendix C.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from .draws import to_device

Crops: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
"""Where images are looked at, n×2×3."""

#: Share of the area that a crop keeps, and its sides' ratio.
_AREA = (0.5, 1.0)
_RATIO = (3 / 4, 4 / 3)
#: Brightness, contrast and saturation factors lie in 1 ± this.
_JITTER = 0.4
#: Deviation of the three amounts of lighting.
_LIGHTING = 0.1
#: Principal components of ImageNet's colours, and their deviations (Krizhevsky et al., 2012).
_COMPONENTS = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])
#: Weights of the channels in a grey image.
_GREY = (0.299, 0.587, 0.114)
#: Draws of a crop's sides before the whole image is taken.
_TRIES = 10


def augment_photos(
    images: Tensor,
    rng: np.random.Generator,
    flip: bool,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Random resized crop, flip, colour jitter and lighting, parameters for each image.

    Args:
        images: N×C×H×W, normalised; lighting and saturation leave grey images alone.
        rng: where the parameters are drawn from.
        flip: whether the data may be flipped.
        mean: the normalisation, black 0 and white 1; colours are changed there.
        std: the normalisation.
    """
    theta = crops(len(images), images.shape[2], images.shape[3], rng, flip)
    images = cropped(images, theta)
    shape = (1, -1, 1, 1)
    center, scale = images.new_tensor(mean).view(shape), images.new_tensor(std).view(shape)
    return (_jitter(images * scale + center, rng) - center) / scale


def cropped(images: Tensor, theta: Crops) -> Tensor:
    """What is seen of N×C×H×W images where :func:`crops` says, resized to their whole size."""
    grid_of = to_device(torch.from_numpy(theta), images.device).to(images.dtype)
    grid = affine_grid(grid_of, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def crops(
    n: int,
    height: int,
    width: int,
    rng: np.random.Generator,
    flip: bool,
    *,
    area: tuple[float, float] = _AREA,
    ratio: tuple[float, float] = _RATIO,
) -> Crops:
    """Where each image is looked at, as n×2×3 maps of −1 … 1: a stretch and a shift an axis.

    Args:
        n: how many.
        height: of the images.
        width: of the images.
        rng: where they are drawn from.
        flip: whether half of them are mirrored.
        area: least and largest share of the area.
        ratio: least and largest ratio of the sides.
    """
    out = np.zeros((n, 2, 3))
    for one in out:
        h, w = _sides(height, width, rng, area, ratio)
        top, left = (rng.integers(a - b + 1) for a, b in ((height, h), (width, w)))
        mirrored = flip and rng.random() < 0.5
        one[0, 0] = (-1 if mirrored else 1) * w / width
        one[0, 2] = (2 * left + w) / width - 1
        one[1, 1] = h / height
        one[1, 2] = (2 * top + h) / height - 1
    return out


def _sides(
    height: int,
    width: int,
    rng: np.random.Generator,
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int]:
    """Height and width of a crop; the whole image when none fits."""
    for _ in range(_TRIES):
        pixels = height * width * rng.uniform(*area)
        sides = math.exp(rng.uniform(*np.log(ratio)))
        h, w = round(math.sqrt(pixels / sides)), round(math.sqrt(pixels * sides))
        if 0 < h <= height and 0 < w <= width:
            return h, w
    return height, width


def _jitter(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and lighting of images with black 0 and white 1."""
    n = len(images)

    def factor() -> Tensor:
        drawn = rng.uniform(1 - _JITTER, 1 + _JITTER, n)
        return _column(drawn, images)

    images = images * factor()
    about = _grey(images).mean((1, 2, 3), keepdim=True)
    images = (images - about) * factor() + about
    if images.shape[1] != len(_GREY):
        return images
    grey = _grey(images)
    images = (images - grey) * factor() + grey
    amounts = rng.normal(0, _LIGHTING, (n, 3)) * _DEVIATIONS
    light = torch.from_numpy(amounts @ _COMPONENTS.T)
    return images + to_device(light, images.device).to(images.dtype)[:, :, None, None]


def _column(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], like: Tensor) -> Tensor:
    return to_device(torch.from_numpy(values), like.device).to(like.dtype).view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """One channel."""
    if images.shape[1] != len(_GREY):
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor(_GREY).view(1, -1, 1, 1)).sum(1, keepdim=True)
