"""Training one network of a pool, epoch by epoch, with snapshots and checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from typing import Any

import torch
from torch import Tensor

from condensery import nets
from condensery.data import Data, LabelledSet
from condensery.errors import DataError, DivergedError, UsageError
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.trainer import Course, Subset, Trainer
from condensery.utils.checkpoint import Checkpoints, Every
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted

from .average import Average
from .store import Pool, PoolSettings, Snapshot


def divide(train: LabelledSet, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on, and rows of each class that are held out; at least one of both a class.

    With a share of 0 all rows are trained on.

    Raises:
        DataError: for a class with a single image.
    """
    if share == 0:
        return torch.cat(train.index), train.index[0][:0]
    kept, held = [], []
    for c, members in enumerate(train.index):
        if len(members) < 2:
            raise DataError(
                f"class '{train.class_names[c]}' has {len(members)} training images; a "
                "pool needs at least two, one of them held out"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        order = stream(seed, "pool-held-out", group=c).permutation(len(members))
        shuffled = members[torch.from_numpy(order).to(members.device)]
        held.append(shuffled[:count])
        kept.append(shuffled[count:])
    return torch.cat(kept), torch.cat(held)


def pool_trainer(settings: PoolSettings, plan: Plan, train: LabelledSet) -> Trainer:
    """What trains a pool's networks."""
    narrow = plan.torch_update_dtype
    return Trainer(
        settings.protocol,
        plan,
        flip=settings.flip,
        seed=settings.seed,
        purpose="pool",
        dtype=None if narrow == plan.torch_dtype else narrow,
        mean=train.mean,
        std=train.std,
    )


class PoolTraining:
    """What trains a pool's networks: the folder, the split in two parts, and the trainer."""

    def __init__(
        self, data: Data, settings: PoolSettings, plan: Plan, pool: Pool, every: Every
    ) -> None:
        self.settings, self.plan, self.pool, self.every = settings, plan, pool, every
        device = torch.device(plan.device)
        train = data.train.to(device)
        rows, held_out = divide(train, settings.held_out, settings.seed)
        self.part = Subset(train, rows, plan.torch_dtype)
        self.held_out = Subset(train, held_out, plan.torch_dtype)
        self.trainer = pool_trainer(settings, plan, train)
        self.saved = time.monotonic()

    def network(
        self,
        number: int,
        state: dict[str, Any] | None,
        stops: list[int],
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> list[Snapshot]:
        """Train one network, from the start or from a checkpoint; its snapshots.

        Args:
            number: of the network.
            state: from :meth:`resumed`.
            stops: signals that asked to stop.
            progress: advanced by every epoch.
            ranks: where others train other networks meanwhile, one that is finished is
                checkpointed too, because those before it may not be.

        Raises:
            Interrupted: when a signal asked to stop.
            DivergedError: for weights that are not finite.
        """
        usual = self.pool.path / "checkpoints"
        self.checkpoints = Checkpoints(usual if ranks.first else usual / self._own(number))
        device = torch.device(self.plan.device)
        shape = (self.settings.shape[0], self.settings.shape[1], self.settings.shape[2])
        with fork_rng(self.settings.seed, "pool-network", number):
            network = nets.build(self.settings.net, shape, self.settings.classes)
        network = network.to(device=device, dtype=self.plan.torch_dtype)
        found: list[Snapshot] = []
        first = 0
        if state is not None:
            with torch.no_grad():
                network.load_state_dict(state["network"])
            first = int(state["epoch"])
            found = [Snapshot(**one) for one in state["snapshots"]]
        course = Course(self.trainer, network)
        self.steps = course.steps_of(self.part)
        self.marks = marks_of(self.settings, self.steps)
        self.begun = first * self.steps
        self.average = Average(network, self.settings.average) if self.settings.average else None
        if state is not None:
            course.load_momenta(state.get("momenta", {}))
            if self.average is not None:
                self.average.load(**state["average"])
        else:
            self._mark(course, number, 0, found)
        for epoch in range(first, self.settings.epochs):
            if epoch * self.steps >= max(self.marks):  # nothing that comes later is kept
                progress.advance(f"network {number}")
                continue
            self._epoch(course, number, epoch, found, stops)
            known = found[-1].accuracy if found else None
            shown = "" if known is None else f", {known:.1f} %"
            progress.advance(f"network {number}{shown}")
            if epoch + 1 < self.settings.epochs:
                self._checkpoint(course, number, epoch + 1, found, stops)
        if not ranks.alone:
            self._save(course, number, self.settings.epochs, found)
        return found

    def resumed(self, number: int, say: Callable[[str], None]) -> dict[str, Any] | None:
        """The state of a network that was stopped; None for one that was not begun.

        Args:
            number: of the network.
            say: called with notes on damaged checkpoints.
        """
        usual = self.pool.path / "checkpoints"
        for folder in (usual, usual / self._own(number)):
            state, notes = Checkpoints(folder).load()
            for note in notes:
                say(note)
            if state is not None and state["number"] == number:
                return state
        return None

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove the states of networks that are in the index."""
        usual = self.pool.path / "checkpoints"
        Checkpoints(usual).remove()
        for number in numbers:
            own = usual / self._own(number)
            Checkpoints(own).remove()
            with suppress(OSError):
                own.rmdir()

    @staticmethod
    def _own(number: int) -> str:
        return f"{number:04d}"

    def _epoch(
        self, course: Course, number: int, epoch: int, found: list[Snapshot], stops: list[int]
    ) -> None:
        seed, device = self.settings.seed, torch.device(self.plan.device)
        rng, last = stream(seed, "pool", number, epoch), max(self.marks)

        def rate(taken: int) -> float:
            return self.settings.rate_at(self.begun + taken, last)

        with fork_rng(seed, "pool-dropout", number, epoch, device=device):
            for step in course.steps(self.part, rng, epoch, rate):
                if self.average is not None:
                    self.average.step()
                if stops and step + 1 < self.steps:
                    raise Interrupted(stops[0])
                done = epoch * self.steps + step + 1
                self._mark(course, number, done, found)
                if done >= last:
                    break

    def _mark(self, course: Course, number: int, steps: int, found: list[Snapshot]) -> None:
        """Keep a snapshot where one is due."""
        if steps not in self.marks:
            return
        with nullcontext() if self.average is None else self.average.in_place():
            self._keep(course, number, steps, found)

    def _keep(self, course: Course, number: int, steps: int, found: list[Snapshot]) -> None:
        accuracy = self._accuracy(course)
        if not all(bool(torch.isfinite(w).all()) for w in course.network.state_dict().values()):
            raise DivergedError(
                f"network {number} produced NaN or inf after {steps} steps; lower --rate (it "
                f"is {self.settings.rate:g})"
            )
        weights = course.network.state_dict()
        found.append(self.pool.keep(weights, number, steps, self.marks[steps], accuracy))

    def _accuracy(self, course: Course) -> float | None:
        """On the held-out images, in percent; None where nothing is held out."""
        if not len(self.held_out):
            return None
        return round(100 * course.accuracy(self.held_out), 4)

    def _checkpoint(
        self, course: Course, number: int, epoch: int, found: list[Snapshot], stops: list[int]
    ) -> None:
        if not stops and not self._due(epoch):
            return
        self._save(course, number, epoch, found)
        if stops:
            raise Interrupted(stops[0])

    def _save(self, course: Course, number: int, epoch: int, found: list[Snapshot]) -> None:
        state = {
            "number": number,
            "epoch": epoch,
            "network": {k: v.clone() for k, v in course.network.state_dict().items()},
            "momenta": course.momenta(),
            "snapshots": [dataclasses.asdict(one) for one in found],
        }
        if self.average is not None:
            state["average"] = self.average.state()
        self.checkpoints.save(state)
        self.saved = time.monotonic()

    def _due(self, epoch: int) -> bool:
        """Checkpoints lie at the ends of epochs."""
        if self.every.iterations is not None:
            return epoch % self.every.iterations == 0
        return time.monotonic() - self.saved >= (self.every.seconds or 0.0)


def marks_of(settings: PoolSettings, each: int) -> dict[int, float]:
    """Steps of training at which weights are kept → epochs, as they were requested.

    Raises:
        UsageError: for points that lie within one step.
    """
    out: dict[int, float] = {}
    for at in sorted(set(settings.snapshots)) or [float(settings.epochs)]:
        step = math.ceil(at * each - 1e-9)
        if step in out:
            raise UsageError(
                f"--snapshots {out[step]:g} and {at:g} fall on the same step: an epoch of this "
                f"data has {each} of --batch {settings.batch}; leave one of them out"
            )
        out[step] = at
    return out
