"""The time of a pass here, from which the time of a training is estimated."""

from __future__ import annotations

import time
from functools import cache

import torch

from condensery import nets as zoo
from condensery.runtime.randomness import fork_rng


@cache
def pass_seconds(
    net: str, shape: tuple[int, int, int], classes: int, images: int, device: str, threads: int
) -> float:
    """Time of a pass forward and back, the best of three."""
    with fork_rng(0, "estimate"):
        network = zoo.build(net, shape, classes).to(device)
    batch = torch.zeros(images, *shape, device=device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return min(_once(network, batch) for _ in range(3))
    finally:
        torch.set_num_threads(before)


def _once(network: torch.nn.Module, batch: torch.Tensor) -> float:
    began = time.perf_counter()
    network(batch).sum().backward()
    if batch.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began
