"""Through which networks one looks: where they come from and how they move on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from . import nets
from .augment.draws import to_device
from .randomness import fork_rng
from .task import Task


@dataclass(frozen=True)
class Context:
    """What a supply may look at when it decides how to go on. Nothing here touches test data."""

    iteration: int
    """Outer iteration."""
    step: int
    """Pixel steps done with this network."""
    synthetic: Callable[[], tuple[Tensor, Tensor]]
    """The decoded synthetic set and its labels, without gradient."""
    query: Callable[[int], tuple[Tensor, Tensor]]
    """So many real training images a class and their labels, drawn for this step."""


class Supply(Protocol):
    """A source of networks."""

    def start(self, task: Task) -> None:
        """Learn what is to be condensed; called once, before anything else."""

    def new(self, iteration: int) -> nn.Module:
        """The network that an outer iteration starts with, on the task's device."""

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Make the network ready for one pixel step, such as freezing its batch statistics."""

    def advance(self, network: nn.Module, context: Context) -> nn.Module | None:
        """The network of the next pixel step, or None to end the outer iteration."""

    def report(self) -> dict[str, Any]:
        """What it did since the last report, for ``metrics.jsonl``."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Take :meth:`state` back; the network in use then, None between outer iterations."""


@dataclass(kw_only=True)
class Fresh:
    """A fresh random network for every outer iteration, never trained (DM, algorithm 1, line 3)."""

    net: str = "convnet3"
    """The network, with options, such as ``convnet3:width=64``."""
    norm: Literal["none", "batch", "layer", "instance", "group"] | None = None
    """Its normalisation; the network's own when not given."""
    _task: Task = field(init=False, repr=False)

    def start(self, task: Task) -> None:
        """Remember the task and refuse a network that cannot be built for it."""
        self._task = task
        nets.try_out(self.spec, task.shape, task.classes)

    @property
    def spec(self) -> str:
        """The network's full name."""
        return nets.with_norm(self.net, self.norm) if self.norm else self.net

    def new(self, iteration: int) -> nn.Module:
        """The random network of this iteration, in training mode."""
        task = self._task
        with fork_rng(task.seed, "network", iteration):
            network = nets.build(self.spec, task.shape, task.classes)
        network = network.to(task.dtype).train().requires_grad_(False)
        for module in network.modules():
            # Class means are compared: dropout would only add noise that is not addressed.
            if isinstance(module, _DropoutNd):
                module.eval()
        placed: nn.Module = network._apply(lambda tensor: to_device(tensor, task.device))
        return placed

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Nothing: a fresh network is used as it is."""

    def advance(self, network: nn.Module, context: Context) -> None:
        """One pixel step a network."""

    def report(self) -> dict[str, Any]:
        """Nothing to tell."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing: a network is a function of seed and iteration."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to take back: the next iteration builds its network."""
