"""Resizing as matrix products: exact, differentiable, and the same bytes on every device.

torch's own bilinear upsampling adds up its gradient in any order on a GPU.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

#: How an image becomes a tile.
Shrink = Literal["area", "nearest", "fitted"]


@lru_cache(maxsize=256)
def bilinear(out: int, into: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """out×into: each of ``out`` places as the weighted mean of its two neighbours among ``into``.

    Pixels are areas, so the corners of both grids agree (``align_corners=False`` of torch).
    """
    places = ((torch.arange(out, dtype=torch.float64) + 0.5) * into / out - 0.5).clamp(min=0)
    low = places.floor().long().clamp(max=into - 1)
    high = (low + 1).clamp(max=into - 1)
    share = (places - low)[:, None]
    one = torch.eye(into, dtype=torch.float64)
    return ((1 - share) * one[low] + share * one[high]).to(dtype=dtype, device=device)


@lru_cache(maxsize=256)
def area(out: int, into: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """out×into: each of ``out`` places as the mean over the stretch of ``into`` that it covers."""
    edges = torch.arange(out + 1, dtype=torch.float64) * into / out
    tiles = torch.arange(into, dtype=torch.float64)
    upper = torch.minimum(edges[1:, None], tiles + 1)
    lower = torch.maximum(edges[:-1, None], tiles)
    covered = (upper - lower).clamp(min=0)
    return (covered / covered.sum(1, keepdim=True)).to(dtype=dtype, device=device)


@lru_cache(maxsize=256)
def nearest(out: int, into: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """out×into: each of ``out`` places as the one of ``into`` at its beginning (torch's nearest).

    >>> nearest(2, 4, torch.float64, torch.device("cpu")).argmax(1).tolist()
    [0, 2]
    """
    return torch.eye(into, dtype=dtype, device=device)[torch.arange(out) * into // out]


@lru_cache(maxsize=256)
def fitted(out: int, into: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """out×into: the ``out`` numbers whose enlargement to ``into`` comes nearest, by least squares.

    The pseudo-inverse of :func:`bilinear`, for ``out`` of at most ``into``.
    """
    enlarge = bilinear(into, out, torch.float64, torch.device("cpu"))
    solved: Tensor = torch.linalg.solve(enlarge.T @ enlarge, enlarge.T)
    return solved.to(dtype=dtype, device=device)


_SHRINKING = {"area": area, "nearest": nearest, "fitted": fitted}


def upsample(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, …×h×w → …×height×width."""
    rows = bilinear(height, images.shape[-2], images.dtype, images.device)
    columns = bilinear(width, images.shape[-1], images.dtype, images.device)
    return rows @ images @ columns.T


def shrink(images: Tensor, height: int, width: int, how: Shrink = "area") -> Tensor:
    """Images made smaller, …×H×W → …×height×width.

    Args:
        images: of any leading shape.
        height: of the result.
        width: of the result.
        how: means over ``area``; the ``nearest`` pixels; or ``fitted``: what :func:`upsample`
            brings nearest to them, by least squares.
    """
    take = _SHRINKING[how]
    rows = take(height, images.shape[-2], images.dtype, images.device)
    columns = take(width, images.shape[-1], images.dtype, images.device)
    return rows @ images @ columns.T
