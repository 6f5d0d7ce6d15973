"""The mathematics of the objectives, as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

#: What is below a root is at least this (NCFM).
_LEAST = 1e-12


def weighted_mean_rows(values: Tensor, weights: Tensor) -> Tensor:
    """Class means as one matrix product.

    Args:
        values: N×…, such as N×C×H×W, one entry per example.
        weights: k×N; row c holds each example's share in the mean of class c, 0 for the others.

    Returns:
        k×d, in the type of ``weights``; an example's d numbers in their own order, or in compiled
        code with the channels last. Both branches of a step have the same order.
    """
    # There maps have their channels last, and are used as they lie.
    if torch.compiler.is_compiling() and values.dim() == 4:
        values = values.movedim(1, -1)
    return weights @ values.flatten(1).to(weights.dtype)


def class_losses(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Each class's mean cross-entropy.

    Args:
        logits: N×classes.
        labels: N.
        weights: k×N; row c holds each example's share in class c.

    Returns:
        k×1, in the type of ``weights``.
    """
    losses = cross_entropy(logits.to(weights.dtype), labels, reduction="none")
    return weights @ losses[:, None]


def squared_mean_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Linear-kernel MMD between class means: Σ_c ‖real_c − synthetic_c‖² (DM, equations 5 and 6).

    Args:
        real: k×d class means of the real batches.
        synthetic: k×d class means of the synthetic batches.

    Returns:
        A scalar, summed over classes and dimensions.
    """
    return (real - synthetic).square().sum()


def characteristic_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Σ_c mean_t √(½(|Φ_r| − |Φ_s|)² + (|Φ_r||Φ_s| − Re Φ_r Φ̄_s)) (NCFM).

    The first term is the difference of the amplitudes, the second that of the phases.

    Args:
        real: k×2T; the real parts of Φ of each class, then the imaginary ones.
        synthetic: the same of the synthetic batches.

    Returns:
        A scalar.
    """
    (a, b), (c, d) = (part.chunk(2, 1) for part in (real, synthetic))
    # Roots have no slope at 0.
    lengths = [(x.square() + y.square()).clamp(min=_LEAST).sqrt() for x, y in ((a, b), (c, d))]
    phases = (lengths[0] * lengths[1] - (a * c + b * d)).clamp(min=_LEAST)
    return ((lengths[0] - lengths[1]).square() / 2 + phases).sqrt().mean(1).sum()


def discrimination(
    embeddings: Tensor, sizes: Sequence[int], centers: Tensor, reduction: Literal["mean", "sum"]
) -> Tensor:
    """Cross-entropy of real images classified by the synthetic centres (CAFE, equations 2 and 3).

    The logits of an image are the inner products of its embedding with the classes' centres.

    Args:
        embeddings: N×d of the real images, class after class.
        sizes: images of each class.
        centers: k×d class means of the synthetic embeddings.
        reduction: over the N images.

    Returns:
        A scalar.
    """
    classes = torch.arange(len(sizes), device=centers.device)
    labels = torch.repeat_interleave(
        classes, torch.as_tensor(sizes, device=centers.device), output_size=sum(sizes)
    )
    return cross_entropy(embeddings.to(centers.dtype) @ centers.T, labels, reduction=reduction)
