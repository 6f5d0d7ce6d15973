"""Fresh random networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from condensery import nets
from condensery.methods.task import Task

from .ahead import RandomNetworks
from .base import Context


@dataclass(kw_only=True)
class Fresh:
    """A fresh random network for every outer iteration, never trained (DM, algorithm 1, line 3)."""

    net: str = "convnet3"
    """The network, with options, such as ``convnet3:width=64``."""
    norm: Literal["none", "batch", "layer", "instance", "group"] | None = None
    """Its normalisation; the network's own by default."""
    _networks: RandomNetworks = field(init=False, repr=False)

    def start(self, task: Task) -> None:
        """Remember the task; raise if the network cannot be built for it."""
        nets.try_out(self.spec, task.shape, task.classes)
        self._networks = RandomNetworks(self.spec, task)

    @property
    def spec(self) -> str:
        """The network's full name."""
        return nets.with_norm(self.net, self.norm) if self.norm else self.net

    def effort(self, synthetic: int) -> tuple[float, float]:
        """One pixel step, and no training."""
        return 1.0, 0.0

    def new(self, iteration: int) -> nn.Module:
        """The random network of this iteration, in training mode."""
        return self._networks.new(iteration)

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Nothing: a fresh network is used as it is."""

    def advance(self, network: nn.Module, context: Context) -> None:
        """One pixel step per network."""

    def report(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing: a network is a function of seed and iteration."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore: the next iteration builds its network."""
