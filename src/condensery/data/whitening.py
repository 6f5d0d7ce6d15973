"""ZCA whitening: images without correlation between their pixels (IDC, appendix E.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from condensery.errors import UsageError
from condensery.runtime.devices import physical_memory
from condensery.utils.text import size_text

from .labelled import LabelledSet

#: Added to every eigenvalue, as a share of their mean, so that noise is not blown up.
_SHARE = 0.1
#: Pixels times channels beyond which the eigenvectors take too long.
_MOST = 3 * 64 * 64
#: Share of the machine's memory that whitened images may take: they are not mapped.
_MEMORY = 0.8
#: Images that are turned at once.
_AT_ONCE = 4096


def whitened(train: LabelledSet, test: LabelledSet) -> tuple[LabelledSet, LabelledSet]:
    """Both splits times (C + λI)^−½, with the mean and covariance C of the training split.

    λ is a tenth of the mean eigenvalue. The images become float32, and their normalisation is
    measured anew.

    Raises:
        UsageError: for images of more than 64×64 colour pixels, or more than the memory holds.
    """
    features = train.images[0].numel()
    if features > _MOST:
        raise UsageError(
            f"--zca turns images of at most {_MOST} numbers, these have {features}; give a smaller "
            "--size"
        )
    wanted = 4 * (train.images.numel() + test.images.numel())
    memory = physical_memory()
    if memory is not None and wanted > _MEMORY * memory:
        raise UsageError(
            f"--zca makes float32 numbers of all images, {size_text(wanted)}, and this machine has "
            f"{size_text(memory)} of memory; give a smaller --size, or leave --zca out"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, so that the same images have the same bytes
    try:
        mean, turn = _transform(train)
        sets = [_turned(split, mean, turn) for split in (train, test)]
    finally:
        torch.set_num_threads(threads)
    first, second = (
        LabelledSet.of(images, split.labels, split.class_names, split.name)
        for images, split in zip(sets, (train, test), strict=True)
    )
    both = LabelledSet.of(
        second.images, second.labels, second.class_names, second.name,
        mean=first.mean, std=first.std,
    )  # fmt: skip
    return first, both


def _flat(images: Tensor) -> Tensor:
    scale = 255 if images.dtype == torch.uint8 else 1
    return images.flatten(1).double() / scale


def _transform(train: LabelledSet) -> tuple[Tensor, Tensor]:
    """The mean image and the whitening matrix, in float64."""
    parts = train.images.split(_AT_ONCE)
    mean = torch.stack([_flat(part).sum(0) for part in parts]).sum(0) / len(train)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for part in parts:
        centred = _flat(part) - mean
        covariance += centred.T @ centred
    values, vectors = torch.linalg.eigh(covariance / len(train))
    values = values.clamp(min=0)
    scale = (values + _SHARE * values.mean()).rsqrt()
    return mean, vectors * scale @ vectors.T


def _turned(split: LabelledSet, mean: Tensor, turn: Tensor) -> Tensor:
    out = torch.empty(split.images.shape, dtype=torch.float32)
    for part, into in zip(split.images.split(_AT_ONCE), out.split(_AT_ONCE), strict=True):
        into.flatten(1).copy_((_flat(part) - mean) @ turn)
    return out
