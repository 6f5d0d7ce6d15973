"""Affine resampling whose gradient is the same every time, on GPUs too.

The sampler's own backward pass on a GPU adds up in whatever order its threads come. Here each
input pixel gathers the slopes of the output pixels that it reached: a sum in a fixed order.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

#: Numbers that the gathered slopes of one call may be.
_GATHERED = 1 << 27


def affine_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    """G×H×W×2 positions (xx·X + xy·Y, yx·X + yy·Y) for X, Y in −1 … 1, corners aligned.

    The grid is written out, because a matrix product may be rounded to TF32 on a GPU.

    Args:
        matrix: G×4: xx, xy, yx, yy.
        height: of the images.
        width: of the images.
    """
    across = torch.linspace(-1, 1, width, dtype=matrix.dtype, device=matrix.device)[None, None, :]
    down = torch.linspace(-1, 1, height, dtype=matrix.dtype, device=matrix.device)[None, :, None]
    xx, xy, yx, yy = (m[:, None, None] for m in matrix.unbind(1))
    return torch.stack([xx * across + xy * down, yx * across + yy * down], -1)


class AffineSample(torch.autograd.Function):
    """Bilinear samples, 0 from beyond the border, with a gradient that is gathered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, reach: int) -> Tensor:
        """Samples of N×C×H×W images.

        Args:
            ctx: of autograd.
            x: images, both sides at least 2.
            matrix: G×4 as for :func:`affine_grid`, G = 1 or N.
            reach: output pixels are gathered from so far on either side: at least the largest row
                sum of the inverse map's absolute values, in pixels.
        """
        ctx.save_for_backward(matrix)
        ctx.reach = reach
        grid = affine_grid(matrix, *x.shape[2:]).expand(len(x), -1, -1, -1)
        return grid_sample(x, grid, "bilinear", "zeros", align_corners=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The slope at the images."""
        (matrix,) = ctx.saved_tensors
        return gathered(grads[0], matrix, ctx.reach), None, None


def gathered(slope: Tensor, matrix: Tensor, reach: int) -> Tensor:
    """The adjoint of bilinear sampling: for each input pixel the weighted slopes that it reached.

    Args:
        slope: N×C×H×W.
        matrix: G×4 as for :func:`affine_grid`.
        reach: as for :class:`AffineSample`.
    """
    n, c, h, w = slope.shape
    index, weight = _taps(matrix, h, w, reach)
    taps = index.shape[1]
    some = max(1, _GATHERED // (c * taps * h * w))
    out = []
    for first in range(0, n, some):
        part = slope[first : first + some].reshape(-1, c, 1, h * w)
        rows = slice(first, first + some) if len(index) > 1 else slice(None)
        shape = (len(part), c, taps, h * w)
        found = part.expand(shape).gather(3, index[rows, None].expand(shape))
        out.append((found * weight[rows, None].to(slope.dtype)).sum(2))
    return torch.cat(out).view(n, c, h, w)


def _taps(matrix: Tensor, h: int, w: int, reach: int) -> tuple[Tensor, Tensor]:
    """Output pixels that may have reached each input pixel, G×T×HW, and by how much."""
    xx, xy, yx, yy = (m[:, None, None] for m in matrix.unbind(1))
    middle_x, middle_y = (w - 1) / 2, (h - 1) / 2
    # From −1 … 1 to pixels: a turn stays a turn on oblong images.
    xy, yx = xy * (middle_x / middle_y), yx * (middle_y / middle_x)
    at = torch.arange(h * w, device=matrix.device)
    x = (at % w).to(matrix.dtype)[None, None] - middle_x
    y = (at // w).to(matrix.dtype)[None, None] - middle_y
    scale = 1 / (xx * yy - xy * yx)
    from_x, from_y = scale * (yy * x - xy * y) + middle_x, scale * (xx * y - yx * x) + middle_y
    steps = torch.arange(1 - reach, reach + 1, device=matrix.device, dtype=matrix.dtype)
    out_x = from_x.floor() + steps.repeat(2 * reach)[None, :, None]
    out_y = from_y.floor() + steps.repeat_interleave(2 * reach)[None, :, None]
    to_x = xx * (out_x - middle_x) + xy * (out_y - middle_y)
    to_y = yx * (out_x - middle_x) + yy * (out_y - middle_y)
    weight = (1 - (to_x - x).abs()).clamp(min=0) * (1 - (to_y - y).abs()).clamp(min=0)
    inside = (out_x >= 0) & (out_x < w) & (out_y >= 0) & (out_y < h)
    index = out_y.clamp(0, h - 1) * w + out_x.clamp(0, w - 1)
    return index.long(), weight * inside.to(weight.dtype)


def reach_of(scale: float) -> int:
    """How far output pixels lie that one input pixel reaches, where an image grows so much at most.

    >>> reach_of(1.2), reach_of(math.sqrt(2)), reach_of(1.0)
    (2, 2, 1)
    """
    return max(1, math.ceil(scale))
