"""The normalisation layers that the papers compare (DC, table T5; DM, section 3.6)."""

from __future__ import annotations

from torch import nn

from condensery.errors import UsageError, unknown_name

from .sizes import Size

NORMS = ("none", "batch", "layer", "instance", "group")
GROUPS = 4


def make_norm(kind: str, channels: int, size: Size) -> nn.Module:
    """A normalisation of N×C×H×W maps, with learned scale and shift.

    Args:
        kind: ``none``; ``batch`` (over a batch's examples, which it mixes); ``layer`` (over C, H
            and W of an example, with a scale per element); ``instance`` (over H and W, as a
            GroupNorm of one channel a group); ``group`` (4 groups of channels).
        channels: C.
        size: H and W.

    Raises:
        UsageError: for another kind, channels that 4 groups do not divide, or instance norm of
            maps of one pixel, which would make them all zero.
    """
    if kind == "none":
        return nn.Identity()
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "layer":
        return nn.LayerNorm((channels, *size))
    if kind == "instance":
        if size[0] * size[1] < 2:
            raise UsageError(
                "norm=instance has nothing left to normalise because the images shrink to 1×1 "
                "maps; enlarge them (--size) or use another norm such as norm=batch"
            )
        return nn.GroupNorm(channels, channels)
    if kind == "group":
        if channels % GROUPS:
            raise UsageError(
                f"norm=group makes {GROUPS} groups of channels, which do not divide {channels}; "
                f"use a width that is a multiple of {GROUPS}"
            )
        return nn.GroupNorm(GROUPS, channels)
    raise unknown_name("norm", kind, NORMS)


def make_conv(
    norm: str, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A padded convolution of a network with this norm.

    Args:
        norm: a kind of :func:`make_norm`; it shifts anyway, so that only ``none`` needs a bias.
        channels: of its input.
        width: filters.
        kernel: side of a filter, odd.
        stride: of the filters.
        groups: parts of the channels that see nothing of each other.
    """
    return nn.Conv2d(
        channels,
        width,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=norm == "none",
    )
