"""Sixel: what a terminal would draw is the picture."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from condensery.utils.sixel import sixel


def drawn(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """A terminal: height×width×3 in percent, −1 where nothing was drawn."""
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.DOTALL)
    assert found is not None
    width, height, body = int(found[1]), int(found[2]), found[3]
    screen = np.full((-(-height // 6) * 6, width, 3), -1)
    colours: dict[str, list[int]] = {}
    x = y = 0
    colour = ""
    words = r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)"
    at = 0
    for one in re.finditer(words, body):
        assert one.start() == at, "nothing else is in it"
        at = one.end()
        if one[1]:
            colours[one[1]] = [int(one[k]) for k in (2, 3, 4)]
        elif one[5]:
            colour = one[5]
        elif one[9]:
            x = 0
        elif one[10]:
            x, y = 0, y + 6
        else:
            character, times = (one[7], int(one[6])) if one[6] else (one[8], 1)
            for bit in range(6):
                if (ord(character) - 63) >> bit & 1:
                    place = screen[y + bit, x : x + times]
                    assert (place == -1).all(), "each pixel is drawn once"
                    place[:] = colours[colour]
            x += times
    assert at == len(body)
    return screen[:height]


def png_of(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "png")
    return held.getvalue()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 5), (13, 20)])
def test_a_terminal_draws_the_picture(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (7, 3), dtype=np.uint8)
    pixels = palette[rng.integers(0, 7, (height, width))]
    found = drawn(sixel(png_of(pixels)))
    assert np.abs(found - pixels / 2.55).max() <= 0.5 + 1e-9  # whole percents


def test_long_runs_are_short() -> None:
    assert len(sixel(png_of(np.zeros((6, 700, 3), np.uint8)))) < 60


def test_wide_pictures_become_smaller() -> None:
    grey = np.full((10, 1600), 128, np.uint8)
    assert drawn(sixel(png_of(grey))).shape == (5, 800, 3)


def test_what_is_not_a_picture_is_refused() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        sixel(b"nothing")
