"""The configuration of a run whose pixel rate may be left to trials."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from condensery.config.build import make
from condensery.config.recipes import flattened, read_config
from condensery.config.resolve import Resolved
from condensery.data import Data
from condensery.runtime.plan import Plan
from condensery.utils.signals import Interrupted

from .configure import plan_for
from .rate_trials import RATE, SHARE_OF_TIME, RateTrials, try_rates, wants_trials, without_rate

_LOG = logging.getLogger(__name__)


def rate_found(
    data: Data,
    given: Mapping[str, Any],
    out: Path | None,
    minutes: float | None,
    resolve: Callable[[Mapping[str, Any]], Resolved],
    where: Mapping[str, Any],
    *,
    quiet: bool = True,
) -> tuple[Resolved, RateTrials | None]:
    """A recipe resolved, after trials where its rate is ``auto``.

    A run that was begun before keeps its rate: its folder has it.

    Args:
        data: what is condensed.
        given: fields on top of the recipe.
        out: the run folder, if it gets one.
        minutes: time limit of the run, of which trials take a quarter at most.
        resolve: the recipe with some fields on top.
        where: ``plan``, ``device`` and ``threads``.
        quiet: show no progress.
    """
    given = dict(flattened(given))
    if not wants_trials(given):
        return resolve(given), None
    fields = without_rate(given)
    if out is not None and (out / "recipe.yaml").is_file():
        rate = read_config(out).get("optimizer", {}).get("rate")
        return resolve({**fields, RATE: rate}), None
    found = resolve(fields)
    left = None if minutes is None else 60 * minutes
    try:
        trials = tried(data, found, where, left=left, quiet=quiet, say=_LOG.info)
    except Interrupted as stop:
        raise KeyboardInterrupt from stop
    return resolve({**fields, RATE: trials.rate}), trials


def tried(
    data: Data,
    found: Resolved,
    where: Mapping[str, Any],
    *,
    left: float | None,
    say: Callable[..., None],
    planned: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> RateTrials:
    """The trials of a run.

    Args:
        data: what is condensed.
        found: its configuration, with the recipe's rate.
        where: ``plan``, ``device`` and ``threads``.
        left: seconds that the run has, of which trials take a quarter at most; None without limit.
        say: told what comes of them.
        planned: fields on top of the plan.
        quiet: show no progress.
    """
    plan = plan_for(data, found.config, **where, choices=found.choices)
    if planned:
        plan = make(Plan, {**plan.as_dict(), **planned}, "plan")
    seconds = None if left is None else SHARE_OF_TIME * left
    return try_rates(data, found.config, plan, seconds=seconds, quiet=quiet, say=say)
