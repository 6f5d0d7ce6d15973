"""Pictures of one size, put on top of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from condensery.errors import DataError

from .images import Content, Pixels, UnreadableError, as_channels, pixels

Item: TypeAlias = tuple[str, Content]
"""A picture's name, for messages, and its content."""


class Stack:
    """Pictures of one size, grey until the first in colour comes."""

    def __init__(self, room: int, channels: int | None) -> None:
        self.room, self.channels = room, channels
        self.out: NDArray[np.uint8] | None = None
        self.n = self.grey = self.colour = 0

    def fits(self, array: Pixels) -> bool:
        """Whether a picture has the size of those before."""
        return self.out is None or array.shape[:2] == self.out.shape[2:]

    def add(self, array: Pixels) -> None:
        """Put a picture on top."""
        in_colour = array.ndim == 3
        self.colour, self.grey = self.colour + in_colour, self.grey + (not in_colour)
        channels = self.channels or (3 if self.colour else 1)
        if self.out is None:
            self.out = np.empty((self.room, channels, *array.shape[:2]), dtype=np.uint8)
        elif self.out.shape[1] < channels:
            self.out = np.repeat(self.out, 3, axis=1)
        self.out[self.n] = as_channels(array, self.out.shape[1])
        self.n += 1

    def images(self) -> NDArray[np.uint8]:
        """All of them, N×C×H×W."""
        assert self.out is not None  # a split of which nothing can be read was refused before
        return self.out if self.n == self.room else self.out[: self.n].copy()


def stack_up(
    items: Iterator[Item], room: int, size: int | None, channels: int | None, split: str
) -> tuple[Stack, dict[int, str]]:
    """Decode pictures and stack them; what cannot be read is returned by position, with its name.

    Raises:
        DataError: when no size is given and the pictures' own differ.
    """
    stack, bad = Stack(room, channels), {}
    for row, (name, content) in enumerate(items):
        try:
            array = pixels(content, size)
        except UnreadableError:
            bad[row] = name
            continue
        if not stack.fits(array):
            assert stack.out is not None
            raise _sizes_differ(stack, array, items, split)
        stack.add(array)
    return stack, bad


def _sizes_differ(stack: Stack, array: Pixels, rest: Iterator[Item], split: str) -> DataError:
    """The refusal, with what a look at the next images adds."""
    assert stack.out is not None
    seen = Counter({stack.out.shape[2:]: stack.n, array.shape[:2]: 1})
    for _, content in islice(rest, 200):
        try:
            seen[pixels(content, None).shape[:2]] += 1
        except UnreadableError:
            continue
    sizes = ", ".join(f"{w}×{h}" for (h, w), _ in seen.most_common(5))
    smallest = min(min(s) for s in seen)
    return DataError(
        f"the {split} images differ in size ({sizes}{', …' * (len(seen) > 5)}); choose one to "
        f"bring them to, for example --size {usual_side(smallest)}"
    )


def usual_side(side: int) -> int:
    """A usual side not above the images' own: 32, 64, 128 or 224."""
    return max((s for s in (32, 64, 128, 224) if s <= side), default=max(4, side))
