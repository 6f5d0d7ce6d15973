"""What a run will take, from a few of its steps; nothing is written."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, TypeVar

import torch

from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.methods.formation.base import weights_of
from condensery.runtime.plan import Plan
from condensery.runtime.usage import peak_memory

from .loop import Condenser

_T = TypeVar("_T")
#: Seconds of the very first step, of a later one, and of the first through a network.
_Measured: TypeAlias = tuple[float, float, float]
#: Steps that are measured after the first one, fewer where they take long; and where iterations are
#: planned by them, because a machine that others use is slower one second and faster the next.
_STEPS, _PLANNED_BY = 3, 12
#: Seconds after which no further step is started, and their share of a time that is planned for.
_PATIENCE, _SHARE = 4.0, 1 / 30


@dataclass(frozen=True)
class DryRun:
    """Expectations of a run."""

    start_seconds: float
    """The first step, with what was compiled for it."""
    step_seconds: float
    """A pixel step, with what its network learns after it."""
    network_seconds: float
    """What the first step through a network takes beyond that, such as pre-training."""
    steps: int
    """Pixel steps per outer iteration, as estimated by the supply."""
    seconds: float
    """The whole run."""
    memory_bytes: int
    """The largest so far, of the process; on a GPU of what torch holds there."""
    stored_bytes: int
    """Size of the result."""
    decoded_images: int
    """Training images that the result makes."""
    measured_classes: int | None = None
    """How many classes were matched, where the time of a step was told from a part of them."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def eager(plan: Plan) -> Plan:
    """A plan without compiling, for work of a few steps."""
    if not plan.compile:
        return plan
    how: dict[str, Any] = {"compile": False, "channels_last": False, "together": False}
    return dataclasses.replace(plan, **how, update_dtype=plan.dtype)


def dry_run(data: Data, config: RunConfig, plan: Plan, *, planned: float | None = None) -> DryRun:
    """Do a few steps of a run and measure them, without compiling, which may take a minute.

    A run whose plan compiles is faster once it has: its time is an upper bound.

    Args:
        data: what would be condensed.
        config: of the run.
        plan: of the run.
        planned: seconds that a run which follows in this process is to be fitted to. It compiles
            as the plan says, and a thirtieth of them may be spent on more steps.
    """
    if planned is None:
        plan = eager(plan)
    run = Condenser(data, config, plan)
    part: _Measured | None = None
    learned = weights_of(run.formation)
    made = run.formation.decoded(run.stored.shape[1])
    expected = run.supply.effort(run.task.classes * made)[0]
    steps = max(1, round(expected))
    first = later = fresh = 0.0
    if config.iterations:
        with plan.applied():
            # A class alone would be compiled for itself, beside all of them.
            part = None if plan.compile else _by_a_class(run, steps)
            found = _measured(run, steps, plan.compile, planned) if part is None else part
            first, later, fresh = found
    a_network = max(0.0, fresh - later)
    iterations = config.iterations
    return DryRun(
        start_seconds=first,
        step_seconds=later,
        network_seconds=a_network,
        steps=steps,
        seconds=max(0.0, first - fresh) + iterations * (steps * later + a_network),
        memory_bytes=peak_memory(plan.device),
        stored_bytes=4 * (run.stored.numel() + sum(w.numel() for w in learned.values())),
        decoded_images=run.task.classes * made,
        measured_classes=None if part is None else 1,
    )


def _by_a_class(run: Condenser, steps: int) -> _Measured | None:
    """What :func:`_measured` gives, by one class where all of them take long.

    None where they do not, or where classes are not matched one by one.
    """
    network, supplied = _seconds(run, lambda: run.supply.new(run.iteration))
    if not run.matcher.divides(network):
        return None
    counts, count = run.train.counts, run.task.classes
    middle = sorted(range(count), key=lambda c: counts[c])[count // 2]
    matcher = run.matcher.of_classes(range(middle, middle + 1))
    stored = run.stored.detach()[middle : middle + 1]

    def match() -> object:
        return matcher.gradient(network, stored, run.iteration, run.step_in_iteration, run.steps)

    if count * _seconds(run, match)[1] <= _PATIENCE:
        return None
    matched = count * _seconds(run, match)[1]  # without what the first one sets up
    context = run.context()
    learned = _seconds(run, lambda: run.supply.prepare(network, context))[1]
    made_ready = _seconds(run, lambda: run.supply.prepare(network, context))[1]
    advanced = _seconds(run, lambda: run.supply.advance(network, context))[1]
    later = matched + made_ready + (advanced if steps > 1 else 0.0)
    fresh = later + supplied + max(0.0, learned - made_ready)
    return fresh, later, fresh


def _measured(run: Condenser, steps: int, compiles: bool, planned: float | None) -> _Measured:
    """Seconds of the very first step, of a later one, and of the first through a network."""
    first = _timed(run)
    if planned is not None and first > planned:  # there is no time for another
        return first, first, first
    # What else there is to learn would take as long again. On a GPU the first step is slow because
    # kernels are loaded and calls recorded, as it is where it compiles: it says nothing of others.
    if first > _PATIENCE and not compiles and run.task.device.type == "cpu":
        return first, first, first
    took: list[float] = []
    most, patience = _STEPS, _PATIENCE
    if planned is not None:
        most, patience = _PLANNED_BY, max(patience, planned * _SHARE)
    while len(took) < most and (not took or sum(took) < patience):
        if run.step_in_iteration == 0 and steps > 1:
            break
        took.append(_timed(run))
    if steps == 1 or not took:
        later = statistics.median(took) if took else first
        return first, later, later
    run.leave_network()
    return first, statistics.median(took), _timed(run)


def _timed(run: Condenser) -> float:
    return _seconds(run, run.step)[1]


def _seconds(run: Condenser, action: Callable[[], _T]) -> tuple[_T, float]:
    """What an action returns, and how long it takes on the run's device."""
    began = time.perf_counter()
    made = action()
    if run.task.device.type == "cuda":
        torch.cuda.synchronize(run.task.device)
    return made, time.perf_counter() - began
