"""Which classes a network takes for which."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from condensery.training.datasets import TrainingSet

#: Images that pass through the network at once, where the plan does not say.
_CHUNK = 256

#: Row c: of the test images of class c, how many were taken for each class.
Counts = tuple[tuple[int, ...], ...]


@torch.no_grad()
def confusion_of(
    network: nn.Module, test: TrainingSet, classes: int, chunk: int | None = None
) -> Counts:
    """The confusion matrix of a network in evaluation mode, in the type that its weights have.

    Args:
        network: gives N×classes logits.
        test: what it is tested on.
        classes: number of classes.
        chunk: images at once.
    """
    network.eval()
    counts = torch.zeros(classes * classes, dtype=torch.long)
    for rows in torch.arange(len(test), device=test.index_device).split(chunk or _CHUNK):
        images, labels = test.take(rows)
        pairs: Tensor = labels.long() * classes + network(images).argmax(1)
        counts += pairs.cpu().bincount(minlength=classes * classes)
    return tuple(map(tuple, counts.view(classes, classes).tolist()))


def added(several: list[Counts]) -> Counts:
    """The sum of confusion matrices of one size.

    >>> added([((1, 0), (0, 1)), ((0, 1), (0, 1))])
    ((1, 1), (0, 2))
    """
    return tuple(tuple(map(sum, zip(*lines, strict=True))) for lines in zip(*several, strict=True))
