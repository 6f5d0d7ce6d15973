"""Pictures of sets: a row per class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from condensery.utils.files import whole_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from .condensed import CondensedSet

#: A picture shows at most this many classes and images per class; larger ones cannot be looked at.
MOST_ROWS, MOST_COLUMNS = 100, 50
_GAP = 2
_PAPER = 255
#: Small images are enlarged to about this many pixels, by a whole factor.
_SIDE = 56


def picture(condensed: CondensedSet) -> Image:
    """The decoded images on a sheet: rows are classes, columns the images of a class."""
    from PIL import Image as Pillow

    pixels = visible(condensed)
    rows = len(condensed.stored)
    each = len(pixels) // rows
    grid = pixels.unflatten(0, (rows, each))[:MOST_ROWS, :MOST_COLUMNS]
    bytes_ = (grid.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    factor = max(1, round(_SIDE / max(bytes_.shape[2:4])))
    bytes_ = bytes_.repeat(factor, axis=2).repeat(factor, axis=3)
    sheet = _sheet(bytes_)
    return Pillow.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)


def visible(condensed: CondensedSet) -> Tensor:
    """N×1 or 3×H×W on a scale of 0 to 1, for images of any channels and any scale."""
    pixels = condensed.pixels()
    if pixels.shape[1] not in (1, 3):
        pixels = pixels.mean(1, keepdim=True)
    if fits_eight_bits(condensed):
        return pixels
    low, high = pixels.amin(), pixels.amax()
    return (pixels - low) / (high - low).clamp(min=1e-12)


def fits_eight_bits(condensed: CondensedSet) -> bool:
    """Whether black is 0 and white 1: most pixels lie there, though learned ones may overshoot."""
    # Nothing between 0 and 1 has another mean or a larger std; 1 stands for a std of 0.
    for mean, std in zip(condensed.about.mean, condensed.about.std, strict=True):
        if not 0 <= mean <= 1 or (std > 0.5 and std != 1):
            return False
    pixels = condensed.pixels()
    inside = (pixels >= -0.5) & (pixels <= 1.5)
    return bool(inside.float().mean() > 0.5)


def _sheet(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """rows × columns × H × W × C on one page, with gaps."""
    rows, columns, height, width, channels = images.shape
    page = np.full(
        (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels), _PAPER, np.uint8
    )
    for r in range(rows):
        for c in range(columns):
            top, left = _GAP + r * (height + _GAP), _GAP + c * (width + _GAP)
            page[top : top + height, left : left + width] = images[r, c]
    return page


def save_picture(condensed: CondensedSet, path: Path) -> None:
    """Write the sheet as PNG."""
    with whole_file(path) as temporary:
        picture(condensed).save(temporary, format="PNG")
