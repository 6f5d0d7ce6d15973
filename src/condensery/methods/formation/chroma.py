"""Tiles of luma, and chroma at half their resolution: twice the training images of plain tiles.

Pictures may keep colour coarser than brightness, as JPEG's 4:2:0 does. A stored image then holds
2·f² training images in its three planes: the first two have f×f tiles of luma each, and the third
has 2f×2f smaller tiles, two of chroma for each luma.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .grid import Tile, tiles
from .resize import Shrink, bilinear, shrink

#: Luma and two axes of chroma, as rows over red, green and blue.
_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 2.0, -1.0))
Space = Literal["unit", "normalised"]


def subsampled(factor: int) -> int:
    """Training images in a stored one.

    >>> subsampled(3)
    18
    """
    return 2 * factor**2


class Basis(NamedTuple):
    """From RGB to what is stored, and back."""

    axes: Tensor
    """3×3, rows over red, green and blue."""
    back: Tensor
    """Its inverse."""
    added: Tensor
    """3×1×1, what is stored beyond the product."""


@lru_cache(maxsize=16)
def basis(space: Space, dtype: torch.dtype, device: torch.device) -> Basis:
    """How colours are stored.

    Of normalised pixels it is a rotation, so a pixel rate means what it means for RGB. Of pixels
    from 0 to 1 every axis is scaled, and chroma shifted, to fill 0 to 1.
    """
    axes = torch.tensor(_AXES, dtype=torch.float64)
    added = torch.zeros(3, 1, 1, dtype=torch.float64)
    if space == "normalised":
        axes = axes / axes.norm(dim=1, keepdim=True)
    else:
        axes = axes / axes.abs().sum(1, keepdim=True)
        added[1:] = 0.5
    back = torch.linalg.inv(axes)
    return Basis(*(one.to(dtype=dtype, device=device) for one in (axes, back, added)))


class Place(NamedTuple):
    """Where a training image lies in its stored image."""

    plane: int
    luma: Tile
    chroma: tuple[Tile, Tile]


@lru_cache(maxsize=64)
def places(height: int, width: int, factor: int) -> tuple[Place, ...]:
    """Of all training images of a stored one: plane by plane, in reading order.

    >>> places(8, 8, 2)[5].plane, [(t[0].start, t[1].start) for t in places(8, 8, 2)[5].chroma]
    (1, [(4, 4), (4, 6)])
    """
    luma = tiles(height, width, factor, "area")
    chroma = tiles(height, width, 2 * factor, "area")
    return tuple(
        Place(n // len(luma), luma[n % len(luma)], (chroma[2 * n], chroma[2 * n + 1]))
        for n in range(subsampled(factor))
    )


def pack_subsampled(images: Tensor, factor: int, space: Space, how: Shrink = "area") -> Tensor:
    """RGB images shrunk into stored ones, s·2f²×3×H×W → s×3×H×W."""
    colours = basis(space, images.dtype, images.device)
    planes = torch.einsum("oc,nchw->nohw", colours.axes, images) + colours.added
    groups = planes.unflatten(0, (-1, subsampled(factor)))
    out = images.new_empty(len(groups), *images.shape[1:])

    def put(plane: int, tile: Tile, image: Tensor) -> None:
        rows, columns = tile
        size = rows.stop - rows.start, columns.stop - columns.start
        out[:, plane, rows, columns] = shrink(image, *size, how)

    for number, place in enumerate(places(*images.shape[-2:], factor)):
        put(place.plane, place.luma, groups[:, number, 0])
        for axis, tile in enumerate(place.chroma, start=1):
            put(2, tile, groups[:, number, axis])
    return out


def unpack_subsampled(
    stored: Tensor, factor: int, space: Space, rows: Tensor | None = None
) -> Tensor:
    """The training images of stored ones as RGB at full size, k×s×3×H×W → k×s·2f²×3×H×W.

    ``rows``, k×m, picks some of each class; the others are not computed.
    """
    classes, held, _, height, width = stored.shape
    each = subsampled(factor)
    if rows is None:
        rows = torch.arange(held * each, device=stored.device).expand(classes, -1)
    image, number = rows // each, rows % each
    of_class = torch.arange(classes, device=stored.device)[:, None]
    plane, down, across = _enlarging(height, width, factor, stored.dtype, stored.device)
    luma = stored[of_class, image, plane[number]]
    chroma = stored[of_class, image, 2]
    planes = torch.stack([luma, chroma, chroma], 2)
    enlarged = down[number] @ planes @ across[number]
    colours = basis(space, stored.dtype, stored.device)
    return torch.einsum("oc,kmchw->kmohw", colours.back, enlarged - colours.added)


@lru_cache(maxsize=16)
def _enlarging(
    height: int, width: int, factor: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each place its plane, and matrices that cut its three tiles out and enlarge them.

    A whole plane between the two, places×3×H×H and places×3×W×W, is the tile at full size: one
    product for tiles that differ in size.
    """
    found = places(height, width, factor)
    down = torch.zeros(len(found), 3, height, height, dtype=dtype, device=device)
    across = torch.zeros(len(found), 3, width, width, dtype=dtype, device=device)
    for number, place in enumerate(found):
        for axis, (rows, columns) in enumerate((place.luma, *place.chroma)):
            size = rows.stop - rows.start, columns.stop - columns.start
            down[number, axis, :, rows] = bilinear(height, size[0], dtype, device)
            across[number, axis, columns] = bilinear(width, size[1], dtype, device).T
    return torch.tensor([place.plane for place in found], device=device), down, across
