"""Sixel: pictures as text of six rows of pixels a character, for terminals of DEC's family."""

from __future__ import annotations

import io
from itertools import groupby

import numpy as np
from PIL import Image

#: Registers of colour that every such terminal has.
_COLOURS = 256
#: The widest picture that is sent as it is.
_WIDEST = 800


def sixel(png: bytes) -> str:
    """The sequence that shows a picture in at most 256 colours.

    Args:
        png: content of a PNG file; one that is wider than 800 pixels is made smaller.

    Raises:
        OSError: for content that is not a picture.
    """
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    if picture.width > _WIDEST:
        size = _WIDEST, max(1, round(picture.height * _WIDEST / picture.width))
        picture = picture.resize(size, Image.Resampling.BOX)
    reduced = picture.quantize(_COLOURS)
    palette = np.asarray(reduced.getpalette(), np.float64).reshape(-1, 3)
    registers = np.asarray(reduced)
    height, width = registers.shape
    colours = "".join(
        f"#{number};2;{red};{green};{blue}"
        for number, (red, green, blue) in enumerate(np.rint(palette / 2.55).astype(int).tolist())
    )
    bands = "-".join(_band(registers[top : top + 6]) for top in range(0, height, 6))
    return f'\x1bP0;1;0q"1;1;{width};{height}{colours}{bands}\x1b\\'


def _band(rows: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> str:
    """Up to six rows: each colour's pixels over the whole width, one colour after another."""
    weights = 1 << np.arange(len(rows))
    parts = []
    for colour in np.unique(rows):
        bits = ((rows == colour) * weights[:, None]).sum(0)
        runs = "".join(_run(int(bit), len(list(same))) for bit, same in groupby(bits))
        parts.append(f"#{colour}{runs}")
    return "$".join(parts)


def _run(bits: int, count: int) -> str:
    """Columns that are alike, shortened where that pays."""
    character = chr(63 + bits)
    return f"!{count}{character}" if count > 3 else character * count
