"""Arithmetic of image and map sizes, and the words for an image that is too small."""

from __future__ import annotations

from condensery.errors import UsageError

Shape = tuple[int, int, int]
"""Channels, height, width of one image."""
Size = tuple[int, int]
"""Height, width of a map."""


def first_padding(shape: Shape) -> tuple[int, Size]:
    """Padding of a first 3×3 convolution, and the size of the map it makes.

    Grey images of 28×28 (MNIST and its kin) are padded by 3, so that they become 32×32, which can
    be halved five times; all others by 1, which keeps their size.
    """
    _, height, width = shape
    return (3, (32, 32)) if shape == (1, 28, 28) else (1, (height, width))


def halve(size: Size, times: int = 1) -> Size:
    """The size after this many poolings of 2×2."""
    return size[0] >> times, size[1] >> times


def halve_up(size: Size) -> Size:
    """The size after a padded 3×3 window of stride 2."""
    return -(-size[0] // 2), -(-size[1] // 2)


def halvings(size: Size) -> int:
    """How often a map can be halved before a side vanishes.

    >>> halvings((32, 32)), halvings((8, 20)), halvings((1, 1))
    (5, 3, 0)
    """
    return min(size).bit_length() - 1


def too_small(name: str, shape: Shape, least: int) -> UsageError:
    """The error for images that a network cannot take."""
    _, height, width = shape
    most = halvings((height, width))
    shallow = f"convnet{most}" if most else "mlp"
    return UsageError(
        f"{name} needs images of at least {least}×{least}, these are {height}×{width}; "
        f"enlarge them (--size {least}) or use a shallower network such as {shallow}"
    )
