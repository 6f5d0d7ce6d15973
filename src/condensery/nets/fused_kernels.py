"""The kernels of :mod:`condensery.nets.fused`; importing this needs Triton.

A tile holds the pooled numbers of some planes, PLANES×POOLED, four times: once for each of the
four numbers that a pooled one is the mean of.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _places(planes, width, pixels, PLANES: tl.constexpr, POOLED: tl.constexpr):
    plane = tl.program_id(0) * PLANES + tl.arange(0, PLANES)
    pooled = tl.arange(0, POOLED)
    half = width // 2
    corner = (pooled // half) * 2 * width + (pooled % half) * 2
    inside = (plane < planes)[:, None] & (pooled < pixels // 4)[None, :]
    start = plane.to(tl.int64)[:, None]
    return plane, start * pixels + corner[None, :], start * (pixels // 4) + pooled[None, :], inside


@triton.jit
def _normal(x, first, width, pixels, inside, eps):
    a = tl.load(x + first, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + first + 1, mask=inside, other=0.0).to(tl.float32)
    c = tl.load(x + first + width, mask=inside, other=0.0).to(tl.float32)
    d = tl.load(x + first + width + 1, mask=inside, other=0.0).to(tl.float32)
    mean = (tl.sum(a + b + c + d, 1) / pixels)[:, None]
    a = tl.where(inside, a - mean, 0.0)
    b = tl.where(inside, b - mean, 0.0)
    c = tl.where(inside, c - mean, 0.0)
    d = tl.where(inside, d - mean, 0.0)
    variance = tl.sum(a * a + b * b + c * c + d * d, 1) / pixels
    scale = (1 / tl.sqrt(variance + eps))[:, None]
    return a * scale, b * scale, c * scale, d * scale, scale


@triton.jit
def forward_planes(
    x,
    gain,
    shift,
    out,
    planes,
    channels,
    width,
    pixels,
    eps,
    PLANES: tl.constexpr,
    POOLED: tl.constexpr,
):
    """Pooled maps from maps."""
    plane, first, target, inside = _places(planes, width, pixels, PLANES, POOLED)
    a, b, c, d, _ = _normal(x, first, width, pixels, inside, eps)
    there = plane < planes
    g = tl.load(gain + plane % channels, mask=there, other=0.0).to(tl.float32)[:, None]
    s = tl.load(shift + plane % channels, mask=there, other=0.0).to(tl.float32)[:, None]
    total = tl.maximum(a * g + s, 0.0) + tl.maximum(b * g + s, 0.0)
    total += tl.maximum(c * g + s, 0.0) + tl.maximum(d * g + s, 0.0)
    tl.store(out + target, (total * 0.25).to(out.dtype.element_ty), mask=inside)


@triton.jit
def backward_planes(
    x,
    slope,
    gain,
    shift,
    out,
    gains,
    shifts,
    planes,
    channels,
    width,
    pixels,
    eps,
    AFFINE: tl.constexpr,
    PLANES: tl.constexpr,
    POOLED: tl.constexpr,
):
    """Slopes at maps from slopes at pooled maps; and those of gain and shift, image by image."""
    plane, first, source, inside = _places(planes, width, pixels, PLANES, POOLED)
    a, b, c, d, scale = _normal(x, first, width, pixels, inside, eps)
    there = plane < planes
    g = tl.load(gain + plane % channels, mask=there, other=0.0).to(tl.float32)[:, None]
    s = tl.load(shift + plane % channels, mask=there, other=0.0).to(tl.float32)[:, None]
    back = tl.load(slope + source, mask=inside, other=0.0).to(tl.float32) * 0.25
    at_a = tl.where(a * g + s > 0, back, 0.0)
    at_b = tl.where(b * g + s > 0, back, 0.0)
    at_c = tl.where(c * g + s > 0, back, 0.0)
    at_d = tl.where(d * g + s > 0, back, 0.0)
    whole = tl.sum(at_a + at_b + at_c + at_d, 1)
    along = tl.sum(at_a * a + at_b * b + at_c * c + at_d * d, 1)
    if AFFINE:
        tl.store(gains + plane, along, mask=there)
        tl.store(shifts + plane, whole, mask=there)
    level = (whole / pixels)[:, None]
    tilt = (along / pixels)[:, None]
    factor = scale * g
    kind = out.dtype.element_ty
    tl.store(out + first, (factor * (at_a - level - a * tilt)).to(kind), mask=inside)
    tl.store(out + first + 1, (factor * (at_b - level - b * tilt)).to(kind), mask=inside)
    tl.store(out + first + width, (factor * (at_c - level - c * tilt)).to(kind), mask=inside)
    tl.store(out + first + width + 1, (factor * (at_d - level - d * tilt)).to(kind), mask=inside)
