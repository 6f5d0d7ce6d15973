"""A pool that fits into some seconds: trained to a fitting epoch, or found in the cache."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.plan import Plan, choose_plan, passes_in
from condensery.utils.locks import InUseError, wait_until_free
from condensery.utils.text import time_text

from .cached import cache_of, check_writable, clear_damaged, length_of, longest
from .knowledge import known_of
from .networks import divide
from .store import Pool, PoolSettings
from .timing import seconds_per_epoch
from .train import pool_settings, train_pool

#: Epochs at which a network may be kept, or its training end: the early ones change it most.
_EPOCHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
#: Images that are held out to tell accuracies, of all classes together.
_HELD_OUT = 1000
#: The share of the epochs after which it is asked whether images are known already, and the fewest.
_FIRST, _FIRST_EPOCHS = 0.1, 0.1
#: What accuracies, files and a slower machine may take beside the steps.
_ROOM = 0.85
#: A pool that was kept is taken where it is this much of what there is time for.
_ENOUGH = 0.8
#: Seconds that another command's training of the same pool is waited for at least.
_WAITS = 60.0


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
    early_steps: int
    """Steps after which some are kept even so; 0: by the share alone."""
    least_epochs: float
    """Fewer are no use."""
    most_epochs: float
    """More are not needed, once it took ``least_steps``."""
    least_steps: int
    """On few images a network is trained for more epochs, until it took that many."""
    whole: bool = False
    """Whether a shorter training than that is no use."""
    enough: float
    """What is known of held-out images (:func:`known_of`) beyond which a short training tells
    enough."""
    seed: int
    """Random seed."""


def training_in_time(
    data: Data,
    wanted: Wanted,
    seconds: float,
    *,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> PoolTraining:
    """The training of a pool of one network that takes about this long; nothing is trained yet.

    Args:
        data: what to train on; its test split is not used.
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
    most = max(wanted.most_epochs, math.ceil(wanted.least_steps / _steps(data, settings)))
    least = most if wanted.whole else wanted.least_epochs
    wanted = dataclasses.replace(wanted, most_epochs=most, least_epochs=least)
    chosen = _plan(data, settings, most, seconds, plan, device, threads)
    return PoolTraining(
        data=data,
        wanted=wanted,
        settings=settings,
        plan=chosen,
        folder=cache_of(data, settings, (wanted.early, wanted.early_steps), chosen),
        ends=began + seconds,
        quiet=quiet,
        say=say,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolTraining:
    """What it takes to train a pool until some moment, or to find one; :func:`training_in_time`."""

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
        return seconds_per_epoch(self.data, self.settings, self.plan, self.ends - monotonic())

    def pool(self) -> Pool | None:
        """The pool that is ready in time; None for too little time.

        Pools are kept in the user's cache, by data, network and settings. One that was trained
        about as far as there is time for, or further, is taken as it is, but none beyond
        ``wanted.most_epochs``.

        A short training comes first where it may tell enough: where a network trained for a tenth
        of the time knows more than ``wanted.enough``, its pool is given, and none is trained
        further.
        """
        kept = longest(self.folder, self.wanted.most_epochs)
        if kept is not None and (length_of(kept) >= self.wanted.most_epochs or self.tells(kept)):
            self.say(
                f"networks: the pool {kept.path} was trained before, and is all that is needed"
            )
            return kept
        if kept is not None and length_of(kept) < self.wanted.least_epochs:
            kept = None  # it was only asked whether the data are easy
        epochs, marks = self.affordable()
        if kept is not None and (not marks or length_of(kept) >= _ENOUGH * marks[-1]):
            self.say(
                f"networks: the pool {kept.path} was trained before, to epoch {length_of(kept):g}"
            )
            return kept
        first = max(_FIRST_EPOCHS, _FIRST * epochs)
        # What a short training takes beside its steps is left as much time again.
        pays = kept is None and epochs - 2 * first >= self.wanted.least_epochs
        if self.wanted.enough < 100 and pays and (short := self.marks(first)):
            pool = self.trained(short)
            if pool is None or self.tells(pool):
                return pool
            epochs, marks = self.affordable()
        if epochs >= self.wanted.least_epochs and marks:
            return self.trained(marks)
        left = time_text(max(self.ends - monotonic(), 0))
        needed = f"{self.wanted.least_epochs:g} epochs, of {time_text(self.each)} each"
        what = f"to find out whether the data are easy, which takes {needed}"
        usual = f"for a pool; an epoch takes {time_text(self.each)}"
        self.say(f"networks: {left} are too short {what if self.wanted.whole else usual}")
        return None

    def tells(self, pool: Pool) -> bool:
        """Whether a pool knows so much that no more training is needed."""
        return known_of(pool, self.data) > self.wanted.enough

    def affordable(self) -> tuple[float, list[float]]:
        """The epochs there is time for, and when weights are kept up to them."""
        each = self.each  # measured before the clock is read
        epochs = min(self.wanted.most_epochs, _ROOM * (self.ends - monotonic()) / each)
        return epochs, self.marks(epochs)

    def marks(self, epochs: float) -> list[float]:
        """When weights are kept up to an epoch."""
        return _marks(self.data, self.settings, epochs, self.wanted)

    def trained(self, marks: list[float]) -> Pool | None:
        """A pool of one network up to the last of some marks; None where waiting took the time."""
        try:
            return self.train(marks)
        except InUseError as busy:
            out = self.place(marks)
            self.say(f"networks: another command is training the same pool, {out}; waiting for it")
            if not wait_until_free(out, max(_WAITS, self.ends - monotonic())):
                raise UsageError(
                    f"another command is still training the pool {out} that this one needs; run "
                    "it again when that is done, or give another --seed"
                ) from busy
        ready = longest(self.folder, self.wanted.most_epochs)
        if ready is not None and length_of(ready) >= marks[-1]:
            return ready
        epochs, marks = self.affordable()  # the other one was stopped
        return self.train(marks) if marks and epochs >= self.wanted.least_epochs else None

    def place(self, marks: list[float]) -> Path:
        """Where a pool up to the last of some marks lies."""
        return self.folder / f"epochs-{marks[-1]:g}"

    def train(self, marks: list[float]) -> Pool:
        """Train a pool, or find it finished.

        Raises:
            InUseError: when another process is training it.
        """
        check_writable(self.folder)
        last, each = f"{marks[-1]:g}", time_text(self.each)
        self.say(f"networks: an epoch takes {each}, so a pool is trained to epoch {last}")
        settings = dataclasses.replace(self.settings, epochs=math.ceil(marks[-1]), snapshots=marks)
        out = self.place(marks)
        clear_damaged(out)
        return train_pool(
            self.data, settings, 1, out, plan=self.plan, quiet=self.quiet, say=self.say
        )


def _plan(
    data: Data,
    settings: PoolSettings,
    epochs: float,
    seconds: float,
    plan: str | Plan,
    device: str | None,
    threads: int | None,
) -> Plan:
    """The plan of a training that ends with its time, or after some epochs."""
    shape, whole = data.train.shape, 3.0 * len(data.train) * epochs
    images = passes_in(seconds / 60, whole, shape, threads)
    return choose_plan(plan, shape=shape, images=images, device=device, threads=threads)


def _steps(data: Data, settings: PoolSettings) -> int:
    """Of an epoch."""
    return -(-len(divide(data.train, settings.held_out, settings.seed)[0]) // settings.batch)


def _marks(data: Data, settings: PoolSettings, epochs: float, wanted: Wanted) -> list[float]:
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
    early = wanted.early * max(ends, default=0.0)
    if wanted.early_steps:
        early = min(early, wanted.early_steps / steps)
    for at in ends:
        if at >= early:
            out.setdefault(math.ceil(at * steps - 1e-9), at)
    return list(out.values())
