"""A pixel rate for the data at hand: short trials, told apart by held-out training images."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from condensery import nets
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import DivergedError, UsageError
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import fork_rng
from condensery.sets.condensed import CondensedSet
from condensery.training.protocol import protocol_for
from condensery.training.timing import pass_seconds
from condensery.training.trainer import Course, Split, Tensors, Trainer
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, stop_requests
from condensery.utils.text import plural, time_text

from .dry_run import dry_run, eager
from .loop import Condenser
from .trial_data import held_apart, trial_net

#: The field, and the word that asks for trials.
RATE, AUTO = "optimizer.rate", "auto"
#: Share of a time limit that trials may take.
SHARE_OF_TIME = 0.25
#: Rates are this factor apart: two of them make ten.
_STEP = 10**0.5
#: How far the first trials lie from the recipe's rate, in such factors, and how many more may
#: follow beyond an end that is the best.
_FIRST, _FURTHER = (-2, -1, 0, 1, 2), 2
#: Share of the run's iterations that a trial has, and pixel steps that it has at least.
_SHARE, _LEAST_STEPS = 0.04, 20
#: Networks that score a trial, their training steps, and the images of each.
_NETS, _STEPS, _BATCH = 2, 200, 64


@dataclass(frozen=True)
class Trial:
    """A short run at one rate."""

    rate: float
    """The pixel rate."""
    accuracy: float | None
    """Of networks trained on its set, on held-out training images, in percent; None: it diverged"""


@dataclass(frozen=True, kw_only=True)
class RateTrials:
    """What was tried, and what came of it."""

    rate: float
    """The one that is taken."""
    usual: float
    """The recipe's."""
    iterations: int
    """Outer iterations of each trial."""
    held_out: int
    """Training images that trials were told apart by."""
    net: str
    """The network that was trained on their sets."""
    trials: tuple[Trial, ...]
    """In the order of their rates."""
    seconds: float
    """What they took."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``run.json``."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """One line: every rate and its accuracy.

        >>> tried = (Trial(0.1, 61.5), Trial(1.0, None))
        >>> how = {"iterations": 9, "held_out": 50, "net": "mlp", "seconds": 1.0}
        >>> RateTrials(rate=0.1, usual=1.0, trials=tried, **how).text()
        'rate: 0.1 is taken; the recipe has 1 (0.1: 61.5 %, 1: diverged)'
        """
        each = [
            f"{one.rate:g}: " + ("diverged" if one.accuracy is None else f"{one.accuracy:.1f} %")
            for one in self.trials
        ]
        return f"rate: {self.rate:g} is taken; the recipe has {self.usual:g} ({', '.join(each)})"


def wants_trials(given: Mapping[str, Any]) -> bool:
    """Whether a rate is to be found by trials.

    >>> wants_trials({"optimizer.rate": "auto"}), wants_trials({"optimizer.rate": 1.0})
    (True, False)
    """
    return bool(given.get(RATE) == AUTO)


def without_rate(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields without a rate that is to be found."""
    return {name: value for name, value in given.items() if name != RATE or value != AUTO}


def try_rates(
    data: Data,
    config: RunConfig,
    plan: Plan,
    *,
    seconds: float | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> RateTrials:
    """Short runs at rates around the recipe's, and the one whose set teaches networks most.

    A part of each class is held out; trials condense the rest, and networks that were trained on
    their sets are tested on that part. Nothing here looks at the test split. All draws follow from
    the configuration's seed, so the same call gives the same rate.

    Args:
        data: what is condensed.
        config: of the run, with the recipe's rate.
        plan: of the run; trials do not compile.
        seconds: that trials may take; no limit by default.
        quiet: show no progress.
        say: called with the estimate, and with what was found.

    Raises:
        UsageError: for a run without iterations, or too little time.
        DataError: for a class that leaves nothing to hold out.
        DivergedError: when every trial diverges.
        Interrupted: when a signal asked to stop.
    """
    if config.iterations < 1:
        raise UsageError("--optimizer.rate auto needs iterations to try; give some, or a number")
    began = time.monotonic()
    work = _Work(data, config, eager(plan))
    count, expected = work.fitted(seconds)
    say(
        f"rate: {len(_FIRST)} to {len(_FIRST) + _FURTHER} trials of "
        f"{plural(count, 'iteration')}, told apart by {_NETS} networks each ({work.net}) on "
        f"{len(work.held)} held-out training images; about {time_text(expected)}"
    )
    with stop_requests() as stops:
        trials = work.all(count, stops, quiet)
    found = RateTrials(
        rate=chosen(trials, config.optimizer.rate, len(work.held)),
        usual=config.optimizer.rate,
        iterations=count,
        held_out=len(work.held),
        net=work.net,
        trials=tuple(sorted(trials, key=lambda one: one.rate)),
        seconds=time.monotonic() - began,
    )
    say(found.text())
    return found


def chosen(trials: list[Trial], usual: float, images: int) -> float:
    """Of the rates within a standard error of the best, the one nearest to the recipe's.

    Args:
        trials: at least one that did not diverge.
        usual: the recipe's rate.
        images: that accuracies were measured on.

    Raises:
        DivergedError: when there is none.
    """
    known = [(one.rate, one.accuracy) for one in trials if one.accuracy is not None]
    if not known:
        tried = ", ".join(f"{one.rate:g}" for one in trials)
        raise DivergedError(
            f"every trial of --optimizer.rate auto produced NaN or inf ({tried}); give a smaller "
            "number"
        )
    best = max(accuracy for _, accuracy in known)
    error = math.sqrt(best * (100 - best) / images)
    good = [rate for rate, accuracy in known if accuracy >= best - error]
    return min(good, key=lambda rate: (round(abs(math.log(rate / usual)), 6), rate))


class _Work:
    """The trials of one configuration: the data in two parts, and what scores a set."""

    def __init__(self, data: Data, config: RunConfig, plan: Plan) -> None:
        self.config, self.plan = config, plan
        self.data = held_apart(data, config)
        self.net = trial_net(data, config)
        device = torch.device(plan.device)
        self.held = Split(self.data.test.to(device), plan.torch_dtype)
        how = protocol_for(f"dsa+batch={_BATCH}", self.data, self.net, config.ipc)
        train = self.data.train
        self.trainer = Trainer(
            how,
            plan,
            flip=data.flip if config.flip is None else config.flip,
            seed=config.seed,
            purpose="rate-trial",
            mean=train.mean,
            std=train.std,
        )

    def fitted(self, seconds: float | None) -> tuple[int, float]:
        """Outer iterations of a trial, and about how long all of the first ones take."""
        one = dry_run(self.data, self.config, self.plan)
        each = one.steps * one.step_seconds + one.network_seconds
        images = min(_BATCH, one.decoded_images)
        where = (self.plan.device, self.plan.threads)
        train = self.data.train
        a_step = pass_seconds(self.net, train.shape, train.classes, images, *where)
        score = _NETS * _STEPS * a_step
        least = math.ceil(_LEAST_STEPS / one.steps)
        count = min(self.config.iterations, max(least, round(_SHARE * self.config.iterations)))
        if seconds is not None:
            fits = int((seconds / (len(_FIRST) + _FURTHER) - score) / max(each, 1e-9))
            if fits < min(least, count):
                raise UsageError(
                    f"--minutes is too short for --optimizer.rate auto: a trial of {least} "
                    f"iterations takes {time_text(score + least * each)} here, and there are "
                    f"{len(_FIRST)} or more in a quarter of the time; give more, or a number"
                )
            count = min(count, fits)
        return count, len(_FIRST) * (count * each + score)

    def all(self, count: int, stops: list[int], quiet: bool) -> list[Trial]:
        """The first trials, and further ones where the best lies at an end."""
        done: dict[int, Trial] = {}
        with Progress(len(_FIRST), "trials", quiet=quiet) as progress:

            def go(place: int) -> None:
                rate = float(f"{self.config.optimizer.rate * _STEP**place:.3g}")
                progress.within(f"rate {rate:g}")
                done[place] = Trial(rate, self._accuracy(rate, count, stops))
                reached = done[place].accuracy
                shown = "diverged" if reached is None else f"{reached:.1f} %"
                progress.advance(f"rate {rate:g}: {shown}")

            for place in _FIRST:
                go(place)
            for _ in range(_FURTHER):
                best = max(done, key=lambda place: (done[place].accuracy or -1.0, -abs(place)))
                if best not in (min(done), max(done)) or done[best].accuracy is None:
                    break
                progress.total += 1
                go(best + (1 if best > 0 else -1))
        return list(done.values())

    def _accuracy(self, rate: float, count: int, stops: list[int]) -> float | None:
        falls = None if self.config.optimizer.falls_until is None else count
        optimizer = dataclasses.replace(self.config.optimizer, rate=rate, falls_until=falls)
        config = dataclasses.replace(
            self.config, iterations=count, until="iterations", optimizer=optimizer
        )

        def after_step(run: Condenser) -> None:
            if stops:
                raise Interrupted(stops[0])

        try:
            made = Condenser(self.data, config, self.plan).run(after_step=after_step)
        except DivergedError:
            return None
        return self._score(made)

    def _score(self, made: CondensedSet) -> float:
        """Mean accuracy on the held-out part of networks that were trained on a set, in percent."""
        device, dtype = torch.device(self.plan.device), self.plan.torch_dtype
        images = Tensors(made.images.to(device, dtype), made.labels.to(device))
        train, shares = self.data.train, []
        for index in range(_NETS):
            with fork_rng(self.config.seed, "rate-trial-network", index):
                network = nets.build(self.net, train.shape, train.classes)
            with self.plan.applied():
                network = network.to(device=device, dtype=dtype)
                trained = self.trainer.train(network, images, index, steps=_STEPS)
                shares.append(Course(self.trainer, trained).accuracy(self.held))
        return round(100 * sum(shares) / _NETS, 4)
