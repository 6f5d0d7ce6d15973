"""Reports, pictures and checkpoints of a run in progress, and requests to stop it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection
from typing import Any

from condensery.config.schema import RunConfig
from condensery.errors import (
    UsageError,
)
from condensery.runtime.distributed import Ranks
from condensery.runtime.usage import Usage
from condensery.utils.checkpoint import Every
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted

from .divergence import Drift
from .loop import Condenser
from .run_folder import RunFolder
from .stalls import Stalls

#: Parts of a run after which the set is kept and drawn.
_PICTURES = 4

#: About this many lines of metrics per run.
_REPORTS = 200

#: A checkpoint that was not requested at that time may take a fiftieth of a run's time.
_SHARE = 50.0

_REPEATS = (
    "this network's batch norm takes the images of all classes together, so every process repeats "
    "the whole step; adding processes does not speed it up"
)

#: What may fail when something is written.
WRITING = (OSError, UsageError)


class TimeUp(Exception):  # noqa: N818  (not an error)
    """The time limit of a run is reached."""


class Recorder:
    """Called after every pixel step: reports, pictures, checkpoints and requests to stop."""

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        progress: Progress,
        stops: list[int],
        every: Every,
        minutes: float | None,
        keep: Collection[int],
        ranks: Ranks,
        usage: Usage,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.ranks = ranks
        self._warn = warn or (lambda text: progress.say(f"condensery: {text}"))
        held = folder.facts()
        self.folder = folder
        self._usage = usage
        self.progress = progress
        self.stops = stops
        self.every = every
        self.minutes = minutes
        total = config.iterations
        self.began = time.monotonic() - float(held.get("seconds", 0.0))
        self.report_every = max(1, total // _REPORTS)
        self.pictures = {round(total * part / _PICTURES) for part in range(1, _PICTURES)}
        self.pictures |= set(keep)
        self.saved = time.monotonic()
        self.saving = float(held.get("checkpoint_seconds", 0.0))
        self.took = 0.0
        self.last_step: int | None = None
        self.drift = Drift(held.get("loss_at_the_start"))
        self._told: set[str] = set()
        self._stalls: Stalls | None = None

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all its parts."""
        return time.monotonic() - self.began

    def __call__(self, run: Condenser) -> None:
        """What is due after a pixel step.

        Raises:
            Interrupted: when a signal asked to stop.
            TimeUp: when the time limit is reached.
        """
        if run.step_in_iteration == 0:
            self._iteration(run)
        else:
            self.progress.within(f"step {run.step_in_iteration}")
        if run.matcher.repeats and "repeats" not in self._told:
            self._told.add("repeats")
            self.warn(_REPEATS)
        if self._stalls is None:
            self._stalls = Stalls(run.plan.threads if run.plan.device == "cpu" else 1)
        if (notice := self._stalls.step()) is not None:
            self.warn(notice)
        self._usage.look()
        # Clocks and signals differ from rank to rank: what one has seen all of them do.
        here = self.stops[0] if self.stops else 0, int(self._due(run)), int(self._over())
        stop, due, over = self.ranks.all_reduce_max(*here)
        if stop or due:
            self.save(run)
        if stop and not run.finished:
            raise Interrupted(stop)
        if over and not run.finished:
            raise TimeUp

    def over(self) -> bool:
        """Whether the run's minutes have passed, on any rank."""
        return self.ranks.any(self._over())

    def _over(self) -> bool:
        return self.minutes is not None and self.seconds >= 60 * self.minutes

    def _due(self, run: Condenser) -> bool:
        every = self.every
        if every.iterations is not None:
            return run.step_in_iteration == 0 and run.iteration % every.iterations == 0
        if every.steps is not None:
            return run.steps % every.steps == 0
        wait = every.seconds or 0.0
        if not every.asked:
            wait = max(wait, _SHARE * self.took)
        return time.monotonic() - self.saved >= wait

    def _iteration(self, run: Condenser) -> None:
        """Tell about the iterations that are done."""
        note = ""
        if run.iteration % self.report_every == 0 or run.finished:
            report = run.report()
            note = f"loss {report.loss:.4g}"
            line = {**dataclasses.asdict(report), "seconds": round(self.seconds, 3)}
            self._write("the metrics", lambda: self.folder.metrics(line))
            if warning := self.drift.add(report.loss):
                self.warn(warning)
        self.progress.advance(note)
        if run.iteration in self.pictures:
            result = run.result()
            self._write("the set so far", lambda: self.folder.picture(result))

    def save(self, run: Condenser) -> None:
        """Checkpoint.

        Raises:
            DivergedError: when the state is not finite; the last checkpoint stays.
        """
        run.check_finite()
        began = time.monotonic()
        state = run.state()

        def write() -> None:
            if self.folder.writes:
                self.folder.checkpoints.save(state)
            self.last_step = run.steps
            spent = self.saving + time.monotonic() - began
            self.folder.note(
                seconds=self.seconds,
                checkpoint_seconds=round(spent, 3),
                loss_at_the_start=self.drift.start,
                **self._usage.facts(),
                **_traffic(run),
            )

        self._write("a checkpoint", write)
        self.saved = time.monotonic()
        self.took = self.saved - began
        self.saving += self.took

    def _write(self, what: str, action: Callable[[], None]) -> None:
        """Write something that a run can do without for a while; warn once where it cannot be."""
        try:
            action()
        except WRITING as error:
            if what not in self._told:
                self._told.add(what)
                self.warn(f"{what} could not be written ({reason(error)}); the run continues")
        else:
            self._told.discard(what)

    def warn(self, text: str) -> None:
        """A line on standard error, or wherever the caller wants it."""
        if self.ranks.first:
            self._warn(text)


def reason(error: Exception) -> str:
    """Why something could not be written."""
    return getattr(error, "strerror", None) or str(error)


def _traffic(run: Condenser) -> dict[str, Any]:
    """What a rank has received per pixel step since it resumed the run, where several share it."""
    steps = run.steps - run.began_at
    if run.ranks.alone or not steps:
        return {}
    facts: dict[str, Any] = {"traffic_bytes_per_step": round(run.ranks.traffic / steps)}
    return {**facts, "repeated_by_every_rank": True} if run.matcher.repeats else facts
