"""The ops: pure functions of a batch and a draw's values, on normalised pixels, filled with 0.

Nothing here reads a value back from a GPU. On a CPU, values are host numbers, so a draw that the
whole batch shares is slices there (crop, flip), and its grid serves all channels of all images
(scale, rotate), which takes one core half to nine tenths of the time of a grid an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from condensery.errors import UsageError

from .draws import Draw
from .resample import AffineSample, affine_grid, reach_of
from .strategy import Strategy

#: Uniform values are multiples of 2⁻²⁴, so whole numbers are drawn from them without rounding.
_BITS = 24
_LEVELS = 1 << _BITS
#: Parts of a batch that a CPU resamples with one grid: enough to keep its threads busy.
_PARTS = 16
_MASK = 2**32 - 1
#: How far a turned pixel reaches, whatever the angle.
_TURNED = reach_of(math.sqrt(2))

Op = Callable[[Tensor, Tensor, Strategy], Tensor]


def apply(images: Tensor, draw: Draw, strategy: Strategy) -> Tensor:
    """Augment a batch with a draw.

    Args:
        images: N×C×H×W, float, normalised; never changed in place.
        draw: values of one op, one row for the whole batch or a row per image.
        strategy: the magnitudes; its ``ops`` do not matter here.

    Returns:
        N×C×H×W of the same type and memory format, differentiable with respect to ``images``, and
        ``images`` themselves where nothing changes. Types narrower than float32 are computed in
        float32 and rounded once.
    """
    if images.dim() != 4 or not images.is_floating_point():
        shape = "×".join(map(str, images.shape))
        raise UsageError(f"augmentation takes N×C×H×W float images, got {shape} {images.dtype}")
    if len(draw.values) not in (1, len(images)):
        rows = len(draw.values)
        raise UsageError(
            f"a draw of {rows} rows does not fit {len(images)} images; draw 1 or one each"
        )
    if images.numel() == 0:
        return images
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    narrow = images.dtype not in (torch.float32, torch.float64) and draw.op not in _EXACT
    work = images.float() if narrow else images
    out = _OPS[draw.op](work, draw.to(images.device).values, strategy).to(images.dtype)
    return out.contiguous(memory_format=torch.channels_last) if last else out


def _color(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """Brightness, saturation about the channels' mean, contrast about the image's mean.

    Saturation keeps the image's mean, so the three are one affine map: with factors s and c,
    shift b, channel mean m and image mean M, it is c·s·x + c(1−s)·m + (1−c)·M + b.
    """
    u = values.to(x.dtype)[:, :, None, None, None]
    shift = (u[:, 0] - 0.5) * strategy.brightness
    saturation = u[:, 1] * strategy.saturation
    contrast = 1 + (2 * u[:, 2] - 1) * strategy.contrast
    grey = x.mean(1, keepdim=True)
    level = grey.mean((2, 3), keepdim=True)
    rest = contrast * (1 - saturation) * grey + ((1 - contrast) * level + shift)
    return torch.addcmul(rest, x, contrast * saturation)


def _crop(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """out[y, x] = in[y + dy, x + dx], with whole dy and dx; 0 from beyond the border."""
    n, c, h, w = x.shape
    far_y, far_x = _pixels(strategy.crop, h), _pixels(strategy.crop, w)
    dy = _whole(values[:, 0], 2 * far_y + 1) - far_y
    dx = _whole(values[:, 1], 2 * far_x + 1) - far_x
    if _on_host(values):
        up, left = int(dy), int(dx)
        return pad(x, (-left, left, -up, up))
    rows = torch.arange(h, device=x.device)[None, :, None] + dy[:, None, None]
    columns = torch.arange(w, device=x.device)[None, None, :] + dx[:, None, None]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    source = (rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)).reshape(-1, 1, h * w)
    moved = x.reshape(n, c, h * w).gather(2, source.expand(n, c, h * w)).view(n, c, h, w)
    return moved * inside[:, None].to(x.dtype)


def _cutout(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """A square of zeros whose centre lies anywhere, clipped at the border.

    The centre of an even side is a border between pixels, of which there is one more.
    """
    outside = None
    for axis, size in ((0, x.shape[2]), (1, x.shape[3])):
        side = _pixels(strategy.cutout, size)
        first = _whole(values[:, axis], size + 1 - side % 2) - side // 2
        offset = torch.arange(size, device=x.device)[None] - first[:, None]
        kept = (offset < 0) | (offset >= side)
        kept = kept[:, :, None] if axis == 0 else kept[:, None, :]
        outside = kept if outside is None else outside | kept
    assert outside is not None
    # A product, because it is several times faster than masked_fill on a CPU.
    return x * outside[:, None].to(x.dtype)


def _flip(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """Left and right change places for u < ½."""
    if _on_host(values):
        return x.flip(3) if float(values[0, 0]) < 0.5 else x
    return torch.where(values[:, :, None, None] < 0.5, x.flip(3), x)


def _scale(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """Zoom by 1/sx and 1/sy, each of s ~ U(1/scale, scale), about the centre."""
    least = 1 / strategy.scale
    s = least + values.to(x.dtype) * (strategy.scale - least)
    zero = torch.zeros_like(s[:, 0])
    matrix = torch.stack([s[:, 0], zero, zero, s[:, 1]], 1)
    return _resample(x, matrix, reach_of(strategy.scale))


def _rotate(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """A rotation about the centre, in pixels, so that it is one on oblong images too."""
    angle = (2 * values[:, 0].to(x.dtype) - 1) * math.radians(strategy.rotate)
    cos, sin = torch.cos(angle), torch.sin(angle)
    aspect = max(x.shape[2] - 1, 1) / max(x.shape[3] - 1, 1)
    return _resample(x, torch.stack([cos, -sin * aspect, sin / aspect, cos], 1), _TURNED)


def _resample(x: Tensor, matrix: Tensor, reach: int) -> Tensor:
    """Bilinear samples at (xx·X + xy·Y, yx·X + yy·Y) for X, Y in −1 … 1, corners aligned."""
    n, c, h, w = x.shape
    if x.is_cuda and torch.is_grad_enabled() and x.requires_grad and min(h, w) > 1:
        sampled: Tensor = AffineSample.apply(x, matrix, reach)  # type: ignore[no-untyped-call]
        return sampled
    grid = affine_grid(matrix, h, w)
    parts = n
    if len(grid) == 1 and x.device.type == "cpu":
        parts = next(p for p in range(_PARTS, 0, -1) if n * c % p == 0)
    x = x.reshape(parts, -1, h, w)
    out = grid_sample(x, grid.expand(parts, -1, -1, -1), "bilinear", "zeros", align_corners=True)
    return out.view(n, c, h, w)


def _noise(x: Tensor, values: Tensor, strategy: Strategy) -> Tensor:
    """Normal noise that depends on the value and the pixel alone, with no generator to carry.

    Two hashes of (value, pixel) are the two uniform numbers of a Box–Muller transform.
    """
    pixels = math.prod(x.shape[1:])
    counter = torch.arange(2 * pixels, device=x.device).view(2, 1, pixels)
    bits = _hash(_hash(counter) ^ _hash(_seed(values) + 1))
    first, second = (bits.to(x.dtype) + 0.5) / 2**32
    normal = torch.sqrt(-2 * torch.log(first.clamp(max=1))) * torch.cos(2 * math.pi * second)
    return x + strategy.noise * normal.view(-1, *x.shape[1:])


def _hash(v: Tensor) -> Tensor:
    """A bijection of the 32-bit integers that scatters them, in int64 without overflow."""
    for _ in range(2):
        v = (v.bitwise_xor(v >> 16) * 0x45D9F3B) & _MASK
    return v.bitwise_xor(v >> 16)


def _seed(values: Tensor) -> Tensor:
    return (values * _LEVELS).long()


def _whole(values: Tensor, count: int) -> Tensor:
    """Whole numbers, uniform in 0 … count − 1."""
    return (_seed(values) * count).bitwise_right_shift(_BITS)


def _pixels(share: float, size: int) -> int:
    return int(share * size + 0.5)


def _on_host(values: Tensor) -> bool:
    """Whether the batch shares values that can be read for nothing."""
    return len(values) == 1 and values.device.type == "cpu"


_OPS: dict[str, Op] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
    "noise": _noise,
}
#: Ops that move pixels or drop them, and so are exact in every type.
_EXACT = frozenset({"crop", "cutout", "flip"})
