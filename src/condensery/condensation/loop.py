"""The loop that every method shares, with four choices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from condensery.config.build import Choices
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import DivergedError, UsageError
from condensery.methods.augmentation import Augmentation
from condensery.methods.formation import Formation, weights_of
from condensery.methods.objectives import Objective
from condensery.methods.supply import Context, Supply
from condensery.methods.task import Task
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan
from condensery.sets.condensed import CondensedSet

from .about import about_run
from .convergence import Convergence, window_of
from .divergence import Break, FirstBreak, diverged, first_break
from .matching.batches import batches_of
from .matching.matcher import Matcher
from .parameters import PixelSteps, StoredParameters
from .supply_inputs import SupplyInputs


@dataclass(frozen=True)
class Report:
    """What the loop reports about the iterations since its last report."""

    iteration: int
    """Outer iterations done."""
    step: int
    """Pixel steps done."""
    loss: float
    """Mean loss of a step."""
    supply: dict[str, Any]
    """What the supply did."""


class Condenser:
    """One run of the loop. It can be stopped between steps and resumed bit-identically.

    It holds the training split alone: nothing here can see the test split. Where ranks share the
    run, each holds the stored tensors of its own classes, and every public method but
    :meth:`load_state` is called by all of them together.
    """

    def __init__(
        self,
        data: Data,
        config: RunConfig,
        plan: Plan,
        ranks: Ranks = ALONE,
        choices: Choices | None = None,
    ) -> None:
        self.ranks = ranks
        self.config = config
        self.plan = plan
        self.train = data.train.to(torch.device(plan.device))
        self.zca, self.rate = data.zca, data.rate
        self.flip = data.flip if config.flip is None else config.flip
        self.task = Task.of(
            self.train, ipc=config.ipc, seed=config.seed, flip=self.flip, dtype=plan.torch_dtype
        )
        chosen = Choices.of(config) if choices is None else choices
        formation: Formation = chosen.formation
        self.formation = formation.for_data(self.train.mean, self.train.std)
        self.objective: Objective = chosen.objective
        _check_splittable(self.objective, config, ranks)
        self.supply: Supply = chosen.supply
        self.supply.start(self.task)
        self.task = _guided(self.task, self.supply, config)
        self.augmentation: Augmentation = chosen.augmentation.for_data(self.flip)
        self.matcher = Matcher(
            plan,
            self.task,
            self.train,
            objective=self.objective,
            formation=self.formation,
            augmentation=self.augmentation,
            real_batch=config.real_batch,
            synthetic_batch=config.synthetic_batch,
            ranks=ranks,
            batches=batches_of(config, self.task, self.train),
        )
        self._parameters = StoredParameters(self.formation, self.task, self.train, config, ranks)
        self.iteration = 0
        self.step_in_iteration = 0
        self.steps = 0
        self._network: nn.Module | None = None
        self._inputs = SupplyInputs(
            self.task,
            self.train,
            plan,
            self.formation,
            self._parameters,
            flip=self.flip,
            ranks=ranks,
        )
        self._loss = torch.zeros((), device=self.task.device, dtype=self.task.dtype)
        self._reported_steps = 0
        self.began_at = 0
        """Steps that were done before this process resumed the run."""
        self.converged = False
        self._convergence = Convergence(config.window or window_of(config.iterations))
        self._iteration_loss = torch.zeros_like(self._loss)
        self._first_break = FirstBreak(self.stored)

    def step(self) -> None:
        """One pixel step; the loss stays on the device."""
        network = self._network if self._network is not None else self.supply.new(self.iteration)
        at = self.iteration, self.step_in_iteration
        context = self.context()
        self.supply.prepare(network, context)
        self.optimizer.zero_grad()
        loss, gradient = self.matcher.gradient(network, self.stored.detach(), *at, self.steps)
        falls = self.config.optimizer.rate_at(self.iteration) / self.config.optimizer.rate
        self._parameters.step(gradient, falls)
        self._loss += loss
        self._iteration_loss += loss
        self.steps += 1
        self._first_break.look(self.steps, self.iteration + 1, loss, self.stored.detach())
        self._network = self.supply.advance(network, context)
        self.step_in_iteration += 1
        if self._network is None:
            self._end_iteration()

    @property
    def stored(self) -> Tensor:
        """The stored tensors of this rank's classes, classes × stored images × …"""
        return self._parameters.stored

    @property
    def optimizer(self) -> PixelSteps:
        """What moves them."""
        return self._parameters.optimizer

    def context(self) -> Context:
        """What the supply may look at now."""
        return self._inputs.at(self.iteration, self.step_in_iteration)

    def leave_network(self) -> None:
        """Drop the matching network, and continue with the next outer iteration."""
        if self.step_in_iteration:
            self._network = None
            self._end_iteration()

    def _end_iteration(self) -> None:
        if self.config.until == "converged":
            mean = self._iteration_loss / self.step_in_iteration
            self.ranks.all_reduce_sum(mean)
            self.converged = self._convergence.add(mean)
        self._iteration_loss.zero_()
        self.formation.project(self.stored.detach())
        self.iteration += 1
        self.step_in_iteration = 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.converged or self.iteration >= self.config.iterations

    def run(
        self,
        iterations: int | None = None,
        after_iteration: Callable[[Condenser], None] | None = None,
        after_step: Callable[[Condenser], None] | None = None,
    ) -> CondensedSet:
        """Run up to an outer iteration (the configured number), and give the set as it is then.

        A configuration ``until: converged`` may end it earlier.

        Args:
            iterations: the last one; that of the configuration by default.
            after_iteration: called after every outer iteration.
            after_step: called after every pixel step; the run can be stopped and continued there.
        """
        last = self.config.iterations if iterations is None else iterations
        with self.plan.applied():
            while self.iteration < last and not self.converged:
                before = self.iteration
                self.step()
                if after_step is not None:
                    after_step(self)
                if after_iteration is not None and self.iteration != before:
                    after_iteration(self)
        return self.result()

    def report(self) -> Report:
        """Read the losses since the last report from the device; the only place that does."""
        done = self.steps - self._reported_steps
        self.ranks.all_reduce_sum(self._loss)
        loss = float(self._loss) / done if done else 0.0
        if not math.isfinite(loss):
            raise self._diverged()
        self._loss.zero_()
        self._reported_steps = self.steps
        return Report(self.iteration, self.steps, loss, self.supply.report())

    def result(self) -> CondensedSet:
        """The condensed set as it is now; all of it, on every rank."""
        train, config = self.train, self.config
        if not self._parameters.finite():
            raise self._diverged()
        about = about_run(
            train, config, self.iteration, flip=self.flip, zca=self.zca, rate=self.rate
        )
        # A copy: the run may continue, and a set does not change.
        stored = self._parameters.copy()
        self.formation.project(stored)
        return CondensedSet(stored, about, self.formation)

    def check_finite(self) -> None:
        """Wait for the device, and raise if the state is not finite.

        Raises:
            DivergedError: naming the step, the classes and the remedy.
        """
        if self._break() is not None:
            raise self._diverged()

    def _break(self) -> Break | None:
        return first_break(
            self._first_break.found(), self.matcher.own, self.task.classes, self.ranks
        )

    def _diverged(self) -> DivergedError:
        rates = {"optimizer.rate": self.config.optimizer.rate}
        if "rate" in self.config.supply.settings:
            rates["supply.rate"] = self.config.supply.settings["rate"]
        if weights_of(self.formation):
            rates["formation.rate"] = self.config.formation.settings["rate"]
        return diverged(self._break(), self.iteration, rates, self.train.class_names)

    def state(self) -> dict[str, Any]:
        """All that a run needs to resume between two steps: tensors and plain values.

        It does not depend on the number of ranks, and is complete on the first one alone.
        """
        losses = self._loss.clone(), self._iteration_loss.clone()
        self.ranks.all_reduce_sum(*losses)
        return {
            **self._parameters.state(),
            "iteration": self.iteration,
            "step_in_iteration": self.step_in_iteration,
            "steps": self.steps,
            "loss": losses[0],
            "iteration_loss": losses[1],
            "converged": self.converged,
            "convergence": self._convergence.state(),
            "reported_steps": self._reported_steps,
            "formation": self.formation.state(),
            "objective": self.objective.state(),
            "supply": self.supply.state(),
            "augmentation": self.augmentation.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state`."""
        self._parameters.load_state(state)
        self.iteration = int(state["iteration"])
        self.step_in_iteration = int(state["step_in_iteration"])
        self.steps = self.began_at = int(state["steps"])
        self._loss = state["loss"].to(self._loss).clone()
        self._reported_steps = int(state["reported_steps"])
        self._iteration_loss = state["iteration_loss"].to(self._loss).clone()
        if not self.ranks.first:  # losses are shares that add up over ranks
            self._loss.zero_()
            self._iteration_loss.zero_()
        self.converged = bool(state["converged"])
        self._convergence.load_state(state["convergence"], self._loss)
        self.formation.load_state(state["formation"])
        self.objective.load_state(state["objective"])
        self.augmentation.load_state(state["augmentation"])
        self._network = self.supply.load_state(state["supply"])
        self._first_break = FirstBreak(self.stored)


def _guided(task: Task, supply: Supply, config: RunConfig) -> Task:
    """The task with the supply's own network, where images are to stand for their class."""
    wanted = "kmeans" in (config.formation.settings.get("start_from"), config.real_batches)
    if not wanted or not hasattr(supply, "guide"):
        return task
    return dataclasses.replace(task, guide=supply.guide())


def _check_splittable(objective: Objective, config: RunConfig, ranks: Ranks) -> None:
    """What an objective remembers would differ from rank to rank."""
    if not ranks.alone and not getattr(objective, "splits", not objective.state()):
        raise UsageError(
            f"objective {config.objective.kind} keeps per-class state, so its classes cannot be "
            "split over processes; run it in a single process, without torchrun (or with "
            "--nproc-per-node 1)"
        )
