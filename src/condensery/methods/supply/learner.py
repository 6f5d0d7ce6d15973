"""The network of an outer iteration while it learns: what supplies that train have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from condensery.augment import parse_strategy
from condensery.config.sgd import SGD
from condensery.errors import UsageError
from condensery.methods.task import Task
from condensery.training.protocol import Protocol
from condensery.training.trainer import Course

from .ahead import RandomNetworks
from .base import Context
from .random_networks import random_network


def check_learning(supply: Any, least: Mapping[str, int]) -> None:
    """Raise if a setting is out of range.

    Args:
        supply: what has them.
        least: smallest values of its counts.

    Raises:
        UsageError: naming the setting.
    """
    parse_strategy(supply.strategy)
    for name, low in least.items():
        if getattr(supply, name) < low:
            raise UsageError(f"supply.{name} must be at least {low}, got {getattr(supply, name)}")
    SGD.of(supply, "supply.")


def protocol_of(supply: Any, cutmix: float = 0.0) -> Protocol:
    """How a supply's networks learn."""
    return Protocol(
        name="update",
        batch=supply.batch,
        rate=supply.rate,
        momentum=supply.momentum,
        weight_decay=supply.weight_decay,
        augmentation=supply.augmentation,
        strategy=supply.strategy,
        cutmix=cutmix,
    )


class Learner:
    """One network at a time, its optimiser's memory, and the way from and to a checkpoint.

    Args:
        spec: the network.
        task: what it is for.
        protocol: how it learns.
    """

    def __init__(self, spec: str, task: Task, protocol: Protocol) -> None:
        self.spec = spec
        self.task = task
        self.protocol = protocol
        self.network: nn.Module | None = None
        self._course: Course | None = None
        self._momenta: dict[str, Tensor] = {}
        self._random = RandomNetworks(spec, task)

    def new(self, iteration: int, start: nn.Module | None = None) -> nn.Module:
        """The network of an outer iteration: random, or the one that is given."""
        self.drop()
        self.network = start or self._random.new(iteration)
        return self.network

    def drop(self) -> None:
        """Done with this network."""
        self.network = self._course = None
        self._momenta = {}

    def course(self, context: Context, network: nn.Module) -> Course:
        """The network's training, started or resumed where that is still to be done."""
        if self._course is None:
            self._course = context.course(network, self.protocol)
            self._course.load_momenta(self._momenta)
        return self._course

    def state(self) -> dict[str, Any]:
        """The network in use and its momentum; nothing between outer iterations."""
        if self.network is None:
            return {}
        momenta = self._momenta if self._course is None else self._course.momenta()
        return {
            "network": {k: v.clone() for k, v in self.network.state_dict().items()},
            "momenta": {k: v.clone() for k, v in momenta.items()},
        }

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Restore :meth:`state`; the network in use then."""
        self.drop()
        if "network" in state:
            self.network = random_network(self.spec, self.task, 0)
            with torch.no_grad():
                self.network.load_state_dict(state["network"])
            self._momenta = dict(state.get("momenta", {}))
        return self.network
