"""The running average of a network's weights while it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of all floating tensors of a network, buffers included.

    It leaves out most of what single steps at a high rate add and take back (Polyak and Juditsky,
    1992, with equal weights there).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        """Begin with the network's weights.

        Args:
            network: in training.
            decay: what the average keeps of itself at each step; less in the first ones.
        """
        self.decay, self.steps = decay, 0
        self._held = _floating(network)
        self._mean = [tensor.detach().clone() for tensor in self._held.values()]

    @torch.no_grad()
    def step(self) -> None:
        """Take the weights in, after a training step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        torch._foreach_lerp_(self._mean, list(self._held.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network its average, and its own weights back afterwards."""
        held = list(self._held.values())
        own = [tensor.detach().clone() for tensor in held]
        with torch.no_grad():
            torch._foreach_copy_(held, self._mean)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(held, own)

    def state(self) -> dict[str, object]:
        """What a resumed training needs."""
        kept = {name: mean.clone() for name, mean in zip(self._held, self._mean, strict=True)}
        return {"steps": self.steps, "mean": kept}

    def load(self, steps: int, mean: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state`."""
        self.steps = steps
        with torch.no_grad():
            torch._foreach_copy_(self._mean, [mean[name] for name in self._held])


def _floating(network: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers themselves: recorded steps exchange what parameters hold."""
    every = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor for name, tensor in every.items() if tensor.is_floating_point()}
