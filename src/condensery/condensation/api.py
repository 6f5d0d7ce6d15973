"""Condensing in one call, for programs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from condensery.config.build import Choices
from condensery.config.schema import RunConfig
from condensery.data import Data, load
from condensery.data.axes import Layout
from condensery.data.ranges import RangeLike
from condensery.errors import UsageError
from condensery.runtime.distributed import ALONE
from condensery.runtime.plan import Plan
from condensery.sets.condensed import CondensedSet
from condensery.utils.progress import Progress
from condensery.utils.python_words import python_words
from condensery.utils.renamed import old_names
from condensery.utils.signals import Interrupted

from .before import Before, found_before
from .configure import notes_of, plan_for
from .loop import Condenser
from .recorder import TimeUp
from .run_folder import RunFolder
from .run_plan import plan_of_run
from .runner import carry_out

_LOG = logging.getLogger(__name__)

#: Called after every outer iteration.
AfterIteration = Callable[[Condenser], None]

#: Words that people use for an argument, and what it is called.
_KNOWN_AS = {
    "method": "recipe",
    "images_per_class": "ipc",
    "steps": "iterations",
    "epochs": "iterations",
    "lr": "overrides={'optimizer.rate': ...}",
    "learning_rate": "overrides={'optimizer.rate': ...}",
    "model": "overrides={'supply.net': ...}",
    "network": "overrides={'supply.net': ...}",
    "output": "out",
    "verbose": "progress",
}


@python_words
def condense(
    data: Any = "digits",
    recipe: str | Mapping[str, Any] = "dm",
    *,
    ipc: int | None = None,
    iterations: int | None = None,
    until: Literal["iterations", "converged"] | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    sample_rate: int | None = None,
    flip: bool | None = None,
    layout: Layout | None = None,
    value_range: RangeLike | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    overrides: Mapping[str, Any] | None = None,
    trust_imports: bool = False,
    after_iteration: AfterIteration | None = None,
    **renamed: Any,
) -> CondensedSet:
    """Condense a labelled data set.

    Args:
        data: anything that :func:`condensery.load` takes.
        recipe: a recipe's name, file or content.
        ipc: budget, full-size images' worth of stored numbers per class.
        iterations: outer iterations; fewer than the recipe's truncate it, 0 gives its start.
        until: ``converged`` stops early once the loss has stopped falling.
        minutes: time after which the run ends with the set as it is then; with ``out``, over all
            its parts. Recipes with a ``budget``, such as ``best``, are fitted to it first.
        seed: random seed.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        sample_rate: what to resample recordings to.
        flip: whether augmentation may flip images horizontally.
        layout: order of the axes of arrays with four, where it cannot be told.
        value_range: black and white of floating arrays, as :func:`condensery.load` takes them.
        out: a run folder, as the command writes it: checkpoints, metrics, picture and set.
        resume: whether the run that ``out`` holds is continued, or given as it is if it is
            finished; otherwise it is an error to find one.
        plan: ``auto``, ``exact``, a YAML file, or a :class:`condensery.runtime.Plan`.
        device: torch device; the first GPU, or the CPU, by default.
        threads: CPU threads.
        progress: show a bar.
        overrides: any other field of the recipe, dotted: ``{"optimizer.rate": 0.1}``. The pixel
            rate ``"auto"`` is found by short trials on held-out training images.
        trust_imports: whether a recipe file may name code to import; its content, given as a
            mapping, always may.
        after_iteration: called with the :class:`Condenser` after every outer iteration.
        **renamed: the old name ``rate`` of ``sample_rate``, which warns.

    Returns:
        The condensed set.

    Raises:
        UsageError: for a field or value that does not exist, or an ``out`` that holds another run.
        DataError: for data that cannot be used.

    >>> from condensery import condense
    >>> condense("digits", "dm", ipc=1, iterations=2)
    CondensedSet(10 images of 1×8×8, 1 per class in 10 classes, by dm from digits)
    """
    old = old_names("condense", renamed, {"rate": "sample_rate"}, _KNOWN_AS)
    rate = old.get("sample_rate", sample_rate)
    if minutes is not None and not 0 < minutes < float("inf"):
        raise UsageError(f"minutes must be positive, got {minutes:g}")
    how: dict[str, Any] = {"layout": layout, "value_range": value_range}
    loaded = load(data, size=size, channels=channels, sample_rate=rate, flip=flip, **how)
    named: dict[str, Any] = {"size": size, "channels": channels, "flip": flip, "ipc": ipc}
    named["sample_rate"] = rate
    named |= {"iterations": iterations, "until": until, "seed": seed}
    given = {name: value for name, value in named.items() if value is not None}
    typed, place = {**given, **(overrides or {})}, None if out is None else Path(out)
    where = {"plan": plan, "device": device, "threads": threads}

    before = found_before(
        loaded,
        recipe,
        typed,
        place,
        minutes,
        where,
        trust_imports=trust_imports,
        quiet=not progress,
    )
    for note in notes_of(before.found.choices, before.found.config.ipc):
        _LOG.warning("%s", note)
    work = _Work(loaded, before, progress, after_iteration)
    return work.in_memory(where) if place is None else work.in_folder(place, where, resume)


@dataclass(frozen=True)
class _Work:
    """What is condensed, and how it is watched."""

    data: Data
    before: Before
    """Its configuration, and the time it has."""
    progress: bool
    after: AfterIteration | None

    @property
    def config(self) -> RunConfig:
        """What is run."""
        return self.before.found.config

    @property
    def choices(self) -> Choices:
        """What carries it out."""
        return self.before.found.choices

    def in_memory(self, where: Mapping[str, Any]) -> CondensedSet:
        """A run that leaves nothing behind but its set."""
        minutes, limit = self.before.minutes, self.before.limit
        chosen = plan_for(self.data, self.config, **where, choices=self.choices, minutes=limit)
        run = Condenser(self.data, self.config, chosen, choices=self.choices)
        end = None if minutes is None else time.monotonic() + 60 * minutes
        total, quiet = self.config.iterations, not self.progress
        with Progress(total, "iterations", quiet=quiet, minutes=minutes) as bar:

            def after_step(run: Condenser) -> None:
                if run.step_in_iteration:
                    bar.within(f"step {run.step_in_iteration}")
                else:
                    bar.advance()
                if end is not None and time.monotonic() >= end and not run.finished:
                    raise TimeUp

            try:
                return run.run(after_iteration=self.after, after_step=after_step)
            except TimeUp:
                return run.result()

    def in_folder(self, place: Path, where: Mapping[str, Any], resume: bool) -> CondensedSet:
        """A run in its folder, from the start or from where it was stopped."""
        folder = RunFolder(place)
        status = folder.status(self.config)
        if status != "new":
            folder.check_data(self.data)
            if not resume:
                raise UsageError(
                    f"out={place} holds this run already; pass resume=True, or remove it"
                )
        before, taken = self.before, self.before.seconds
        minutes = before.minutes
        if status != "new":
            minutes, taken = folder.left(minutes), folder.seconds_before
        spent = float(folder.facts().get("seconds", 0.0))
        over = minutes is not None and spent >= 60 * minutes
        if status == "finished" or (status == "timed" and over):
            return CondensedSet.load(place)
        how: dict[str, Any] = {"changes": {}, "choices": self.choices, "ranks": ALONE, **where}
        how["minutes"] = before.limit
        plan = plan_of_run(self.data, self.config, folder, status=status, number=0, **how)
        try:
            return carry_out(
                self.data,
                self.config,
                plan,
                folder,
                quiet=not self.progress,
                minutes=minutes,
                facts={
                    "set": 0,
                    "sets": 1,
                    "asked_threads": where["threads"],
                    "rate_trials": before.trials and before.trials.as_dict(),
                    "seconds_before": taken,
                    "source_file_bytes": self.data.file_bytes,
                },
                after_iteration=self.after,
                warn=_LOG.warning,
            )
        except Interrupted as stop:
            raise KeyboardInterrupt(f"{place} is kept; the same call continues it") from stop
