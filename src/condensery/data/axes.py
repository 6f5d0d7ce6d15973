"""Which axis of an array of images holds the channels."""

from __future__ import annotations

from typing import Literal, TypeAlias

from condensery.errors import DataError, UsageError

Layout: TypeAlias = Literal["NCHW", "NHWC"]
"""Order of the axes: images, channels, height, width."""

_FEW = 4  # channels of pictures; with more, both readings are weighed


def checked(layout: Layout | None) -> Layout | None:
    """The layout again, if it is one.

    Raises:
        UsageError: for another word.
    """
    if layout not in (None, "NCHW", "NHWC"):
        raise UsageError(f"layout must be NCHW or NHWC, got {layout}")
    return layout


def layout_of(shape: tuple[int, ...], which: str, layout: Layout | None = None) -> Layout:
    """The order of the axes of images with four.

    Args:
        shape: of all images.
        which: their split, for messages.
        layout: what the user says; otherwise the reading with few channels or square images.

    Raises:
        DataError: when both readings are as likely.
        UsageError: for another word.

    >>> layout_of((9, 32, 32, 13), "training"), layout_of((9, 3, 8, 6), "training")
    ('NHWC', 'NCHW')
    """
    if (said := checked(layout)) is not None:
        return said
    _, first, middle, last = shape
    # Square images under one reading only: their sides say which.
    if (middle == last) != (first == middle):
        return "NCHW" if middle == last else "NHWC"
    if first <= _FEW and last <= _FEW:
        raise DataError(
            f"the {which} images have shape {shape}: the {first} or the {last} may be channels; "
            "say --layout NCHW or NHWC (layout= of load), or save it as layout in the .npz file"
        )
    return "NCHW" if first <= last else "NHWC"
