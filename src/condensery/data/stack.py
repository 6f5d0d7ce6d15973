"""Pictures of one size, stacked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np

from condensery.errors import DataError

from . import store as stores
from .images import Content, PixelArray, UnreadableError, as_channels, pixels
from .reasons import reason
from .store import Store

Item: TypeAlias = tuple[str, Content]
"""A picture's name, for messages, and its content."""


class Stack:
    """Pictures of one size, grey until the first in colour comes; stored chunk by chunk."""

    def __init__(self, store: Store, room: int, channels: int | None) -> None:
        self.store, self.channels = store, channels
        self.size: tuple[int, int] | None = None
        self.n = self.grey = self.colour = 0
        self._held: list[PixelArray] = []
        self._depth = channels or 1
        store.begin(room)

    def fits(self, array: PixelArray) -> bool:
        """Whether a picture has the size of those before."""
        return self.size is None or array.shape[:2] == self.size

    def add(self, array: PixelArray) -> None:
        """Add a picture."""
        in_colour = array.ndim == 3
        self.colour, self.grey = self.colour + in_colour, self.grey + (not in_colour)
        self.size = (array.shape[0], array.shape[1])
        if self.channels is None and in_colour and self._depth == 1:
            self.put_away()
            self.store.widen()
            self._depth = 3
        self._held.append(as_channels(array, self._depth))
        self.n += 1
        if len(self._held) * self._held[0].size >= stores.CHUNK:
            self.put_away()

    def put_away(self) -> None:
        """Hand the pictures that are held to the store."""
        if self._held:
            self.store.add(np.stack(self._held))
            self._held = []

    @property
    def shape(self) -> tuple[int, int, int]:
        """C×H×W of the pictures."""
        assert self.size is not None  # a split of which nothing can be read was rejected before
        return (self._depth, *self.size)


def stack_up(
    items: Iterator[Item],
    store: Store,
    room: int,
    size: int | None,
    channels: int | None,
    split: str,
) -> tuple[Stack, dict[int, str]]:
    """Decode pictures and stack them; what cannot be read is returned by position, with its name.

    Raises:
        DataError: when no size is given and the pictures' own differ.
    """
    stack, bad = Stack(store, room, channels), {}
    for row, (name, content) in enumerate(items):
        try:
            array = pixels(content, size)
        except UnreadableError as error:
            cause = reason(str(error))
            bad[row] = f"{name}: {cause}" if cause else name
            continue
        if not stack.fits(array):
            raise _sizes_differ(stack, array, items, split)
        stack.add(array)
    stack.put_away()
    return stack, bad


def _sizes_differ(stack: Stack, array: PixelArray, rest: Iterator[Item], split: str) -> DataError:
    """The error, with the sizes of the next images."""
    seen: Counter[tuple[int, ...]] = Counter({stack.shape[1:]: stack.n, array.shape[:2]: 1})
    for _, content in islice(rest, 200):
        try:
            seen[pixels(content, None).shape[:2]] += 1
        except UnreadableError:
            continue
    sizes = ", ".join(f"{w}×{h}" for (h, w), _ in seen.most_common(5))
    smallest = min(min(s) for s in seen)
    return DataError(
        f"the {split} images differ in size ({sizes}{', …' * (len(seen) > 5)}); choose a size, for "
        f"example --size {usual_side(smallest)}"
    )


def usual_side(side: int) -> int:
    """A usual side not above the images' own: 32, 64, 128 or 224."""
    return max((s for s in (32, 64, 128, 224) if s <= side), default=max(4, side))
