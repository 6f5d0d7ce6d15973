"""Instance norm, ReLU and average pooling in one kernel, for GPUs.

These three read and write a map about ten times when they are done one by one, and twenty times
on the way back; maps of a ConvNet's first block are what a GPU spends most of its time on. Here a
program of the GPU takes whole planes (one channel of one image): it reads them once and writes
what is pooled; on the way back it reads them once more and writes their slopes. Sums are taken in
a fixed order, so that results are the same every time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, group_norm, relu

from condensery.runtime.kernels import kernels, may_fuse

#: Numbers of a plane that a program holds.
_LARGEST = 4096
#: Numbers that a program takes, as many planes as that is.
_NUMBERS = 1024

_KERNELS = "condensery.nets.fused_kernels"


def possible(x: Tensor) -> bool:
    """Whether kernels of our own may be used on a map's device now."""
    return x.is_cuda and not torch.compiler.is_compiling() and may_fuse()


def fits(
    norm: nn.Module,
    activation: nn.Module,
    pool: nn.Module,
    x: Tensor,
    shape: tuple[int, int, int] | None = None,
) -> bool:
    """Whether three layers on a map can be one kernel here.

    Args:
        norm: the first layer.
        activation: the second.
        pool: the third.
        x: the map, or what it will be made of.
        shape: C, H, W of the map, where it does not exist yet.
    """
    if not possible(x):
        return False
    channels, height, width = x.shape[1:] if shape is None else shape
    return (
        isinstance(norm, nn.GroupNorm)
        and norm.num_groups == norm.num_channels == channels
        and norm.affine
        and isinstance(activation, nn.ReLU)
        and isinstance(pool, nn.AvgPool2d)
        and pool.kernel_size == 2
        and height % 2 == width % 2 == 0
        and height * width <= _LARGEST
        and x.dtype in (torch.float32, torch.bfloat16)
        and kernels(_KERNELS) is not None
    )


def without_bias(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution before an instance norm, which cancels the bias.

    Adding it reads and writes the largest maps of a network once more.
    """
    return conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def shape_after(conv: nn.Conv2d, x: Tensor) -> tuple[int, int, int]:
    """C, H, W of what a convolution with zero padding makes of a map."""
    sides = []
    for axis in range(2):
        padding = int(conv.padding[axis])  # an int for networks of this package
        reached = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
        sides.append((x.shape[2 + axis] + 2 * padding - reached) // conv.stride[axis] + 1)
    return conv.out_channels, sides[0], sides[1]


def norm_relu_pool(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """avg_pool2d(relu(norm(x)), 2), differentiable any number of times.

    Args:
        norm: an instance norm that :func:`fits`.
        x: N×C×H×W.
    """
    out: Tensor = _Block.apply(x, norm.weight, norm.bias, norm.eps)  # type: ignore[no-untyped-call]
    return out


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, gain, shift)
        ctx.eps = eps
        return forward(x, gain, shift, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # to be differentiated again
            return *_differentiable(grads[0], (x, gain, shift), needed, ctx.eps), None
        affine = needed[1] or needed[2]
        slope, gains, shifts = backward(grads[0], x, gain, shift, ctx.eps, affine=affine)
        if not affine:
            return slope, None, None, None
        return slope, gains.sum(0).to(gain.dtype), shifts.sum(0).to(shift.dtype), None


def _differentiable(
    slope: Tensor, inputs: tuple[Tensor, ...], needed: tuple[bool, ...], eps: float
) -> list[Tensor | None]:
    """The backward pass by torch's own layers, with a graph."""
    x, gain, shift = inputs
    wanted = [one for one, need in zip(inputs, needed, strict=True) if need]
    found = torch.autograd.grad(reference(x, gain, shift, eps), wanted, slope, create_graph=True)
    each = iter(found)
    return [next(each) if need else None for need in needed]


def reference(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The same by torch's own layers."""
    return avg_pool2d(relu(group_norm(x, x.shape[1], gain, shift, eps)), 2)


def forward(x: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    """The pooled map, N×C×H/2×W/2, without a graph."""
    x = x.contiguous()
    n, c, h, w = x.shape
    out = x.new_empty(n, c, h // 2, w // 2)
    module = kernels(_KERNELS)
    assert module is not None
    grid, sizes = _sizes(x)
    module.forward_planes[grid](x, gain, shift, out, n * c, c, w, h * w, eps, **sizes)
    return out


def backward(
    slope: Tensor, x: Tensor, gain: Tensor, shift: Tensor, eps: float, *, affine: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The slope at x, and where asked those of gain and shift for each image, N×C float32."""
    x, slope = x.contiguous(), slope.contiguous()
    n, c, h, w = x.shape
    out = torch.empty_like(x)
    sums = x.new_empty((2, n, c) if affine else (2, 1, 1), dtype=torch.float32)
    module = kernels(_KERNELS)
    assert module is not None
    grid, sizes = _sizes(x)
    module.backward_planes[grid](
        x, slope, gain, shift, out, sums[0], sums[1], n * c, c, w, h * w, eps, affine, **sizes
    )
    return out, sums[0], sums[1]


def _sizes(x: Tensor) -> tuple[tuple[int], dict[str, int]]:
    n, c, h, w = x.shape
    pooled = 1 << (h * w // 4 - 1).bit_length()
    planes = max(1, _NUMBERS // (4 * pooled))
    return (-(-n * c // planes),), {"PLANES": planes, "POOLED": pooled}
