"""Strategies: how a network learns from a memory that grows, step by step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from condensery.data import Data
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.comparison import CELLS
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of, measured
from condensery.sets.candidate import Candidate
from condensery.sets.condensed import CondensedSet
from condensery.training.distillation import Distillation
from condensery.training.protocol import Protocol as Training
from condensery.training.protocol import protocol_for

from .chain import Chain, Phase, Stage, chain_plan
from .methods import Running
from .streams import Stream, seen

#: Called after each network: where it is, and its accuracy in percent.
Tell = Callable[[str, float], None]
#: Of a run: after each step, an accuracy in percent for each step so far.
Run = tuple[tuple[float, ...], ...]

#: E2E's steps on a task and on the memory alone, and their rates (DC, appendix A).
E2E_STEPS, E2E_BALANCED = 5000, 500
E2E_RATE, E2E_BALANCED_RATE = 0.01, 0.001


@dataclass(frozen=True)
class Amount:
    """The training of one network through all steps."""

    steps: float
    """SGD steps in all."""
    batch: int
    """Images of each."""


class Learner(Protocol):
    """A strategy."""

    by_task: bool
    """Whether accuracies are averaged over tasks, and not over test images."""
    plan: str
    """How it was run, once it was."""

    @property
    def name(self) -> str:
        """With what was cut: ``gdumb+epochs=100``."""

    def amount(self, stream: Stream) -> Amount:
        """What one network takes."""

    def learn(
        self, stream: Stream, sets: Sequence[CondensedSet], nets: int, tell: Tell
    ) -> list[Run]:
        """Some networks, from the first step to the last."""


def memory_of(stream: Stream, sets: Sequence[CondensedSet]) -> Candidate:
    """The memory after some steps, under the first step's normalisation."""
    first = sets[0].about
    return Candidate.union(sets, stream.class_names, first.mean, first.std)


@dataclass
class Gdumb:
    """A fresh network at each step, on the memory alone (DM, section 3.5).

    Its head has a place for all classes from the start, and is tested on those seen.
    """

    net: str
    settings: Any
    how: Running
    out: Path
    by_task: bool = False
    plan: str = ""

    @property
    def name(self) -> str:
        """With what was cut."""
        epochs = self.settings.epochs
        return Training(name="gdumb", epochs=1000).changed(epochs=epochs).name

    def amount(self, stream: Stream) -> Amount:
        """What one network takes."""
        epochs = self.settings.epochs or 1000
        held = [head * self.settings.memory for head in stream.heads]
        return Amount(sum(epochs * math.ceil(n / 256) for n in held), min(256, held[-1]))

    def learn(
        self, stream: Stream, sets: Sequence[CondensedSet], nets: int, tell: Tell
    ) -> list[Run]:
        """Some networks at each step, whose accuracies are kept."""
        where = self.how.where
        options = EvaluationSettings(nets, self.settings.epochs, stream.seed, **where)
        keeper = KeptCells(self.out / CELLS)
        runs: list[list[tuple[float, ...]]] = [[] for _ in range(nets)]
        for step in range(len(sets)):
            tests = stream.tests[: step + 1]
            test = seen(tests)
            data = _tested_on(stream, test)
            row = Row("memory", (memory_of(stream, sets[: step + 1]),))
            cell = cell_of(row, data, self.net, "dsa", options)
            training = dataclasses.replace(cell.training, name=self.name)
            parts = tuple(map(len, tests))
            cell = dataclasses.replace(cell, training=training, parts=parts)
            self.plan = cell.plan.describe()
            place = f"seed {stream.seed}, step {step + 1} of {len(sets)}"
            told = _telling(tell, place)
            (found,) = measured(cell, nets, keepers=[keeper], on_network=told)
            for run, one in zip(runs, found, strict=True):
                run.append(one.parts)
        return [tuple(run) for run in runs]


def _telling(tell: Tell, place: str) -> Callable[[str, float], None]:
    return lambda what, found: tell(place, found)


def _tested_on(stream: Stream, test: Any) -> Data:
    """A data set of which only shape, classes and the test split are used."""
    first = stream.steps[0]
    return dataclasses.replace(first, train=test, test=test)


@dataclass
class Distil:
    """Weights carried on, the last layer widened, and the old classes distilled (IDC, C.3)."""

    net: str
    settings: Any
    how: Running
    out: Path
    by_task: bool = False
    plan: str = ""

    @property
    def name(self) -> str:
        """With what was cut."""
        epochs = self.settings.epochs
        return Training(name="distil", epochs=1000).changed(epochs=epochs).name

    def amount(self, stream: Stream) -> Amount:
        """What one network takes."""
        epochs = self.settings.epochs or 1000
        held = [head * self.settings.memory for head in stream.heads]
        return Amount(sum(epochs * math.ceil(n / 64) for n in held), min(64, held[-1]))

    def learn(
        self, stream: Stream, sets: Sequence[CondensedSet], nets: int, tell: Tell
    ) -> list[Run]:
        """Some networks through all steps, whose accuracies are kept."""
        stages = []
        for step, head in enumerate(stream.heads):
            memory = memory_of(stream, sets[: step + 1])
            protocol = self._protocol(stream, memory)
            distilled = Distillation() if step else None
            phase = Phase(protocol, (memory,), distilled=distilled)
            stages.append(Stage(head, (phase,), stream.tests[: step + 1]))
        return _through(self, stages, stream, sets, nets, tell)

    def _protocol(self, stream: Stream, memory: Candidate) -> Training:
        data = _tested_on(stream, stream.tests[0])
        named = "idc+drops=[0.6, 0.8]"
        found = protocol_for(named, data, self.net, self.settings.memory, memory.decoded)
        found = found.changed(epochs=self.settings.epochs)
        return dataclasses.replace(found, name=self.name)


@dataclass
class E2E:
    """A network trained on each task and the memory, then on the memory alone (Castro et al.).

    DC, section 3.2 and appendix A: 5000 steps at .01 and 500 at .001. The batch, 256, and that
    nothing is augmented are ours: the paper does not say.
    """

    net: str
    settings: Any
    how: Running
    out: Path
    distilled: bool = False
    by_task: bool = True
    plan: str = ""

    @property
    def name(self) -> str:
        """With what was cut."""
        base = "e2e_distil" if self.distilled else "e2e"
        steps, _ = self._steps
        return base if steps == E2E_STEPS else f"{base}+steps={steps}"

    @property
    def _steps(self) -> tuple[int, int]:
        steps = self.settings.train_steps or E2E_STEPS
        return steps, max(1, round(steps * E2E_BALANCED / E2E_STEPS))

    def amount(self, stream: Stream) -> Amount:
        """What one network takes."""
        return Amount(len(stream.steps) * sum(self._steps), 256)

    def learn(
        self, stream: Stream, sets: Sequence[CondensedSet], nets: int, tell: Tell
    ) -> list[Run]:
        """Some networks through all tasks, whose accuracies are kept."""
        steps, balanced = self._steps
        long, short = (
            Training(name="e2e", rate=rate, drops=[]) for rate in (E2E_RATE, E2E_BALANCED_RATE)
        )
        stages = []
        for task, data in enumerate(stream.steps):
            how = Distillation() if self.distilled and task else None
            old = (memory_of(stream, sets[:task]),) if task else ()
            phases = (
                Phase(long, (data.train, *old), steps, how),
                Phase(short, (memory_of(stream, sets[: task + 1]),), balanced, how),
            )
            stages.append(Stage(len(stream.class_names), phases, stream.tests[: task + 1]))
        return _through(self, stages, stream, sets, nets, tell)


def _through(
    learner: Distil | E2E,
    stages: Sequence[Stage],
    stream: Stream,
    sets: Sequence[CondensedSet],
    nets: int,
    tell: Tell,
) -> list[Run]:
    """Networks through the stages of a chain."""
    data, first = stream.steps[0], sets[0].about
    plan = chain_plan(stages, data.train.shape, **learner.how.where)
    learner.plan = plan.describe()
    chain = Chain(
        stages,
        net=learner.net,
        data=data,
        normalisation=(first.mean, first.std),
        plan=plan,
        seed=stream.seed,
        keep=learner.out / "chains",
    )
    runs = []
    for index in range(nets):
        where = f"seed {stream.seed}, network {index + 1} of {nets}"

        def told(step: int, accuracy: float, where: str = where) -> None:
            tell(f"{where}, step {step + 1}", accuracy)

        reached = chain.run(index, told)
        runs.append(tuple(one.accuracies for one in reached))
    return runs


def learner_of(
    strategy: str, net: str, settings: Any, how: Running, out: Path
) -> Gdumb | Distil | E2E:
    """A strategy by its name, which is known to exist."""
    if strategy == "gdumb":
        return Gdumb(net, settings, how, out)
    if strategy == "distil":
        return Distil(net, settings, how, out)
    return E2E(net, settings, how, out, distilled=strategy == "e2e_distil")
