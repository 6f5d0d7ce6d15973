"""Augmentation of the batches that networks train on: each image has its own parameters.

What is drawn, and applying it, are two things: the draws of several networks' batches, each from
its own generator, are applied in as few calls as those of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from condensery.errors import UsageError

from . import fused
from .draws import Draw, sample, sample_one, to_device
from .ops import apply
from .strategy import Strategy, parse_strategy

_IDC_ONE_OF = ("crop", "scale", "rotate")

_Rows = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Share:
    """Some images of a batch, and the op that they get in a round."""

    draw: Draw
    """A row per image."""
    rows: _Rows
    """Which images."""


#: Every image of a batch once, with its op.
Round = tuple[Share, ...]


def _everyone(draw: Draw) -> Round:
    return (Share(draw, np.arange(len(draw.values))),)


def draw_batch(rng: np.random.Generator, strategy: Strategy, n: int) -> list[Round]:
    """One op for the mini-batch, drawn uniformly, with its own parameters for each image (DSA)."""
    return [_everyone(sample_one(rng, strategy, n))]


def draw_each(rng: np.random.Generator, strategy: Strategy, n: int) -> list[Round]:
    """An op of its own for each image, drawn uniformly (the evaluation augmentation of DC)."""
    if not strategy.ops:
        raise UsageError("the augmentation strategy is empty: name an op, or augment with none")
    # Which image gets which op is decided on the host, so that a GPU is never asked.
    chosen = rng.integers(len(strategy.ops), size=n)
    members = [np.flatnonzero(chosen == number) for number in range(len(strategy.ops))]
    pairs = [(op, rows) for op, rows in zip(strategy.ops, members, strict=True) if len(rows)]
    return [tuple(Share(sample(rng, op, len(rows)), rows) for op, rows in pairs)]


def draw_sequence(rng: np.random.Generator, strategy: Strategy, n: int) -> list[Round]:
    """Every op of a strategy in order, with its own parameters for each image (IDC, C.1)."""
    return [_everyone(sample(rng, op, n)) for op in strategy.ops]


def draw_idc(rng: np.random.Generator, flip: bool, n: int, *, cutout: bool = False) -> list[Round]:
    """Flip, colour, then one of crop, scale and rotate (IDC's evaluation, small images).

    The one op is drawn for the mini-batch, all parameters for each image. ``cutout`` comes last.
    """
    one = _IDC_ONE_OF[int(rng.integers(len(_IDC_ONE_OF)))]
    ops = ("flip", "color", one) if flip else ("color", one)
    ops = (*ops, "cutout") if cutout else ops
    return [_everyone(sample(rng, op, n)) for op in ops]


def perform(
    images: Tensor,
    drawn: Sequence[list[Round]],
    strategy: Strategy,
    sizes: Sequence[int] | None = None,
) -> Tensor:
    """Apply what was drawn for one batch, or for several.

    Args:
        images: N×C×H×W, normalised: the batches one after another.
        drawn: for each batch its rounds; the same number of rounds for all of them.
        strategy: the magnitudes.
        sizes: of the batches; equal ones when not given.
    """
    each = [len(images) // max(1, len(drawn))] * len(drawn) if sizes is None else sizes
    starts = np.cumsum([0, *each]).tolist()
    for shares in zip(*drawn, strict=True):
        ops = {part.draw.op for parts in shares for part in parts}
        if ops and fused.fits(images, ops, strategy):
            images = fused.augment(images, _table(shares, starts, images, strategy))
            continue
        by_op: dict[str, list[tuple[_Rows, Tensor]]] = {}
        for start, parts in zip(starts, shares, strict=False):
            for part in parts:
                place = (part.rows + start, part.draw.values)
                by_op.setdefault(part.draw.op, []).append(place)
        images = _perform_round(images, by_op, strategy)
    return images


def _table(
    shares: Sequence[Round], starts: Sequence[int], images: Tensor, strategy: Strategy
) -> fused.Table:
    """What the kernel does to each image in a round."""
    table = np.zeros((len(images), fused.COLUMNS), np.float32)
    for start, parts in zip(starts, shares, strict=False):
        for part in parts:
            rows = fused.table_of(part.draw, strategy, images.shape[2], images.shape[3])
            table[part.rows + start] = rows
    return table


def _perform_round(
    images: Tensor, by_op: dict[str, list[tuple[_Rows, Tensor]]], strategy: Strategy
) -> Tensor:
    draws = [Draw(op, torch.cat([values for _, values in found])) for op, found in by_op.items()]
    rows = [np.concatenate([rows for rows, _ in found]) for found in by_op.values()]
    if len(draws) == 1:  # whose rows are all images, in their order
        return apply(images, draws[0], strategy)
    if not draws:
        return images
    order = np.concatenate(rows)
    groups = torch.split(_rows(images, order), [len(one) for one in rows])
    done = [apply(group, draw, strategy) for group, draw in zip(groups, draws, strict=True)]
    return _rows(torch.cat(done), np.argsort(order))


def augment_batch(images: Tensor, rng: np.random.Generator, strategy: Strategy) -> Tensor:
    """One op for the mini-batch, drawn uniformly, with its own parameters for each image (DSA).

    Args:
        images: N×C×H×W, normalised.
        rng: where the op and its parameters are drawn from.
        strategy: the ops to draw from; at least one.
    """
    return perform(images, [draw_batch(rng, strategy, len(images))], strategy)


def augment_each(images: Tensor, rng: np.random.Generator, strategy: Strategy) -> Tensor:
    """An op of its own for each image, drawn uniformly (the evaluation augmentation of DC).

    Args:
        images: N×C×H×W, normalised.
        rng: where ops and parameters are drawn from.
        strategy: the ops to draw from; at least one.
    """
    return perform(images, [draw_each(rng, strategy, len(images))], strategy)


def augment_sequence(images: Tensor, rng: np.random.Generator, strategy: Strategy) -> Tensor:
    """Every op of a strategy in order, with its own parameters for each image (IDC, C.1).

    Args:
        images: N×C×H×W, normalised.
        rng: where the parameters are drawn from.
        strategy: the ops.
    """
    return perform(images, [draw_sequence(rng, strategy, len(images))], strategy)


def augment_idc(images: Tensor, rng: np.random.Generator, flip: bool) -> Tensor:
    """Flip, colour, then one of crop, scale and rotate (IDC's evaluation, small images).

    Args:
        images: N×C×H×W, normalised.
        rng: where the op and the parameters are drawn from.
        flip: whether the data may be flipped; digits may not.
    """
    return perform(images, [draw_idc(rng, flip, len(images))], idc_strategy())


def idc_strategy() -> Strategy:
    """The magnitudes of :func:`augment_idc`: the field's."""
    return parse_strategy("_".join(_IDC_ONE_OF))


def cutmix(
    images: Tensor, labels: Tensor, rng: np.random.Generator, beta: float = 1.0, p: float = 0.5
) -> tuple[Tensor, Tensor, Tensor, float]:
    """CutMix (Yun et al., ICCV 2019): one box of each image is another image's.

    The box is the same for the whole batch: its area is 1 − λ of the image, λ ~ Beta(β, β), its
    centre is uniform, and it is clipped at the border.

    Args:
        images: N×C×H×W; never changed in place.
        labels: N×…
        rng: where box and partners are drawn from.
        beta: both parameters of the Beta distribution; positive.
        p: probability that anything is mixed.

    Returns:
        The images, their labels, the labels of what was put in, and the share of each image that
        is its own, 1 − area of the clipped box. Unmixed: the labels twice, and 1.
    """
    if not beta > 0:
        raise UsageError(f"cutmix's beta must be positive, got {beta}")
    if not 0 <= p <= 1:
        raise UsageError(f"cutmix's p must lie in 0 … 1, got {p}")
    mix = draw_mix(rng, len(images), (images.shape[2], images.shape[3]), beta, p)
    if mix is None:
        return images, labels, labels, 1.0
    rows, columns = mix.box
    mixed = images.clone()
    mixed[:, :, rows, columns] = _rows(images[:, :, rows, columns], mix.partners)
    return mixed, labels, _rows(labels, mix.partners), mix.share


@dataclass(frozen=True, eq=False)
class Mix:
    """What CutMix does to a batch."""

    partners: _Rows
    """Whose pixels each image gets in the box."""
    box: tuple[slice, slice]
    """Rows and columns."""
    share: float
    """Of each image that stays its own."""


def draw_mix(
    rng: np.random.Generator, n: int, size: tuple[int, int], beta: float, p: float
) -> Mix | None:
    """The draws of :func:`cutmix`; None where nothing is mixed."""
    if rng.random() >= p:
        return None
    h, w = size
    side = math.sqrt(1 - rng.beta(beta, beta))
    partners = rng.permutation(n)
    rows, columns = _span(rng, h, side), _span(rng, w, side)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mix(partners, (rows, columns), 1 - area / (h * w))


def mix_batches(images: Tensor, mixes: Sequence[Mix | None], sizes: Sequence[int]) -> Tensor:
    """:func:`cutmix` on several batches that stand one after another, in a few calls for all."""
    partners = partners_of(mixes, sizes)
    h, w = images.shape[2:]
    boxes = np.zeros((len(mixes), 1, h, w), dtype=bool)
    for place, mix in enumerate(mixes):
        if mix is not None:
            boxes[place, 0, mix.box[0], mix.box[1]] = True
    batch = np.repeat(np.arange(len(mixes)), sizes)
    inside = _rows(to_device(torch.from_numpy(boxes), images.device), batch)
    return torch.where(inside, _rows(images, partners), images)


def partners_of(mixes: Sequence[Mix | None], sizes: Sequence[int]) -> _Rows:
    """The image that each one's other label comes from: itself where nothing is mixed."""
    parts = [
        np.arange(n) if mix is None else mix.partners for mix, n in zip(mixes, sizes, strict=True)
    ]
    return np.concatenate(
        [p + start for p, start in zip(parts, np.cumsum([0, *sizes]), strict=False)]
    )


def _span(rng: np.random.Generator, size: int, share: float) -> slice:
    """Pixels of one axis, about a uniform centre, clipped."""
    side = int(size * share)
    first = int(rng.integers(size)) - side // 2
    return slice(max(first, 0), min(first + side, size))


def _rows(tensor: Tensor, rows: _Rows) -> Tensor:
    return tensor.index_select(0, to_device(torch.from_numpy(rows), tensor.device))
