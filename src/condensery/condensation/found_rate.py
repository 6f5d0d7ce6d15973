"""The configuration of a run whose pixel rate may be left to trials."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from condensery.config.recipes import flattened, read_config
from condensery.config.resolve import Resolved
from condensery.data import Data
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
    plan = plan_for(data, found.config, **where, choices=found.choices)
    seconds = None if minutes is None else SHARE_OF_TIME * 60 * minutes
    try:
        trials = try_rates(data, found.config, plan, seconds=seconds, quiet=quiet, say=_LOG.info)
    except Interrupted as stop:
        raise KeyboardInterrupt from stop
    return resolve({**fields, RATE: trials.rate}), trials
