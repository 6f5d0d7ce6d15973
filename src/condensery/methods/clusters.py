"""Images that stand for their class: k-means on features, a pure function."""

from __future__ import annotations

import torch
from torch import Tensor


def k_means(features: Tensor, n: int, seed: int, rounds: int = 300) -> Tensor:
    """Images nearest to the centroids of k-means, as DREAM takes them (Liu et al., ICCV 2023).

    Each centroid, that of the largest cluster first, takes the nearest image that is left, so no
    image is taken twice. Unlike the greedy selections, fewer images are not the beginning of more.

    Args:
        features: m×d, of the class's images, in their order.
        n: how many, at most m.
        seed: of the centroids' start.
        rounds: most rounds of Lloyd's algorithm.

    Returns:
        their positions in the class, n int64.

    >>> k_means(torch.tensor([[0.0], [1.0], [2.0], [8.0], [9.5]]), 2, seed=0).tolist()
    [1, 3]
    """
    from sklearn.cluster import KMeans

    points = features.double().cpu()
    found = KMeans(n, n_init=1, max_iter=rounds, random_state=seed % 2**32).fit(points.numpy())
    centres = torch.from_numpy(found.cluster_centers_)
    sizes = torch.from_numpy(found.labels_).long().bincount(minlength=n)
    away = torch.cdist(centres, points)
    chosen = []
    for centre in sizes.argsort(descending=True, stable=True):
        best = away[centre].argmin()
        chosen.append(best)
        away[:, best] = torch.inf
    return torch.stack(chosen)
