"""Which images of one class are kept: pure functions of features and counts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from condensery.runtime.devices import to_device


def herding(features: Tensor, n: int) -> Tensor:
    """Images whose running mean follows the class mean μ (Welling, ICML 2009).

    The k-th image is argmin over those left of ‖μ − (φ(x) + Σ chosen φ)/k‖, so the first is the one
    nearest to the mean, and fewer images are always the beginning of more. Of images that are
    equally good the first is taken.

    Args:
        features: m×d, of the class's images, in their order.
        n: how many, at most m.

    Returns:
        their positions in the class, n int64, in the order in which they were chosen.

    >>> herding(torch.tensor([[0.0], [1.0], [4.0], [7.0]]), 2).tolist()
    [2, 1]
    """
    centred = features - features.mean(0)
    # ‖Σ + φ‖² without what is the same for all: one product of a matrix and a vector per step.
    lengths = centred.square().sum(1)
    total = torch.zeros_like(centred[0])
    chosen = []
    for _ in range(n):
        best = (lengths + 2 * (centred @ total)).argmin()
        chosen.append(best)
        total = total + centred[best]
        lengths = _without(lengths, best, float("inf"))
    return torch.stack(chosen)


def nearest(features: Tensor, n: int) -> Tensor:
    """Images nearest to the class mean ("the closest samples to the cluster center": DC, 3.1).

    DC calls this herding. Its first image is that of :func:`herding`; further ones lie around the
    mean as well, and the mean of them all does not follow it. Of equally near images the first is
    taken.

    Args:
        features: m×d, of the class's images, in their order.
        n: how many, at most m.

    Returns:
        their positions in the class, n int64, the nearest first.

    >>> nearest(torch.tensor([[0.0], [1.0], [4.0], [7.0]]), 2).tolist()
    [2, 1]
    """
    away = (features - features.mean(0)).square().sum(1)
    return away.argsort(stable=True)[:n]


def k_center(features: Tensor, n: int) -> Tensor:
    """Images such that no image of the class is far from the nearest of them: farthest-first.

    The greedy k-center of Gonzalez (1985) and of Sener and Savarese (ICLR 2018): each further image
    is the one that is farthest from those chosen, which keeps the largest distance within twice the
    least possible, wherever it starts. It starts at the image nearest to the class mean: the papers
    do not say where, but their accuracies at one image per class are those of herding (MNIST 89.3
    and 89.2, CIFAR-10 21.5 both), whose first image this is. Of equally distant images the first
    is taken.

    Args:
        features: m×d, of the class's images, in their order.
        n: how many, at most m.

    Returns:
        their positions in the class, n int64, in the order in which they were chosen.

    >>> k_center(torch.tensor([[0.0], [1.0], [4.0], [9.0]]), 3).tolist()
    [2, 3, 0]
    """
    centred = features - features.mean(0)
    lengths = centred.square().sum(1)
    best = lengths.argmin()
    chosen = [best]
    nearest = torch.full_like(lengths, float("inf"))
    for _ in range(n - 1):
        away = lengths + lengths[best] - 2 * (centred @ centred[best])
        nearest = torch.minimum(nearest, away.clamp(min=0))
        nearest = _without(nearest, best, -float("inf"))
        best = nearest.argmax()
        chosen.append(best)
    return torch.stack(chosen)


def most_forgettable(
    forgotten: Tensor, n: int, rng: np.random.Generator, learned: Tensor | None = None
) -> Tensor:
    """Images that were forgotten most often in training.

    DM (section 3.2) counts how often an image "is learned and then forgotten": one that was never
    right has no such event, and counts 0. In the paper of forgetting (Toneva et al., ICLR 2019) it
    is the hardest of all and counts as forgotten infinitely often; that rule is applied where
    ``learned`` is given. Many images have the same count, above all after few epochs; which of them
    are taken is drawn.

    Args:
        forgotten: m, how often each of the class's images was forgotten.
        n: how many, at most m.
        rng: draws between images of one count.
        learned: m, whether it was ever right; those that were not come first.

    Returns:
        their positions in the class, n int64, the most forgettable first.
    """
    counts = forgotten.cpu().double()
    if learned is not None:
        counts = counts.masked_fill(~learned.cpu(), float("inf"))
    drawn = torch.from_numpy(rng.permutation(len(counts)))
    return drawn[counts[drawn].argsort(descending=True, stable=True)][:n]


def _without(values: Tensor, place: Tensor, value: float) -> Tensor:
    """The values with one replaced, without host synchronisation."""
    return values.index_fill(0, place.reshape(1), value)


class ForgettingEvents:
    """Counts, image by image, how often it was right and then wrong (Toneva et al., section 3).

    Fed with every mini-batch's hits before its step, as that paper gathers them: no image passes
    through the network for it, without host synchronisation.

    Args:
        images: number of training images.
        device: where the counts live.
    """

    def __init__(self, images: int, device: torch.device | str = "cpu") -> None:
        self.right = torch.zeros(images, dtype=torch.bool, device=device)
        self.learned = torch.zeros_like(self.right)
        self.forgotten = torch.zeros(images, dtype=torch.int32, device=device)

    def __call__(self, rows: Tensor, right: Tensor) -> None:
        """A mini-batch: its rows, each once, and which of them were classified correctly.

        Attributes change: ``right``, when it was last seen; ``learned``, ever; ``forgotten``, the
        count.
        """
        rows = to_device(rows, self.right.device)  # of images that stay on the host
        self.forgotten[rows] += self.right[rows] & ~right
        self.learned[rows] |= right
        self.right[rows] = right
