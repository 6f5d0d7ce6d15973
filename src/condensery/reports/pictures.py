"""Images of a page, as PNG within it."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from condensery.sets.annotated import scale_of
from condensery.sets.condensed import CondensedSet
from condensery.sets.picture import as_spectrogram, is_sound, visible
from condensery.sets.sound import griffin_lim

from .sources import SetPart

#: Classes, and images of each, that a page shows.
MOST_CLASSES, MOST_IMAGES = 100, 20
#: So few of a class are not made fewer to keep a picture of the past.
FEW_IMAGES = 5
#: Bytes of a page's pictures; what is beyond is left out, frames of the past first.
MOST_BYTES = 1_500_000
#: Iterations of Griffin-Lim for the sounds of a page.
_SOUND_ITERATIONS = 60
_MOST_SOUNDS = 20


@dataclass(frozen=True)
class Strip:
    """The images of one class beside each other, at every moment that was kept."""

    name: str
    """The class."""
    count: int
    """Images shown."""
    frames: tuple[str, ...]
    """PNG of the images at each moment, as data URIs; 1 pixel is 1 pixel."""
    sound: str | None = None
    """The first image as sound, where it is a spectrogram."""


@dataclass(frozen=True)
class Gallery:
    """All classes of a set."""

    strips: tuple[Strip, ...]
    side: int
    """Height of an image in pixels."""
    iterations: tuple[int, ...]
    """Of each frame."""
    classes: int
    """Of the set; a page shows some of very many."""
    each: int
    """Images per class of the set."""
    scale: str | None = None
    """What an image of a recording spans."""


def gallery(part: SetPart, sets: int = 1) -> Gallery:
    """The pictures of a set, as many as a page can hold that shows so many sets."""
    condensed, frames = part.condensed, list(part.frames)
    height = int(condensed.images.shape[-2])
    classes = min(len(condensed.stored), MOST_CLASSES)
    each = len(condensed.labels) // len(condensed.stored)
    shown = min(each, MOST_IMAGES)
    while True:
        rows = [_strips(one, classes, shown) for _, one in frames]
        total = sum(len(uri) for row in rows for uri in row)
        if total <= MOST_BYTES / sets or (len(frames) == 1 and shown == 1):
            break
        if len(frames) > 2:  # the first and the last say most
            frames = [frames[0], *frames[1:-1][1::2], frames[-1]]
        elif len(frames) == 2 and shown >= 2 * FEW_IMAGES:
            shown //= 2
        elif len(frames) == 2:
            frames = frames[1:]
        else:
            shown = max(1, shown // 2)
    sounds = _sounds(part, classes)
    names = condensed.about.class_names
    strips = tuple(
        Strip(names[c], shown, tuple(row[c] for row in rows), sounds[c]) for c in range(classes)
    )
    moments = tuple(iteration for iteration, _ in frames)
    scale = scale_of(condensed) if is_sound(condensed) else None
    return Gallery(strips, height, moments, len(condensed.stored), each, scale)


def _strips(condensed: CondensedSet, classes: int, shown: int) -> list[str]:
    """A PNG for each class, its images side by side."""
    pixels = visible(condensed)
    each = len(pixels) // len(condensed.stored)
    grid = pixels.unflatten(0, (-1, each))[:classes, :shown]
    gap = torch.full((*grid.shape[2:4], 1), 0.5)
    sound = is_sound(condensed)
    return [
        png(torch.cat([part for image in row for part in (image, gap)][:-1], 2), sound=sound)
        for row in grid
    ]


def png(image: Tensor, *, sound: bool = False) -> str:
    """C×H×W on a scale of 0 to 1 as a data URI; a spectrogram as pictures of sets show it."""
    from PIL import Image

    values = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    values = as_spectrogram(values) if sound else values
    held = io.BytesIO()
    picture = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    picture.save(held, format="PNG", optimize=True)
    return _uri("image/png", held.getvalue())


def _sounds(part: SetPart, classes: int) -> list[str | None]:
    """The first image of every class as sound, where the set was made from recordings."""
    rate = part.condensed.about.config.get("sample_rate")
    rate = rate if isinstance(rate, int) else part.settings.get("sample_rate")
    if not isinstance(rate, int) or classes > _MOST_SOUNDS:
        return [None] * classes
    condensed = part.condensed
    each = len(condensed.labels) // len(condensed.stored)
    images = condensed.pixels()[: classes * each : each]
    return [_wav(samples, rate) for samples in griffin_lim(images, rate, 0, _SOUND_ITERATIONS)]


def _wav(samples: Tensor, rate: int) -> str:
    loudest = samples.abs().max().clamp(min=1e-9)
    values = (samples / loudest * 32767 * 0.9).round().numpy().astype(np.int16)
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(values.tobytes())
    return _uri("audio/wav", held.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def factors(side: int) -> Sequence[int]:
    """Enlargements that a page offers: the pixels as they are, and two that can be looked at."""
    large = max(2, round(64 / side))
    return sorted({1, large, 2 * large}) if side <= 64 else [1, 2]
