"""Continual learning from a memory: steps of new classes, or tasks with the same classes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from condensery.data import Data, load
from condensery.errors import UsageError, unknown_name
from condensery.runtime.plan import default_device, default_threads
from condensery.runtime.provenance import commit
from condensery.sets.condensed import CondensedSet
from condensery.training.timing import pass_seconds

from .learners import Learner, learner_of
from .methods import Method, Running, methods_of
from .result import Continual, Curve
from .streams import Match, Stream, class_stream, task_stream, together

#: Called after each network that was trained and tested: what it was, and its accuracy in percent.
OnNetwork = Callable[[str, float], None]

#: Strategies by what they are for.
STRATEGIES = {"steps": ("gdumb", "distil"), "tasks": ("e2e", "e2e_distil")}
_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class ContinualSettings:
    """How much is done, and how."""

    memory: int = 20
    """Images of each class that are kept."""
    strategy: str | None = None
    """``gdumb`` or ``distil`` for steps, ``e2e`` or ``e2e_distil`` for tasks."""
    seeds: int = 5
    """Orders of the classes; for tasks, runs."""
    nets: int = 3
    """Networks for each of them; for tasks one."""
    epochs: int | None = None
    """Epochs at each step, in place of the strategy's."""
    train_steps: int | None = None
    """Steps on each task, in place of the strategy's 5000."""
    net: str | None = None
    """The network; chosen by image size by default."""
    seed: int = 0
    """The first order's seed."""

    def __post_init__(self) -> None:
        counts = ("memory", "seeds", "nets", "epochs", "train_steps")
        for name in counts:
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _MOST * (1000 if name != "nets" else 1):
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


class ContinualJob:
    """An experiment that is ready to run: everything is checked, nothing is made.

    Args and errors are those of :func:`continual`.
    """

    def __init__(
        self,
        data: Sequence[Data],
        steps: int | None,
        methods: Sequence[Method],
        settings: ContinualSettings,
        out: Path,
        how: Running,
        *,
        match: Match = "name",
    ) -> None:
        self.methods, self.settings, self.out, self.how = methods, settings, out, how
        kind = "steps" if steps is not None else "tasks"
        self.strategy = settings.strategy or STRATEGIES[kind][0]
        _check_strategy(self.strategy, kind, settings)
        self.seeds = range(settings.seed, settings.seed + settings.seeds)
        self.net = settings.net or data[0].net
        self.stream: Callable[[int], Stream]
        if steps is not None:
            self.name = f"{data[0].name}-{steps}steps"
            self.stream = partial(class_stream, data[0], steps)
        else:
            tasks = together(data, match)
            self.name = "-".join(one.name for one in tasks)
            self.stream = partial(task_stream, tasks)
        self.data = data[0]
        self.first: Stream = self.stream(settings.seed)
        for method in methods:
            for part in self.first.steps:
                method.check(part, settings.memory)
        self.learner: Learner = learner_of(self.strategy, self.net, settings, how, out)

    @property
    def total(self) -> int:
        """Trainings in all: one for each network and step."""
        return self.memories * self.settings.nets

    @property
    def memories(self) -> int:
        """Sets in all: one for each method, order and step."""
        return len(self.methods) * len(self.seeds) * len(self.first.steps)

    def place(self, method: Method, stream: Stream, step: int) -> Path:
        """The folder of one memory."""
        name = f"{self.name}-m{self.settings.memory}"
        order = f"seed{stream.seed}"
        return self.out / "memories" / name / method.label / order / f"step{step + 1}"

    def seconds(self) -> tuple[float, float]:
        """What condensing and training will take, about; what is kept already is not counted."""
        condensing = sum(
            method.seconds(self.first.steps[0], self.settings.memory, self.how)
            * self.memories
            / len(self.methods)
            for method in self.methods
        )
        one = self.learner.amount(self.first)
        where = (self.how.device or default_device(), self.how.threads or default_threads())
        shape, classes = self.data.train.shape, len(self.first.class_names)
        each = pass_seconds(self.net, shape, classes, one.batch, *where)
        runs = len(self.methods) * len(self.seeds) * self.settings.nets
        return condensing, runs * one.steps * each

    def run(self, on_network: OnNetwork = lambda what, found: None) -> Continual:
        """Make what does not exist yet, train what is not known, and put the curves together.

        Args:
            on_network: called after each network at each step.

        Raises:
            Interrupted: when a signal asked a condensing to stop; the same call continues.
        """
        runs: dict[str, list[Any]] = {method.label: [] for method in self.methods}
        bytes_: dict[str, int] = {}
        orders = []
        for seed in self.seeds:
            # One order at a time: a stream holds a copy of the training images.
            stream = self.first if seed == self.first.seed else self.stream(seed)
            orders.append([list(names) for names in stream.names])
            for method in self.methods:
                sets = self._memories(method, stream)
                bytes_[method.label] = sum(one.stored_bytes for one in sets)

                def tell(where: str, found: float, name: str = method.label) -> None:
                    on_network(f"{name}, {where}", found)

                runs[method.label] += self.learner.learn(stream, sets, self.settings.nets, tell)
        curves = [self._curve(m, runs[m.label], bytes_[m.label]) for m in self.methods]
        return Continual(tuple(curves), orders, self.data.name, self.learner.by_task)

    def _memories(self, method: Method, stream: Stream) -> list[CondensedSet]:
        """A method's set for each step, each made of that step's images alone."""
        return [
            method.make(
                part, self.settings.memory, stream.seed, self.place(method, stream, k), self.how
            )
            for k, part in enumerate(stream.steps)
        ]

    def _curve(self, method: Method, runs: list[Any], stored_bytes: int) -> Curve:
        first = self.first
        return Curve(
            method=method.short,
            name=method.label,
            strategy=self.learner.name,
            memory=self.settings.memory,
            classes=first.heads,
            runs=tuple(runs),
            sizes=tuple(len(test) for test in first.tests),
            by_task=self.learner.by_task,
            seeds=len(self.seeds),
            nets=self.settings.nets,
            net=self.net,
            data=self.name if self.learner.by_task else self.data.name,
            seed=self.settings.seed,
            stored_bytes=stored_bytes,
            plan=self.learner.plan,
            commit=commit(),
        )


def _check_strategy(strategy: str, kind: str, settings: ContinualSettings) -> None:
    known = [name for names in STRATEGIES.values() for name in names]
    if strategy not in known:
        raise unknown_name("strategy", strategy, known)
    if strategy not in STRATEGIES[kind]:
        raise UsageError(
            f"--strategy {strategy} is not for --{kind}; choose {' or '.join(STRATEGIES[kind])}"
        )
    if kind == "tasks" and settings.epochs is not None:
        raise UsageError("--epochs is for --steps; tasks are counted in steps, with --train-steps")
    if kind == "steps" and settings.train_steps is not None:
        raise UsageError("--train-steps is for --tasks; a step of classes is trained for --epochs")


@contextmanager
def folder_for(out: str | Path | None) -> Iterator[Path]:
    """Where sets and numbers lie; a folder that ends with the block where none is named."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="condensery-") as made:
        yield Path(made)


def continual(
    data: Any = None,
    *,
    steps: int | None = None,
    tasks: Sequence[Any] | None = None,
    methods: Sequence[str] = ("random", "herding", "dm"),
    iterations: int | None = None,
    condense_net: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    match: Match = "name",
    out: str | Path | None = None,
    running: Running | None = None,
    on_network: OnNetwork = lambda what, found: None,
    **settings: Any,
) -> Continual:
    """Learn classes or tasks one after another from a memory, and measure what is still known.

    With ``steps`` the classes of one data set are split evenly (DM, section 3.5; IDC, section 5.3);
    with ``tasks`` several data sets with the same classes follow each other (DC, section 3.2).

    Args:
        data: for steps, anything that :func:`condensery.load` takes.
        steps: number of steps.
        tasks: data sets, in their order.
        methods: what fills the memory: recipes, selections, YAML files or made sets.
        iterations: outer iterations of each condensing; the recipe's by default.
        condense_net: network that condensing and selecting use; the data's own by default.
        size: side in pixels that all images are brought to.
        channels: channels that all images are brought to.
        match: how classes of several tasks are matched, by ``name`` or ``order``.
        out: folder that keeps sets and accuracies; nothing is kept without one.
        running: plan, device and threads.
        on_network: called after each network at each step.
        **settings: fields of :class:`ContinualSettings`, such as ``memory`` and ``strategy``.

    Raises:
        UsageError: for options that contradict each other or do not exist.
        DataError: for data that cannot be used, or tasks that do not fit each other.
    """
    if (steps is None) == (tasks is None):
        raise UsageError("give --steps for the classes of one data set, or --tasks for several")
    if tasks is not None and len(tasks) < 2:
        raise UsageError("--tasks needs at least two data sets, in their order")
    named = [data] if tasks is None else list(tasks)
    loaded = [load(one, size=size, channels=channels) for one in named]
    chosen = methods_of(methods, iterations, net=condense_net)
    with folder_for(out) as folder:
        how = running or Running()
        options = ContinualSettings(**settings)
        return ContinualJob(loaded, steps, chosen, options, folder, how, match=match).run(
            on_network
        )
