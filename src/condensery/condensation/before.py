"""What is found out before a run: settings that fit its time, and its pixel rate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from condensery.config.budget import TimeBudget, time_budget
from condensery.config.recipes import OVER, flattened, on_top, read_config, read_recipe
from condensery.config.resolve import Resolved
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import UsageError
from condensery.utils.signals import Interrupted
from condensery.utils.text import plural

from .configure import check_start, facts_of, resolved
from .found_rate import rate_found, tried
from .in_time import fitted, together
from .networks_in_time import Where
from .rate_trials import RATE, SHARE_OF_TIME, RateTrials, wants_trials, without_rate

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Before:
    """A configuration, and what finding it left of the time."""

    found: Resolved
    trials: RateTrials | None
    """Of the pixel rate, where there were any."""
    limit: float | None
    """The time limit for everything, in minutes, by which plans are made."""
    minutes: float | None
    """What is left of it."""
    seconds: float
    """What was taken from it."""


def begun_in(folder: Path, recipe: str, ipc: int) -> Mapping[str, Any] | None:
    """The configuration of the run that a folder holds; None if it holds none.

    Args:
        folder: of the run.
        recipe: that is asked for.
        ipc: budget that is asked for.

    Raises:
        UsageError: when the folder holds a run of another recipe or budget.
    """
    if not (folder / "recipe.yaml").is_file():
        return None
    held = read_config(folder)
    if (held["recipe"], held.get("ipc")) != (recipe, ipc):
        there = f"{held['recipe']}, {plural(int(held.get('ipc', 0)), 'image')} per class"
        raise UsageError(f"--out {folder} holds another run ({there}); choose another --out")
    return held


def found_before(
    data: Data,
    recipe: str | Mapping[str, Any],
    typed: Mapping[str, Any],
    out: Path | None,
    minutes: float | None,
    where: Mapping[str, Any],
    *,
    trust_imports: bool = False,
    quiet: bool = True,
) -> Before:
    """A recipe resolved: fitted to the time if it can be, then with a pixel rate from trials.

    A run that ``out`` holds already keeps what was chosen for it.

    Args:
        data: what is condensed.
        recipe: a recipe's name, file or content.
        typed: fields on top of it.
        out: the run folder, if it gets one.
        minutes: time limit for everything.
        where: ``plan``, ``device`` and ``threads``.
        trust_imports: whether a recipe file may name code to import.
        quiet: show no progress.

    Raises:
        UsageError: for wrong fields, or too little time.
    """
    began = monotonic()
    base: Mapping[str, Any]
    base = on_top(recipe) if isinstance(recipe, Mapping) else read_recipe(recipe)
    source = None if isinstance(recipe, Mapping) else recipe
    given: dict[str, Any] = dict(flattened(typed))
    fits = minutes is not None and time_budget(base) is not None
    if fits and out is not None:
        ipc = given.get("ipc", base.get("ipc", RunConfig.ipc))
        held = begun_in(out, str(base.get(OVER, base).get("recipe")), ipc)
        if held is not None:
            kind = {"supply.kind": held["supply"]["kind"]}
            base, fits, given = held, False, dict(without_rate(together(kind, given)))

    def resolve(fields: Mapping[str, Any]) -> Resolved:
        return resolved(data, base, fields, source=source, trust_imports=trust_imports)

    usual = resolve(without_rate(given))
    check_start(data, usual)
    if minutes is None or not fits:
        found, trials = rate_found(data, given, out, minutes, resolve, where, quiet=quiet)
        taken = trials.seconds if trials else 0.0
    else:
        net = getattr(usual.choices.supply, "net", None)
        budget = time_budget(base, facts_of(data, usual.config.ipc, net))
        assert budget is not None
        how = Where(**where, minutes=minutes, net=net_named(base), quiet=quiet, say=_LOG.info)
        found, trials = _fitted(data, budget, given, resolve, how)
        taken = monotonic() - began
    return Before(found, trials, minutes, None if minutes is None else minutes - taken / 60, taken)


def net_named(base: Mapping[str, Any]) -> str | None:
    """The network that a recipe file names; None where it takes that of the data.

    Args:
        base: the file's content.
    """
    for part in (base.get(OVER, {}), base):
        supply = part.get("supply")
        net = supply.get("net") if isinstance(supply, Mapping) else None
        if net not in (None, "default"):
            return str(net)
    return None


def _fitted(
    data: Data,
    budget: TimeBudget,
    typed: Mapping[str, Any],
    resolve: Callable[[Mapping[str, Any]], Resolved],
    where: Where,
) -> tuple[Resolved, RateTrials | None]:
    """A recipe fitted to the minutes, a part of which trials of rates may take."""
    given, wanted = without_rate(typed), wants_trials(typed)
    assert where.minutes is not None
    began, seconds = monotonic(), 60 * where.minutes
    try:
        share = 1 - SHARE_OF_TIME if wanted else 1
        fields = together(fitted(data, budget, share * seconds, given, resolve, where), given)
        found = resolve(fields)
        if not wanted:
            return found, None
        left = seconds - (monotonic() - began)
        how = {"plan": where.plan, "device": where.device, "threads": where.threads}
        trials = tried(data, found, how, left=left, quiet=where.quiet, say=_LOG.info)
    except Interrupted as stop:
        raise KeyboardInterrupt from stop
    return resolve({**fields, RATE: trials.rate}), trials
