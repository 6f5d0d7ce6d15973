"""What the pixel optimiser moves: this rank's stored tensors, and what the formation learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from condensery.config.schema import PixelOptimizer, RunConfig
from condensery.data import LabelledSet
from condensery.errors import UsageError
from condensery.methods.formation import Formation, weights_of
from condensery.methods.task import Task
from condensery.runtime.devices import physical_memory
from condensery.runtime.distributed import Ranks
from condensery.runtime.torchrun import launched_here
from condensery.training.momentum_sgd import MomentumSGD

#: The pixel optimiser.
PixelSteps: TypeAlias = MomentumSGD | torch.optim.Adam
#: Adam's β₂.
_SQUARES = 0.999
#: What each optimiser remembers of a leaf: a suffix for checkpoints, and torch's name.
_SLOTS: dict[type[PixelSteps], dict[str, str]] = {
    MomentumSGD: {"": "momentum_buffer"},
    torch.optim.Adam: {"": "exp_avg", ".squares": "exp_avg_sq", ".steps": "step"},
}


class StoredParameters:
    """The stored tensors of some classes, their optimiser, and their way to and from files.

    Each rank holds the pixels and the momentum of its own classes, classes × stored × …; what a
    formation learns beside them is the same on all ranks.

    Args:
        formation: what the tensors are stored for.
        task: the work.
        train: the real images that they may start from.
        config: has the optimiser's settings.
        ranks: those that share the classes.
    """

    def __init__(
        self, formation: Formation, task: Task, train: LabelledSet, config: RunConfig, ranks: Ranks
    ) -> None:
        _check_memory(task, formation, ranks)
        self.formation = formation
        self.ranks = ranks
        self.classes = task.classes
        self.own = ranks.owned(task.classes)
        started = formation.start(task, train)
        # A copy: a slice would keep all of it in memory.
        part = started if ranks.alone else started[self.own.start : self.own.stop].clone()
        self.stored = part.requires_grad_()
        groups: list[dict[str, Any]] = [{"params": [self.stored]}]
        if weights := weights_of(formation):
            rate = config.formation.settings["rate"]
            groups.append({"params": list(weights.values()), "lr": rate})
        self._rates = [group.get("lr", config.optimizer.rate) for group in groups]
        self.optimizer = _optimizer(groups, config.optimizer)

    def step(self, gradient: Tensor, falls: float) -> None:
        """One step of the optimiser.

        Args:
            gradient: to the stored tensors; those of the formation's weights lie at the weights.
            falls: what the rates are multiplied by.
        """
        self.stored.grad = gradient
        slopes = [weight.grad for weight in weights_of(self.formation).values()]
        self.ranks.all_reduce_sum(*[slope for slope in slopes if slope is not None])
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * falls
        self.optimizer.step()

    def of_all(self) -> Tensor:
        """The stored tensors of all classes, without gradient, on every rank's device."""
        return self.ranks.gather_classes(self.stored.detach(), self.classes)

    def copy(self) -> Tensor:
        """A copy of the stored tensors of all classes; on the host, where ranks share them."""
        found = self.ranks.whole(self.stored, self.classes, everywhere=True)
        assert found is not None
        return found

    def finite(self) -> bool:
        """Whether everything is finite, on every rank."""
        bad = [bool((~torch.isfinite(leaf)).any()) for leaf in self._leaves().values()]
        return not self.ranks.any(any(bad))

    def state(self) -> dict[str, Any]:
        """Stored tensors and momenta of all classes; without them on all ranks but the first."""
        momenta: dict[str, Tensor | None] = {}
        for name, leaf, slot in self._slots():
            held = self.optimizer.state[leaf].get(slot)
            if held is None:
                momenta[name] = None
            elif leaf is self.stored and held.dim():
                momenta[name] = self.ranks.whole(held, self.classes, everywhere=False)
            else:
                momenta[name] = held.clone()
        stored = self.ranks.whole(self.stored, self.classes, everywhere=False)
        return {"stored": stored, "optimizer": momenta}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take this rank's part of :meth:`state` back, however many ranks wrote it."""
        own = slice(self.own.start, self.own.stop)
        with torch.no_grad():
            self.stored.copy_(_checked(state["stored"], self.classes)[own])
        for name, leaf, slot in self._slots():
            held = state["optimizer"][name]
            if held is None:  # nothing was learned yet
                self.optimizer.state[leaf].pop(slot, None)
                continue
            if not held.dim():  # Adam counts its steps on the host
                self.optimizer.state[leaf][slot] = held.clone()
                continue
            part = _checked(held, self.classes)[own] if leaf is self.stored else held
            self.optimizer.state[leaf][slot] = part.to(leaf).clone()

    def _slots(self) -> list[tuple[str, Tensor, str]]:
        """What the optimiser remembers: a name for checkpoints, the leaf, its name in torch."""
        return [
            (name + suffix, leaf, slot)
            for name, leaf in self._leaves().items()
            for suffix, slot in _SLOTS[type(self.optimizer)].items()
        ]

    def _leaves(self) -> dict[str, Tensor]:
        """Everything that the pixel optimiser moves, by name."""
        return {"momentum": self.stored, **weights_of(self.formation)}


def _optimizer(groups: list[dict[str, Any]], chosen: PixelOptimizer) -> PixelSteps:
    """The pixel optimiser of a configuration."""
    if chosen.algorithm == "adam":
        return torch.optim.Adam(groups, lr=chosen.rate, betas=(chosen.momentum, _SQUARES))
    return MomentumSGD(groups, lr=chosen.rate, momentum=chosen.momentum)


def _checked(tensor: Tensor, classes: int) -> Tensor:
    """A tensor of a checkpoint that has to have an entry for each class."""
    if len(tensor) != classes:
        raise ValueError(f"it holds {len(tensor)} classes, not {classes}")
    return tensor


def _check_memory(task: Task, formation: Formation, ranks: Ranks) -> None:
    """Stored tensor, gradient, momentum, a copy and its images have to fit the machine."""
    memory = physical_memory()
    if memory is None or task.device.type != "cpu":
        return
    # Every rank starts from all of it, and keeps its share.
    times = launched_here() * (1 + 3 / ranks.world)
    made = formation.decoded(task.ipc)
    wanted = 4 * task.classes * (times * task.ipc + made) * math.prod(task.shape)
    if wanted > memory:
        raise UsageError(
            f"{task.ipc} images per class, {made} for training, need {wanted / 1e9:.0f} GB, and "
            f"this machine has {memory / 1e9:.0f}; use a smaller --ipc or --size"
        )
