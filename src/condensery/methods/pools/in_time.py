"""A pool that fits into some seconds: trained to a fitting epoch, or found in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch

from condensery import nets
from condensery.config.later import as_written
from condensery.data import Data, cache_folder
from condensery.errors import DataError, UsageError
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.trainer import Course, Subset
from condensery.utils.text import time_text

from .networks import divide, pool_trainer
from .store import INDEX, Pool, PoolSettings
from .train import pool_plan, pool_settings, train_pool

#: Epochs at which a network may be kept, or its training end: the early ones change it most.
_EPOCHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
#: Training steps that are measured, after one that also compiles.
_STEPS = 5
#: Images that are held out to tell accuracies, of all classes together.
_HELD_OUT = 1000
#: Images a second that a network may be trained on: whether compiling pays is guessed by it.
_LIKELY = 500
#: The share of the epochs after which it is asked whether images are known already, and the fewest.
_FIRST, _FIRST_EPOCHS = 0.1, 0.1
#: What accuracies, files and a slower machine may take beside the steps.
_ROOM = 0.85


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the pool should be like."""

    net: str
    """The network, with options."""
    rate: float
    """Learning rate."""
    batch: int
    """Images per step."""
    schedule: str
    """Of the learning rate."""
    average: float
    """Decay of the average that is kept of the weights; 0: themselves."""
    early: float
    """Share of the training before which none are kept."""
    least_epochs: float
    """Fewer are no use."""
    most_epochs: float
    """More are not needed, once it took ``least_steps``."""
    least_steps: int
    """On few images a network is trained for more epochs, until it took that many."""
    enough: float
    """Accuracy on held-out images, in percent, above which a short training tells enough."""
    seed: int
    """Random seed."""


def pool_in_time(
    data: Data,
    wanted: Wanted,
    seconds: float,
    *,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Pool | None:
    """A pool of one network whose training takes about this long; None where that is too short.

    Where a network trained for a tenth of that knows more than ``wanted.enough``, its pool is
    given, and none is trained further.

    Pools are kept in the user's cache, by data, network and settings. One that was trained at
    least as far as there is time for is taken as it is, but none beyond ``wanted.most_epochs``.
    Nothing here looks at the test split.

    Args:
        data: what to train on.
        wanted: what the pool should be like.
        seconds: in which it should be ready.
        plan: ``auto``, ``exact``, a YAML file or a plan.
        device: torch device.
        threads: CPU threads.
        quiet: show no progress.
        say: called with progress lines.
    """
    began = monotonic()
    share = min(0.1, _HELD_OUT / len(data.train))
    given: dict[str, Any] = {
        "rate": wanted.rate,
        "batch": wanted.batch,
        "held_out": share,
        "seed": wanted.seed,
    }
    given |= {"schedule": wanted.schedule, "average": wanted.average}
    settings = pool_settings(data, wanted.net, epochs=1, **given)
    folder = _folder(data, settings, wanted.early)
    most = max(wanted.most_epochs, math.ceil(wanted.least_steps / _steps(data, settings)))
    wanted = dataclasses.replace(wanted, most_epochs=most)
    likely = min(wanted.most_epochs, seconds * _LIKELY / len(data.train))
    chosen = pool_plan(data, settings, max(1, math.ceil(likely)), plan, device, threads)
    training = _Training(
        data=data,
        wanted=wanted,
        settings=settings,
        plan=chosen,
        folder=folder,
        ends=began + seconds,
        quiet=quiet,
        say=say,
    )
    kept = _longest(folder, wanted.most_epochs)
    if kept is not None and (_length(kept) >= wanted.most_epochs or _enough(kept, wanted)):
        say(f"networks: the pool {kept.path} was trained before, and is all that is needed")
        return kept
    return training.longest(kept)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Training:
    """What it takes to train a pool until some moment."""

    data: Data
    wanted: Wanted
    settings: PoolSettings
    plan: Plan
    folder: Path
    ends: float
    """When it should be ready, by the monotonic clock."""
    quiet: bool
    say: Callable[[str], None]

    @cached_property
    def each(self) -> float:
        """Seconds of an epoch."""
        return seconds_per_epoch(self.data, self.settings, self.plan)

    def longest(self, kept: Pool | None) -> Pool | None:
        """The pool that is ready in time, which may be the one that is kept; None for too little.

        A short training comes first where it may tell enough.
        """
        epochs, marks = self.affordable()
        if kept is not None and (not marks or _length(kept) >= marks[-1]):
            self.say(
                f"networks: the pool {kept.path} was trained before, to epoch {_length(kept):g}"
            )
            return kept
        first = max(_FIRST_EPOCHS, _FIRST * epochs)
        # What a short training takes beside its steps is left as much time again.
        tells = kept is None and epochs - 2 * first >= self.wanted.least_epochs
        if self.wanted.enough < 100 and tells and (short := self.marks(first)):
            pool = self.trained(short)
            if _enough(pool, self.wanted):
                return pool
            epochs, marks = self.affordable()
        if epochs >= self.wanted.least_epochs and marks:
            return self.trained(marks)
        left = time_text(max(self.ends - monotonic(), 0))
        self.say(
            f"networks: {left} are too short for a pool; an epoch takes {time_text(self.each)}"
        )
        return None

    def affordable(self) -> tuple[float, list[float]]:
        """The epochs there is time for, and when weights are kept up to them."""
        each = self.each  # measured before the clock is read
        epochs = min(self.wanted.most_epochs, _ROOM * (self.ends - monotonic()) / each)
        return epochs, self.marks(epochs)

    def marks(self, epochs: float) -> list[float]:
        """When weights are kept up to an epoch."""
        return _marks(self.data, self.settings, epochs, self.wanted.early)

    def trained(self, marks: list[float]) -> Pool:
        """A pool of one network up to the last of some marks."""
        last, each = f"{marks[-1]:g}", time_text(self.each)
        self.say(f"networks: an epoch takes {each}, so a pool is trained to epoch {last}")
        settings = dataclasses.replace(self.settings, epochs=math.ceil(marks[-1]), snapshots=marks)
        out = self.folder / f"epochs-{last}"
        return train_pool(
            self.data, settings, 1, out, plan=self.plan, quiet=self.quiet, say=self.say
        )


def accuracy_of(pool: Pool) -> float:
    """Of the snapshot that was trained furthest, on held-out images, in percent; 0 if not told."""
    return max(pool.snapshots, key=lambda one: one.epoch).accuracy or 0.0


def _enough(pool: Pool, wanted: Wanted) -> bool:
    return accuracy_of(pool) > wanted.enough


def _steps(data: Data, settings: PoolSettings) -> int:
    """Of an epoch."""
    return -(-len(divide(data.train, settings.held_out, settings.seed)[0]) // settings.batch)


def _marks(data: Data, settings: PoolSettings, epochs: float, early: float) -> list[float]:
    """When weights are kept up to an epoch; of points on one step of small data, the first."""
    steps = _steps(data, settings)
    ends = [at for at in _EPOCHS if at <= epochs]
    if epochs > _EPOCHS[-1]:  # of few images, so in proportion
        ends = [round(math.floor(epochs) * at / _EPOCHS[-1], 3) for at in _EPOCHS]
    if settings.schedule != "constant" and ends:
        # The rate has to fall to the end of the time, and halves of epochs would waste some.
        last = max(ends[-1], math.floor(10 * epochs) / 10)
        count = len(ends)
        ends = [round(last * (n + 1) / count, 3) for n in range(count)]
    out: dict[int, float] = {}
    for at in ends:
        if at >= early * ends[-1]:
            out.setdefault(math.ceil(at * steps - 1e-9), at)
    return list(out.values())


def seconds_per_epoch(data: Data, settings: PoolSettings, plan: Plan) -> float:
    """What an epoch of a pool's network takes, from a few steps; compiling is not counted."""
    device = torch.device(plan.device)
    train = data.train.to(device)
    rows = divide(train, settings.held_out, settings.seed)[0]
    part = Subset(train, rows, plan.torch_dtype)
    with fork_rng(settings.seed, "pool-network"):
        network = nets.build(settings.net, train.shape, settings.classes)
    trainer = pool_trainer(settings, plan, train)
    course = Course(trainer, network.to(device=device, dtype=plan.torch_dtype))
    began, done = 0.0, 0
    with plan.applied(), fork_rng(0, "pool-timing", device=device):
        for step in course.steps(part, stream(0, "pool-timing"), 0):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if step == 0:
                began = perf_counter()
            done = step
            if step == _STEPS:
                break
    took = perf_counter() - began
    return max(1e-9, took / max(1, done)) * course.steps_of(part)


def _folder(data: Data, settings: PoolSettings, early: float) -> Path:
    """Where pools of these data and settings are kept, whatever their length."""
    facts: dict[str, Any] = as_written(settings)
    if early:
        facts["early"] = early
    for name in ("epochs", "snapshots", "data"):
        facts.pop(name)
    facts["normalisation"] = [list(data.train.mean), list(data.train.std)]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "pools" / f"{data.train.name}-{digest[:24]}"


def _longest(folder: Path, most: float) -> Pool | None:
    """The finished pool of a folder that was trained furthest, up to so many epochs."""
    found = []
    for index in sorted(folder.glob(f"*/{INDEX}")):
        try:
            pool = Pool.read(index.parent)
        except (DataError, UsageError):
            continue  # damaged, and made anew where it is needed
        if pool.snapshots and _length(pool) <= most:
            found.append(pool)
    return max(found, key=_length, default=None)


def _length(pool: Pool) -> float:
    return max(one.epoch for one in pool.snapshots)
