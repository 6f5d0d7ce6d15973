"""The kernels of :mod:`condensery.augment.fused`; importing this needs Triton.

A row of the table: 0 the kind. Colours (1): 1 shift, 2 saturation, 3 contrast. Places (0): an
output pixel's place in the input is c + [[1, 2], [3, 4]] · (pixel − c) + (5, 6), x before y, with c
the middle; 7, 8 the first row and column of a hole, 9, 10 its sides.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def forward_images(x, table, rows, out, height, width, C: tl.constexpr, BLOCK: tl.constexpr):
    """Augmented images from images."""
    n = tl.program_id(0)
    t = table + tl.load(rows + n) * 12
    pixels = height * width
    at = tl.arange(0, BLOCK)
    inside = at < pixels
    first = n.to(tl.int64) * C * pixels
    kind = out.dtype.element_ty
    if tl.load(t) > 0.5:
        shift = tl.load(t + 1)
        saturation = tl.load(t + 2)
        contrast = tl.load(t + 3)
        grey = tl.zeros((BLOCK,), tl.float32)
        for c in range(C):
            grey += tl.load(x + first + c * pixels + at, mask=inside, other=0.0).to(tl.float32)
        grey = grey / C
        level = tl.sum(grey, 0) / pixels
        rest = contrast * (1 - saturation) * grey + (1 - contrast) * level + shift
        for c in range(C):
            value = tl.load(x + first + c * pixels + at, mask=inside, other=0.0).to(tl.float32)
            value = rest + value * (contrast * saturation)
            tl.store(out + first + c * pixels + at, value.to(kind), mask=inside)
    else:
        middle_x = (width - 1) * 0.5
        middle_y = (height - 1) * 0.5
        oy = at // width
        ox = at % width
        fx = ox.to(tl.float32) - middle_x
        fy = oy.to(tl.float32) - middle_y
        qx = tl.load(t + 1) * fx + tl.load(t + 2) * fy + middle_x + tl.load(t + 5)
        qy = tl.load(t + 3) * fx + tl.load(t + 4) * fy + middle_y + tl.load(t + 6)
        top = oy.to(tl.float32) - tl.load(t + 7)
        left = ox.to(tl.float32) - tl.load(t + 8)
        hole = (top >= 0) & (top < tl.load(t + 9)) & (left >= 0) & (left < tl.load(t + 10))
        keep = inside & (hole == 0)
        x0 = tl.floor(qx)
        y0 = tl.floor(qy)
        for c in range(C):
            total = tl.zeros((BLOCK,), tl.float32)
            for j in tl.static_range(4):
                px = x0 + (j % 2)
                py = y0 + (j // 2)
                weight = (1 - tl.abs(qx - px)) * (1 - tl.abs(qy - py))
                there = keep & (px >= 0) & (px < width) & (py >= 0) & (py < height)
                place = first + c * pixels + (py * width + px).to(tl.int32)
                total += weight * tl.load(x + place, mask=there, other=0.0).to(tl.float32)
            tl.store(out + first + c * pixels + at, total.to(kind), mask=inside)


@triton.jit
def backward_images(x, table, rows, out, height, width, C: tl.constexpr, BLOCK: tl.constexpr):
    """Slopes at images from slopes at augmented images."""
    n = tl.program_id(0)
    t = table + tl.load(rows + n) * 12
    pixels = height * width
    at = tl.arange(0, BLOCK)
    inside = at < pixels
    first = n.to(tl.int64) * C * pixels
    kind = out.dtype.element_ty
    if tl.load(t) > 0.5:
        saturation = tl.load(t + 2)
        contrast = tl.load(t + 3)
        total = tl.zeros((BLOCK,), tl.float32)
        for c in range(C):
            total += tl.load(x + first + c * pixels + at, mask=inside, other=0.0).to(tl.float32)
        grey = total / C
        level = tl.sum(grey, 0) / pixels
        rest = contrast * (1 - saturation) * grey + (1 - contrast) * level
        for c in range(C):
            value = tl.load(x + first + c * pixels + at, mask=inside, other=0.0).to(tl.float32)
            value = rest + value * (contrast * saturation)
            tl.store(out + first + c * pixels + at, value.to(kind), mask=inside)
    else:
        middle_x = (width - 1) * 0.5
        middle_y = (height - 1) * 0.5
        xx = tl.load(t + 1)
        xy = tl.load(t + 2)
        yx = tl.load(t + 3)
        yy = tl.load(t + 4)
        to_x = middle_x + tl.load(t + 5)
        to_y = middle_y + tl.load(t + 6)
        hole_y = tl.load(t + 7)
        hole_x = tl.load(t + 8)
        high = tl.load(t + 9)
        wide = tl.load(t + 10)
        iy = (at // width).to(tl.float32)
        ix = (at % width).to(tl.float32)
        scale = 1 / (xx * yy - xy * yx)
        from_x = scale * (yy * (ix - to_x) - xy * (iy - to_y)) + middle_x
        from_y = scale * (xx * (iy - to_y) - yx * (ix - to_x)) + middle_y
        x0 = tl.floor(from_x)
        y0 = tl.floor(from_y)
        for c in range(C):
            total = tl.zeros((BLOCK,), tl.float32)
            for j in tl.static_range(16):
                ox = x0 + (j % 4 - 1)
                oy = y0 + (j // 4 - 1)
                qx = xx * (ox - middle_x) + xy * (oy - middle_y) + to_x
                qy = yx * (ox - middle_x) + yy * (oy - middle_y) + to_y
                weight = tl.maximum(1 - tl.abs(qx - ix), 0.0)
                weight = weight * tl.maximum(1 - tl.abs(qy - iy), 0.0)
                hole = (oy >= hole_y) & (oy < hole_y + high)
                hole = hole & (ox >= hole_x) & (ox < hole_x + wide)
                there = inside & (ox >= 0) & (ox < width) & (oy >= 0) & (oy < height)
                there = there & (hole == 0)
                place = first + c * pixels + (oy * width + ox).to(tl.int32)
                total += weight * tl.load(x + place, mask=there, other=0.0).to(tl.float32)
            tl.store(out + first + c * pixels + at, total.to(kind), mask=inside)
