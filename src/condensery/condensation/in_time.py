"""A recipe fitted to a limit of time: its networks, and how many iterations there are."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from condensery.config.budget import TimeBudget
from condensery.config.build import Choices, make
from condensery.config.resolve import Resolved
from condensery.data import Data
from condensery.errors import UsageError
from condensery.methods.pools.in_time import Wanted, accuracy_of, pool_in_time
from condensery.methods.pools.store import Pool
from condensery.runtime.plan import Plan, default_device
from condensery.utils.text import time_text

from .configure import plan_for
from .dry_run import dry_run

#: Of the time that is left, what steps are planned for. The rate has almost fallen where a run that
#: turns out slower is cut off, so little room is needed.
_ROOM = 0.95


@dataclass(frozen=True, kw_only=True)
class Where:
    """What the planning needs to know of how a run is carried out."""

    plan: str | Plan = "auto"
    device: str | None = None
    threads: int | None = None
    minutes: float | None = None
    """Time limit of the run, by which its plan is made, too."""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the plan that were given by themselves."""
    quiet: bool = True
    say: Callable[[str], None] = lambda text: None


def fitted(
    data: Data,
    budget: TimeBudget,
    seconds: float,
    given: Mapping[str, Any],
    resolve: Callable[[Mapping[str, Any]], Resolved],
    where: Where,
) -> dict[str, Any]:
    """Fields that fit a recipe to a time, to stand below what the user gave.

    First tiles are chosen that keep enough of the images, and a pool of networks is trained, or
    found in the cache; then a few steps are measured, and as many iterations planned as fit, with
    the pixel rate falling to their end. Batches are larger where more fit than are enough.

    Args:
        data: what is condensed; its test split is not used.
        budget: what the recipe does with time.
        seconds: that there are in all.
        given: fields that the user gave, dotted; they are not chosen here.
        resolve: the recipe with some fields on top.
        where: how it is carried out.

    Raises:
        UsageError: when the time is over before the first iteration.
    """
    began = monotonic()
    choices = resolve(given).choices
    resolve(together(_suiting(budget.easy, given, choices), given))  # what is wrong is found now
    out = {} if "formation.factor" in given else _tiles(data, budget, choices.formation, where)
    out |= _networks(data, budget, seconds, given, choices, where)
    if "iterations" not in given:
        ends = began + seconds
        fields = together(out, given)
        count = _fitting(data, fields, ends - monotonic(), resolve, where)
        larger = _batches(budget, count, resolve(fields), fields)
        if larger:
            where.say(
                f"batches: {count} iterations would fit, and {budget.enough_iterations} are "
                "enough, so every step takes more images"
            )
            out |= larger
            count = _fitting(data, together(out, given), ends - monotonic(), resolve, where)
        out["iterations"] = count
        where.say(
            f"time: {time_text(monotonic() - began)} for networks and measuring; "
            f"{out['iterations']} iterations are planned for the rest"
        )
    if "optimizer.falls_until" not in given:
        out["optimizer.falls_until"] = max(1, given.get("iterations", out.get("iterations", 1)))
    return out


def together(chosen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen with what the user gave on top.

    A network that the user named is that of the pool, and no setting of a supply that has one.
    """
    out = {**chosen, **given}
    if chosen.get("supply.kind") == "pool":
        out.pop("supply.net", None)
    return out


def _tiles(data: Data, budget: TimeBudget, formation: Any, where: Where) -> dict[str, Any]:
    """Fewer tiles to an image than the recipe has, where they would keep too little of images."""
    if not budget.detail or not hasattr(formation, "kept"):
        return {}
    for factor in range(formation.factor, 1, -1):
        kept = dataclasses.replace(formation, factor=factor).kept(data.train)
        where.say(f"tiles: a factor of {factor} keeps {kept:.1%} of the images' variance")
        if kept >= budget.detail:
            return {"formation.factor": factor} if factor < formation.factor else {}
    return {"formation.factor": 1} if formation.factor > 1 else {}


def _networks(
    data: Data,
    budget: TimeBudget,
    seconds: float,
    given: Mapping[str, Any],
    choices: Choices,
    where: Where,
) -> dict[str, Any]:
    """The supply: a pool where there is time for one, and fresh networks otherwise.

    Networks that know nothing cannot tell classes, so fresh ones come without the class term.
    """
    if any(name.startswith("supply.") and name != "supply.net" for name in given):
        return {}  # the user's own
    net = given.get("supply.net") or _narrowed(data.net, budget.width, where)
    pool = _pool(data, budget, seconds, net, given.get("seed", 0), where)
    fresh = {"supply.kind": "fresh", "supply.net": net}
    if pool is None:
        return fresh | _suiting({"objective.classification": 0.0}, given, choices)
    out = {"supply.kind": "pool", "supply.path": str(pool.path), "supply.ahead": budget.ahead}
    known = accuracy_of(pool)
    if known <= budget.known:
        return out
    where.say(f"networks: {known:.1f} % of held-out images are right, so the data are easy")
    easy = _suiting(budget.easy, given, choices)
    if easy.get("supply.kind", "pool") == "pool":
        return out | easy
    return {"supply.net": net} | easy


def _pool(
    data: Data, budget: TimeBudget, seconds: float, net: str, seed: int, where: Where
) -> Pool | None:
    """The pool of the budget, or the short one that was trained for easy data."""
    if not budget.pool:
        return None
    unneeded = budget.easy.get("supply.kind", "pool") != "pool"
    wanted = Wanted(
        net=net,
        rate=budget.rate,
        batch=budget.batch,
        schedule=budget.schedule,
        average=budget.average,
        early=budget.early,
        least_epochs=budget.least_epochs,
        most_epochs=budget.most_epochs,
        least_steps=budget.least_steps,
        enough=budget.known if unneeded else 100.0,
        seed=seed,
    )
    return pool_in_time(
        data,
        wanted,
        budget.pool * seconds,
        plan=where.plan,
        device=where.device,
        threads=where.threads,
        quiet=where.quiet,
        say=where.say,
    )


def _suiting(
    fields: Mapping[str, Any], given: Mapping[str, Any], choices: Choices
) -> dict[str, Any]:
    """Those fields that the choices have; a choice of which the user gave something keeps its kind.

    The network of a supply is not of its kind.
    """
    typed = {name.partition(".")[0] for name in given if name != "supply.net"}
    out = {}
    for name, value in fields.items():
        section, _, setting = name.partition(".")
        if setting == "kind":
            suits = section not in typed
        else:
            choice = getattr(choices, section, None)
            suits = choice is None or hasattr(choice, setting)
        if suits and name not in given:
            out[name] = value
    return out


def _fitting(
    data: Data,
    fields: Mapping[str, Any],
    seconds: float,
    resolve: Callable[[Mapping[str, Any]], Resolved],
    where: Where,
) -> int:
    """How many iterations fit, by the plan that so many of them run by."""
    # A plan depends on how much there is to do: an iteration a second is a first guess.
    began, count = monotonic(), max(1, int(seconds))
    plan: Plan | None = None
    for _ in range(2):
        found = resolve({**fields, "iterations": count})
        suited: Plan = plan_for(
            data, found.config, where.plan, where.device, where.threads, minutes=where.minutes
        )
        if where.changes:
            suited = make(Plan, {**suited.as_dict(), **where.changes}, "plan")
        if suited == plan:  # the guess was good enough
            break
        plan = suited
        count = _iterations(data, found, plan, seconds - monotonic() + began)
    return count


def _batches(
    budget: TimeBudget, count: int, found: Resolved, fields: Mapping[str, Any]
) -> dict[str, int]:
    """Larger batches, in proportion to the iterations that would fit beyond what is enough.

    Batches among the fields were given, or are those of easy data, and stay.
    """
    if not 0 < budget.enough_iterations < count:
        return {}
    config, share = found.config, count / budget.enough_iterations
    wanted = {"real_batch": min(round(share * config.real_batch), budget.most_real)}
    if config.synthetic_batch is not None:
        every = found.choices.formation.decoded(config.ipc)
        wanted["synthetic_batch"] = min(round(share * config.synthetic_batch), every)
    return {
        name: value
        for name, value in wanted.items()
        if name not in fields and value > getattr(config, name)
    }


def _iterations(data: Data, found: Resolved, plan: Plan, seconds: float) -> int:
    """How many fit into some seconds, by a few steps that are measured."""
    began = monotonic()
    measured = dry_run(data, found.config, plan, planned=seconds)
    each = measured.steps * measured.step_seconds + measured.network_seconds
    # What was compiled stays compiled for the run, in this process.
    left = _ROOM * (seconds - monotonic() + began)
    count = int(left / max(each, 1e-9))
    if count < 1:
        raise UsageError(
            f"--minutes is too short: an iteration takes {time_text(each)} here, and nothing is "
            "left for one; give more, or leave --minutes out"
        )
    return count if count < 100 else count // 10 * 10


def _narrowed(net: str, width: int | None, where: Where) -> str:
    """A ConvNet with fewer filters on a CPU: several times as many steps."""
    device = where.device or default_device()
    if width is None or device != "cpu" or not re.fullmatch(r"convnet\d*", net):
        return net
    return f"{net}:width={width}"
