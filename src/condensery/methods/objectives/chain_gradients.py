"""First-order gradients of a chain of layers, written out.

A compiled function can be differentiated once. Matching gradients differentiates twice, so the
first derivative is spelled out here as ordinary operations, and one ordinary backward pass gives
the second. It also leaves out what matching does not need: gradients to the real pixels, and to
parameters that the distance ignores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from condensery.nets import fused

_CONV_BACKWARD = torch.ops.aten.convolution_backward


class _WeightGradient(torch.autograd.Function):
    """Gradient of a convolution to its weights, a bilinear map of input and slope.

    For a weight-shaped v, ⟨v, gradient(x, d)⟩ = ⟨conv(x, v), d⟩: so its own gradients are one
    ordinary convolution with v and one ordinary input gradient with v.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, weight: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(x, slope)
        ctx.how = how
        return _conv_backward(slope, x, weight, how, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, slope = ctx.saved_tensors
        (v,) = grads
        stride, padding, dilation, groups = ctx.how
        to_x = _conv_backward(slope, x, v, ctx.how, 0) if ctx.needs_input_grad[0] else None
        to_slope = None
        if ctx.needs_input_grad[1]:
            to_slope = conv2d(x, v, None, stride, padding, dilation, groups)
        return to_x, to_slope, None, None


class _InputGradient(torch.autograd.Function):
    """Gradient of a convolution to its input, linear in the slope; weights are constants here."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, x: Tensor, weight: Tensor, how: tuple[Any, ...]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.how = how
        return _conv_backward(slope, x, weight, how, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        return conv2d(grads[0], weight, None, stride, padding, dilation, groups), None, None, None


def _conv_backward(
    slope: Tensor, x: Tensor, weight: Tensor, how: tuple[Any, ...], which: int
) -> Tensor:
    stride, padding, dilation, groups = how
    mask = [which == 0, which == 1, False]
    none = [0] * len(stride)
    out = _CONV_BACKWARD(
        slope, x, weight, None, stride, padding, dilation, False, none, groups, mask
    )
    return cast(Tensor, out[which])


@dataclass(frozen=True)
class Need:
    """Which gradients are requested of a layer."""

    input: bool
    weight: bool
    bias: bool
    classes: int
    """Equal parts of the batch, each of which has parameter gradients of its own."""

    def sums(self, values: Tensor, over: tuple[int, ...]) -> Tensor:
        """Sums over the images of each class, and over some axes of an image, classes first."""
        parted = values.unflatten(0, (self.classes, -1))
        total: Tensor = parted.sum((1, *(axis + 2 for axis in over)))
        return total


Found = dict[str, Tensor]
#: From the slope at a layer's output to the slope at its input, and those of its parameters.
Pull = Callable[[Tensor, Need], tuple[Tensor | None, Found]]


def chain_gradients(
    layers: Sequence[tuple[str, nn.Module]],
    images: Tensor,
    labels: Tensor,
    share: Tensor,
    wanted: frozenset[str],
    classes: int = 1,
) -> Found:
    """Gradients of Σᵢ shareᵢ · cross-entropyᵢ over each class to the wanted parameters of a chain.

    All images pass together; only the parameters' gradients are taken class by class.

    Args:
        layers: modules in order, each with the prefix of its parameters; the last gives logits.
        images: N×C×H×W: one class after another, equally many of each.
        labels: N.
        share: N.
        wanted: full names of parameters.
        classes: k.

    Returns:
        Name → k gradients, differentiable with respect to ``images``.
    """
    x: Tensor = images
    layers = list(layers)
    pulls: list[Pull] = []
    while len(pulls) < len(layers):
        place = len(pulls)
        if _are_one(layers[place : place + 4], x):
            x, pull = _conv(layers[place][1], x, bias=False)
            pulls.append(pull)
            x, pull = _norm_relu_pool(layers[place + 1][1], x)
            layers[place + 2 : place + 4] = []
        else:
            x, pull = _through(layers[place][1], x)
        pulls.append(pull)
    # Differences of probabilities decide small gradients, so these are never narrow.
    logits = x.to(share.dtype)
    target = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    start = (torch.softmax(logits, 1) - target.to(share.dtype)) * share[:, None]
    slope: Tensor | None = start.to(x.dtype)
    out: Found = {}
    for place in range(len(layers) - 1, -1, -1):
        prefix = layers[place][0]
        below = tuple(f"{name}." for name, _ in layers[:place])
        need = Need(
            input=any(name.startswith(below) for name in wanted),
            weight=f"{prefix}.weight" in wanted,
            bias=f"{prefix}.bias" in wanted,
            classes=classes,
        )
        assert slope is not None
        slope, found = pulls[place](slope, need)
        out.update({f"{prefix}.{key}": value for key, value in found.items()})
        if not need.input:
            break
    return out


def _are_one(layers: Sequence[tuple[str, nn.Module]], x: Tensor) -> bool:
    """Whether the layers after a convolution are one kernel, whose gradient has none of its own."""
    if len(layers) < 4 or torch.is_grad_enabled() or not fused.possible(x):
        return False
    conv, norm, activation, pool = (layer for _, layer in layers)
    if not isinstance(conv, nn.Conv2d):
        return False
    return fused.fits(norm, activation, pool, x, fused.shape_after(conv, x))


def _norm_relu_pool(norm: Any, x: Tensor) -> tuple[Tensor, Pull]:
    inputs = (x, norm.weight, norm.bias, norm.eps)

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        affine = need.weight or need.bias
        back, gains, shifts = fused.backward(slope, *inputs, affine=affine)
        found = {"weight": gains, "bias": shifts} if affine else {}
        return back, {name: need.sums(each, ()) for name, each in found.items()}

    return fused.forward(*inputs), pull


def _through(layer: nn.Module, x: Tensor) -> tuple[Tensor, Pull]:
    """A layer's output, and how slopes come back through it."""
    for kind, rule in _RULES.items():
        if isinstance(layer, kind):
            return rule(layer, x)
    raise TypeError(f"no rule for {type(layer).__name__} in a chain")  # a chain of our own nets


def _conv(layer: Any, x: Tensor, bias: bool = True) -> tuple[Tensor, Pull]:
    how = (layer.stride, layer.padding, layer.dilation, layer.groups)
    weight = layer.weight

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        slope = _laid_out_as(slope, x)
        found: Found = {}
        if need.weight:
            parts = zip(x.chunk(need.classes), slope.chunk(need.classes), strict=True)
            each = [_WeightGradient.apply(a, b, weight, how) for a, b in parts]  # type: ignore[no-untyped-call]
            found["weight"] = torch.stack(each)
        if need.bias:
            found["bias"] = need.sums(slope, (1, 2))
        if not need.input:
            return None, found
        return _InputGradient.apply(slope, x, weight, how), found  # type: ignore[no-untyped-call]

    return layer(x) if bias else fused.without_bias(layer, x), pull


def _linear(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    weight = layer.weight

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        found: Found = {}
        if need.weight:
            per_class = (need.classes, -1)
            back = slope.unflatten(0, per_class).transpose(1, 2)
            found["weight"] = back @ x.unflatten(0, per_class)
        if need.bias:
            found["bias"] = need.sums(slope, ())
        return (slope @ weight if need.input else None), found

    return layer(x), pull


def _flatten(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    return x.flatten(1), lambda slope, need: (_laid_out_as(slope.view(x.shape), x), {})


def _identity(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    return x, lambda slope, need: (slope, {})


def _relu(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    return torch.relu(x), lambda slope, need: (slope * (x > 0), {})


def _leaky_relu(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    low = layer.negative_slope
    return layer(x), lambda slope, need: (torch.where(x > 0, slope, low * slope), {})


def _sigmoid(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    y = torch.sigmoid(x)
    return y, lambda slope, need: (slope * y * (1 - y), {})


def _average_pool(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    k = [layer.kernel_size] * 2

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        back = torch.ops.aten.avg_pool2d_backward(slope, x, k, k, [0, 0], False, True, None)
        return back, {}

    return layer(x), pull


def _max_pool(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    k = [layer.kernel_size] * 2
    y, places = max_pool2d(x, k, return_indices=True)

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        back = torch.ops.aten.max_pool2d_with_indices_backward(
            slope, x, k, k, [0, 0], [1, 1], False, places
        )
        return back, {}

    return y, pull


def _group_norm(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    """Instance, group or layer norm: what one example's groups of numbers are divided by."""
    n, c, h, w = x.shape
    wide = x if x.dtype == torch.float64 else x.float()
    groups = getattr(layer, "num_groups", 1)
    shape, over = (n, c, h, w), (2, 3) if groups == c else (1, 2, 3)
    if groups not in (1, c):
        shape, over = (n, groups, c // groups, h, w), (2, 3, 4)  # type: ignore[assignment]
    grouped = wide.reshape(shape)
    centred = grouped - grouped.mean(over, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(over, keepdim=True) + layer.eps)
    normal = centred * scale
    per_channel = layer.weight.dim() == 1
    gain = layer.weight.to(wide.dtype)
    shift = layer.bias.to(wide.dtype)
    if per_channel:
        gain, shift = gain[:, None, None], shift[:, None, None]

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        slope = slope.to(wide.dtype)
        found: Found = {}
        axes = (1, 2) if per_channel else ()
        if need.weight:
            found["weight"] = need.sums(slope * normal.reshape(x.shape), axes)
        if need.bias:
            found["bias"] = need.sums(slope, axes)
        s = (slope * gain).reshape(shape)
        along = normal * (s * normal).mean(over, keepdim=True)
        back = scale * (s - s.mean(over, keepdim=True) - along)
        return back.reshape(x.shape).to(x.dtype), found

    return (normal.reshape(x.shape) * gain + shift).to(x.dtype), pull


def _frozen_batch_norm(layer: Any, x: Tensor) -> tuple[Tensor, Pull]:
    """Batch norm with frozen statistics: one affine map per channel."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    scale = torch.rsqrt(layer.running_var.to(wide) + layer.eps)[:, None, None]
    normal = (x.to(wide) - layer.running_mean.to(wide)[:, None, None]) * scale
    gain, shift = layer.weight.to(wide)[:, None, None], layer.bias.to(wide)[:, None, None]

    def pull(slope: Tensor, need: Need) -> tuple[Tensor | None, Found]:
        slope = slope.to(wide)
        found: Found = {}
        if need.weight:
            found["weight"] = need.sums(slope * normal, (1, 2))
        if need.bias:
            found["bias"] = need.sums(slope, (1, 2))
        return (slope * gain * scale).to(x.dtype), found

    return (normal * gain + shift).to(x.dtype), pull


def _laid_out_as(slope: Tensor, x: Tensor) -> Tensor:
    """Convolutions are fast when all their operands are laid out alike."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return slope.contiguous(memory_format=torch.channels_last)
    return slope.contiguous()


_RULES: dict[type[nn.Module], Callable[[Any, Tensor], tuple[Tensor, Pull]]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.Identity: _identity,
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.Sigmoid: _sigmoid,
    nn.AvgPool2d: _average_pool,
    nn.MaxPool2d: _max_pool,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _group_norm,
    nn.BatchNorm2d: _frozen_batch_norm,
}
