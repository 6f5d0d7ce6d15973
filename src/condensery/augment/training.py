"""Augmentation of the batches that networks train on: each image has its own parameters."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from condensery.errors import UsageError

from .draws import sample, sample_one, to_device
from .ops import apply
from .strategy import Strategy, parse_strategy

_IDC_ONE_OF = ("crop", "scale", "rotate")


def augment_batch(images: Tensor, rng: np.random.Generator, strategy: Strategy) -> Tensor:
    """One op for the mini-batch, drawn uniformly, with its own parameters for each image (DSA).

    Args:
        images: N×C×H×W, normalised.
        rng: where the op and its parameters are drawn from.
        strategy: the ops to draw from; at least one.
    """
    return apply(images, sample_one(rng, strategy, len(images)), strategy)


def augment_each(images: Tensor, rng: np.random.Generator, strategy: Strategy) -> Tensor:
    """An op of its own for each image, drawn uniformly (the evaluation augmentation of DC).

    Args:
        images: N×C×H×W, normalised.
        rng: where ops and parameters are drawn from.
        strategy: the ops to draw from; at least one.
    """
    if not strategy.ops:
        raise UsageError("the augmentation strategy is empty: name an op, or augment with none")
    # Which image gets which op is decided on the host, so that a GPU is never asked.
    chosen = rng.integers(len(strategy.ops), size=len(images))
    order = np.argsort(chosen, kind="stable")
    counts = np.bincount(chosen, minlength=len(strategy.ops)).tolist()
    groups = torch.split(_rows(images, order), counts)
    done = [
        apply(group, sample(rng, op, count), strategy)
        for op, group, count in zip(strategy.ops, groups, counts, strict=True)
        if count
    ]
    return _rows(torch.cat(done), np.argsort(order)) if done else images


def augment_sequence(images: Tensor, rng: np.random.Generator, strategy: Strategy) -> Tensor:
    """Every op of a strategy in order, with its own parameters for each image (IDC, C.1).

    Args:
        images: N×C×H×W, normalised.
        rng: where the parameters are drawn from.
        strategy: the ops.
    """
    for op in strategy.ops:
        images = apply(images, sample(rng, op, len(images)), strategy)
    return images


def augment_idc(images: Tensor, rng: np.random.Generator, flip: bool) -> Tensor:
    """Flip, colour, then one of crop, scale and rotate (IDC's evaluation, small images).

    The one op is drawn for the mini-batch, all parameters for each image.

    Args:
        images: N×C×H×W, normalised.
        rng: where the op and the parameters are drawn from.
        flip: whether the data may be flipped; digits may not.
    """
    strategy = parse_strategy("_".join(_IDC_ONE_OF))
    one = _IDC_ONE_OF[int(rng.integers(len(_IDC_ONE_OF)))]
    for op in ("flip", "color", one) if flip else ("color", one):
        images = apply(images, sample(rng, op, len(images)), strategy)
    return images


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
    if rng.random() >= p:
        return images, labels, labels, 1.0
    h, w = images.shape[2:]
    side = math.sqrt(1 - rng.beta(beta, beta))
    partners = rng.permutation(len(images))
    rows, columns = _span(rng, h, side), _span(rng, w, side)
    mixed = images.clone()
    mixed[:, :, rows, columns] = _rows(images[:, :, rows, columns], partners)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return mixed, labels, _rows(labels, partners), 1 - area / (h * w)


def _span(rng: np.random.Generator, size: int, share: float) -> slice:
    """Pixels of one axis, about a uniform centre, clipped."""
    side = int(size * share)
    first = int(rng.integers(size)) - side // 2
    return slice(max(first, 0), min(first + side, size))


def _rows(tensor: Tensor, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    return tensor.index_select(0, to_device(torch.from_numpy(rows), tensor.device))
