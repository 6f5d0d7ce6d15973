"""Pictures of sets: a row per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from condensery.utils.files import whole_file

if TYPE_CHECKING:
    from PIL.Image import Image

#: A picture shows at most this many classes and images per class; larger ones cannot be looked at.
MOST_ROWS, MOST_COLUMNS = 100, 50
#: Pixels between images.
GAP = 2
_PAPER = 255
#: The longer side of a sheet without its labels, in pixels.
LARGEST = 4096
#: Letters of a class name that are drawn.
_LETTERS = 24
#: Small images are enlarged to about this many pixels, by a whole factor.
_SIDE = 56


class Drawn(Protocol):
    """What is drawn: a condensed set."""

    stored: Tensor
    about: Any
    images: Tensor

    def __len__(self) -> int: ...

    def pixels(self) -> Tensor:
        """Decoded images with black 0 and white 1, N×C×H×W."""

    @property
    def stored_bytes(self) -> int:
        """Size of the stored tensors."""


def picture(condensed: Drawn) -> Image:
    """The decoded images on a sheet: rows are classes with their names, under what the set is.

    Its longer side has at most :data:`LARGEST` pixels. Spectrograms have colours, and low
    frequencies at the bottom.
    """
    about = condensed.about
    title = f"{about.method}: {about.source.name}, {about.ipc} per class"
    return labelled(bare_picture(condensed), title, about.class_names[:MOST_ROWS])


def bare_picture(condensed: Drawn) -> Image:
    """The images of :func:`picture` alone: columns are the images of a class."""
    from PIL import Image as Pillow

    rows = len(condensed.stored)
    # Those that are shown alone: a set of many classes is gigabytes of pixels.
    images = condensed.images.unflatten(0, (rows, -1))[:MOST_ROWS, :MOST_COLUMNS]
    pixels = _visible(unnormalised(images.flatten(0, 1), condensed.about), condensed.about)
    grid = pixels.unflatten(0, images.shape[:2])
    bytes_ = (grid.clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    factor = max(1, round(_SIDE / max(bytes_.shape[2:4])))
    bytes_ = bytes_.repeat(factor, axis=2).repeat(factor, axis=3)
    if is_sound(condensed):
        bytes_ = as_spectrogram(bytes_)
    sheet = _sheet(bytes_)
    made = Pillow.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    made.thumbnail((LARGEST, LARGEST))
    return made


def labelled(sheet: Image, title: str, names: Sequence[str]) -> Image:
    """A sheet with a title above it, and the name of each row beside it."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    font = ImageFont.load_default()
    shown = [name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…" for name in names]
    try:
        widths = [int(font.getbbox(name)[2]) for name in shown]
    except UnicodeEncodeError:  # the plain font has Latin letters alone
        shown = [name.encode("latin-1", "replace").decode("latin-1") for name in shown]
        title = title.encode("latin-1", "replace").decode("latin-1")
        widths = [int(font.getbbox(name)[2]) for name in shown]
    left, top = max(widths) + 8, 16
    width = max(left + sheet.width, int(font.getbbox(title)[2]) + 8)
    page = Pillow.new(sheet.mode, (width, top + sheet.height), "white")
    page.paste(sheet, (left, top))
    draw = ImageDraw.Draw(page)
    draw.text((4, 2), title, fill="black", font=font)
    for row, name in enumerate(shown):
        middle = top + (row + 0.5) * sheet.height / len(shown)
        draw.text((left - 4, middle), name, fill="black", font=font, anchor="rm")
    return page


def _colours() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """256 colours from black over purple and orange to white, ever lighter."""
    at = np.linspace(0, 1, 256)
    stops = [0.0, 0.25, 0.5, 0.75, 1.0]
    red, green, blue = [0, 81, 183, 252, 252], [0, 18, 55, 137, 253], [4, 124, 121, 97, 191]
    made = np.stack([np.interp(at, stops, one) for one in (red, green, blue)], -1)
    return made.round().astype(np.uint8)


_COLOURS = _colours()


def is_sound(condensed: Drawn) -> bool:
    """Whether the images are spectrograms of recordings."""
    one_channel = condensed.images.shape[1] == 1
    return condensed.about.config.get("sample_rate") is not None and one_channel


def as_spectrogram(
    grey: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """…×H×W×1 with colours, …×H×W×3, and the first row, the lowest frequency, at the bottom."""
    return _COLOURS[grey[..., ::-1, :, 0]]


def unnormalised(images: Tensor, about: Any) -> Tensor:
    """Images of a set with black 0 and white 1, not clamped."""
    mean, std = (torch.tensor(one).view(1, -1, 1, 1) for one in (about.mean, about.std))
    return images * std + mean


def visible(condensed: Drawn) -> Tensor:
    """N×1 or 3×H×W on a scale of 0 to 1, for images of any channels and any scale."""
    return _visible(condensed.pixels(), condensed.about)


def _visible(pixels: Tensor, about: Any) -> Tensor:
    fits = _fits_eight_bits(pixels, about)
    if pixels.shape[1] not in (1, 3):
        pixels = pixels.mean(1, keepdim=True)
    if fits:
        return pixels
    low, high = pixels.amin(), pixels.amax()
    return (pixels - low) / (high - low).clamp(min=1e-12)


def fits_eight_bits(condensed: Drawn) -> bool:
    """Whether black is 0 and white 1: most pixels lie there, though learned ones may overshoot."""
    return _fits_eight_bits(condensed.pixels(), condensed.about)


def _fits_eight_bits(pixels: Tensor, about: Any) -> bool:
    # Nothing between 0 and 1 has another mean or a larger std; 1 stands for a std of 0.
    for mean, std in zip(about.mean, about.std, strict=True):
        if not 0 <= mean <= 1 or (std > 0.5 and std != 1):
            return False
    inside = (pixels >= -0.5) & (pixels <= 1.5)
    return bool(inside.float().mean() > 0.5)


def _sheet(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """rows × columns × H × W × C on one page, with gaps."""
    rows, columns, height, width, channels = images.shape
    page = np.full(
        (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels), _PAPER, np.uint8
    )
    for r in range(rows):
        for c in range(columns):
            top, left = GAP + r * (height + GAP), GAP + c * (width + GAP)
            page[top : top + height, left : left + width] = images[r, c]
    return page


def save_picture(condensed: Drawn, path: Path) -> None:
    """Write the sheet as PNG."""
    with whole_file(path) as temporary:
        picture(condensed).save(temporary, format="PNG")
