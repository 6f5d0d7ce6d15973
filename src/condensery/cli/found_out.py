"""What ``condensery condense`` finds out before a run: what fits its time, and its pixel rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from condensery.condensation.configure import facts_of
from condensery.condensation.found_rate import tried
from condensery.condensation.in_time import together
from condensery.condensation.rate_trials import (
    AUTO,
    RATE,
    SHARE_OF_TIME,
    RateTrials,
    wants_trials,
    without_rate,
)
from condensery.config.measured import advice
from condensery.config.resolve import Resolved
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.plan import default_device

from .in_minutes import Asked, in_minutes, plans

#: Share of a time that a recipe is fitted to, for what the command does before it reads the clock
#: and after the last iteration.
_ENDS = 0.01


def recipe_for(options: Any, data: Data, ipc: int, say: Callable[..., None]) -> str:
    """The recipe that ``auto`` stands for here; says why, and what its sets are tested by."""
    device = "cuda" if str(options.device or default_device()).startswith("cuda") else "cpu"
    facts = {**facts_of(data, ipc), "device": device, "minutes": options.minutes}
    found = advice(facts)
    say(found.text())
    say(f"  test its sets with --protocol {found.protocol}")
    return found.recipe


@dataclass(frozen=True)
class FoundOut:
    """Fields that were chosen, and what that left of the time."""

    fields: dict[str, Any]
    """All fields on top of the recipe: what the user typed, and what was chosen."""
    trials: RateTrials | None
    """Of the pixel rate, where there were any."""
    minutes: float | None
    """The time limit that is left for each set."""
    seconds: float = 0.0
    """What was taken from it."""
    reserve: float = 0.0
    """Seconds of it that are left for what comes after the last iteration."""
    planned: bool = False
    """Whether the iterations were fitted to it."""


def found_out(asked: Asked) -> FoundOut:
    """Plan for the time, then try rates, as far as the command asks for it.

    Raises:
        UsageError: for rates to be tried by several processes, or in too little time.
    """
    options, limit = asked.options, asked.options.minutes
    wanted = wants_trials(asked.typed)
    if wanted and not asked.ranks.alone:
        raise UsageError(
            f"--{RATE} {AUTO} tries rates in a single process, and torchrun started several; find "
            "the rate without torchrun, and give it as a number"
        )

    in_all = math.inf if limit is None else 60 * limit
    if plans(options, asked.base):
        in_all *= 1 - _ENDS

    def left() -> float:
        return in_all - (time.monotonic() - asked.began)

    given = without_rate(asked.typed)
    chosen = in_minutes(asked, given, left() * (1 - SHARE_OF_TIME if wanted else 1))
    fields = together(chosen, given)
    trials = None
    if wanted:
        trials = _tried(asked, asked.resolve(fields), None if limit is None else left())
        fields |= {} if trials is None else {RATE: trials.rate}
    taken = trials.seconds if trials else 0.0
    if limit is None:
        return FoundOut(fields, trials, None, taken)
    if not plans(options, asked.base):
        return FoundOut(fields, trials, limit - taken / 60, taken)
    reserve = 60 * limit - in_all
    taken = time.monotonic() - asked.began
    minutes = limit - (taken + reserve) / 60
    return FoundOut(fields, trials, minutes, taken, reserve, "iterations" in chosen)


def _tried(asked: Asked, found: Resolved, left: float | None) -> RateTrials | None:
    """The trials of a run that has the recipe's rate; None for a dry run, which tries nothing."""
    options, usual = asked.options, found.config.optimizer.rate
    if found.config.iterations == 0 and options.minutes is not None:  # nothing is learned
        return None
    if options.dry_run:
        asked.say(f"note: rates are tried before the run; this is the recipe's, {usual:g}")
        return None
    where = {"plan": options.plan, "device": options.device, "threads": options.threads}
    return tried(
        asked.data,
        found,
        where,
        left=left,
        say=asked.say,
        planned=asked.planned,
        quiet=options.quiet,
    )
