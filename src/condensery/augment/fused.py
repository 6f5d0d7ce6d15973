"""Augmentation in one kernel, for GPUs: every image with an op and parameters of its own.

Op by op, a batch whose classes drew six different ops takes a hundred small calls, and the host is
busier than the GPU. All ops but noise are one of two maps here, whose parameters the host writes
into a table: an affine map of colours, or an affine map of places with a hole. So a batch is one
launch, and its gradient is another: each pixel gathers what it reached, in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condensery.runtime.devices import to_device
from condensery.runtime.kernels import kernels, may_fuse

from .draws import Draw
from .strategy import Strategy

#: Numbers of a row: kind, then what the kernels say.
COLUMNS = 12
#: Numbers of a channel that a program holds.
_LARGEST = 128 * 128
#: Ops that may zoom or turn an image no further than the kernels look.
_REACH = 2.0
_OPS = frozenset({"color", "crop", "cutout", "flip", "scale", "rotate"})
_BITS = 24
_KERNELS = "condensery.augment.fused_kernels"

Table = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def fits(images: Tensor, ops: Iterable[str], strategy: Strategy) -> bool:
    """Whether these ops are done in one kernel here."""
    return (
        images.is_cuda
        and may_fuse()
        and images.dtype in (torch.float32, torch.bfloat16)
        and images.shape[2] * images.shape[3] <= _LARGEST
        and _OPS.issuperset(ops)
        and 1 / _REACH <= strategy.scale <= _REACH
        and kernels(_KERNELS) is not None
    )


def table_of(draw: Draw, strategy: Strategy, height: int, width: int) -> Table:
    """The kernels' parameters of an op: a row for each row of the draw, on the host."""
    values = draw.values.numpy().astype(np.float64)
    out = np.zeros((len(values), COLUMNS), np.float32)
    out[:, 1] = out[:, 4] = 1.0
    if draw.op == "color":
        out[:, 0] = 1.0
        out[:, 1] = (values[:, 0] - 0.5) * strategy.brightness
        out[:, 2] = values[:, 1] * strategy.saturation
        out[:, 3] = 1 + (2 * values[:, 2] - 1) * strategy.contrast
    elif draw.op == "crop":
        for column, (place, size) in ((6, (0, height)), (5, (1, width))):
            far = _pixels(strategy.crop, size)
            out[:, column] = _whole(values[:, place], 2 * far + 1) - far
    elif draw.op == "cutout":
        for axis, size in ((0, height), (1, width)):
            side = _pixels(strategy.cutout, size)
            out[:, 7 + axis] = _whole(values[:, axis], size + 1 - side % 2) - side // 2
            out[:, 9 + axis] = side
    elif draw.op == "flip":
        out[:, 1] = np.where(values[:, 0] < 0.5, -1.0, 1.0)
    elif draw.op == "scale":
        least = 1 / strategy.scale
        out[:, [1, 4]] = least + values * (strategy.scale - least)
    else:  # rotate
        angle = (2 * values[:, 0] - 1) * math.radians(strategy.rotate)
        out[:, 1] = out[:, 4] = np.cos(angle)
        out[:, 2], out[:, 3] = -np.sin(angle), np.sin(angle)
    return out


def augment(images: Tensor, table: Table, rows: Sequence[int] | None = None) -> Tensor:
    """Augment each image by its row of a table, differentiable with respect to the images.

    Args:
        images: N×C×H×W, normalised.
        table: rows of :func:`table_of`.
        rows: images that each row of the table is for, one after another; one each when not given.
    """
    each = np.arange(len(images)) if rows is None else np.repeat(np.arange(len(rows)), rows)
    both = np.concatenate([table.reshape(-1).view(np.int32), each.astype(np.int32)])
    packed = to_device(torch.from_numpy(both), images.device)  # one copy
    numbers = packed[: table.size].view(torch.float32)
    out: Tensor = _Augmented.apply(images, numbers, packed[table.size :])  # type: ignore[no-untyped-call]
    return out


class _Augmented(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, table: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows)
        return run("forward_images", images, table, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return run("backward_images", grads[0], *ctx.saved_tensors), None, None


def run(kernel: str, images: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """Run one of the kernels on images, or on their slopes."""
    images = images.contiguous()
    n, c, h, w = images.shape
    out = torch.empty_like(images)
    block = 1 << (h * w - 1).bit_length()
    module = kernels(_KERNELS)
    assert module is not None
    launch = getattr(module, kernel)[(n,)]
    launch(images, table, rows, out, h, w, C=c, BLOCK=block, num_warps=4 if block <= 2048 else 8)
    return out


def _whole(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Whole numbers, uniform in 0 … count − 1, as the ops draw them."""
    whole: np.ndarray[Any, Any] = ((values * (1 << _BITS)).astype(np.int64) * count) >> _BITS
    return whole


def _pixels(share: float, size: int) -> int:
    return int(share * size + 0.5)
