"""A recipe fitted to a limit of time: its networks, and how many iterations there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from condensery import nets
from condensery.config.budget import TimeBudget
from condensery.config.build import make
from condensery.config.resolve import Resolved
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.plan import Plan
from condensery.utils.text import time_text

from .configure import plan_for
from .dry_run import dry_run
from .networks_in_time import (
    Where,
    epochs_in_time,
    few_images,
    networks_in_time,
    poolable,
    pooled_net,
    suiting,
)

#: Of the time that is left, what steps are planned for. The rate has almost fallen where a run that
#: turns out slower is cut off, so little room is needed.
_ROOM = 0.95


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
    found = resolve(given)
    choices = found.choices
    resolve(together(suiting(budget.easy, given, choices), given))  # what is wrong is found now
    out = _tiles(data, budget, given, choices.formation, where)
    out |= networks_in_time(data, budget, seconds, given, found, where)
    if "iterations" not in given:
        ends = began + seconds
        fields = together(out, given)
        count = _fitting(data, budget, fields, ends - monotonic(), resolve, where)
        larger = _batches(budget, count, resolve(fields), fields, max(data.train.counts))
        if larger:
            where.say(
                f"batches: {count} iterations would fit, and {budget.enough_iterations} are "
                "enough, so every step takes more images"
            )
            out |= larger
            count = _fitting(data, budget, together(out, given), ends - monotonic(), resolve, where)
        out["iterations"] = count
        where.say(
            f"time: {time_text(monotonic() - began)} for networks and measuring; "
            f"{out['iterations']} iterations are planned for the rest"
        )
    if "optimizer.falls_until" not in given and out.get("iterations") != 0:
        out["optimizer.falls_until"] = max(1, given.get("iterations", out.get("iterations", 1)))
    return out


def previewed(
    data: Data,
    budget: TimeBudget,
    seconds: float,
    given: Mapping[str, Any],
    resolve: Callable[[Mapping[str, Any]], Resolved],
    where: Where,
) -> dict[str, Any]:
    """Fields of a run like the one that :func:`fitted` would plan; no network is trained.

    An epoch and an iteration are measured. Networks are fresh instead of from a pool, which takes
    an iteration as long.

    Args:
        data, budget, seconds, given, resolve, where: as there.
    """
    found = resolve(given)
    out = _tiles(data, budget, given, found.choices.formation, where)
    net, share = pooled_net(data, budget, given, found, where), 0.0
    if net is not None and poolable(data, where):
        few = few_images(data, budget)
        epochs, each = epochs_in_time(data, budget, seconds, net, found.config.seed, where)
        share = min(budget.pool, epochs * each / seconds)
        would = f"a pool of about {epochs:.3g} epochs" if share else "too long for a pool"
        if few:
            tells = f"{epochs:.3g} epochs tell" if share else "too long to find out"
            would = f"{tells} whether the data are easy"
        where.say(f"networks: an epoch takes {time_text(each)}: {would}")
        if few:
            where.say(
                f"  fresh ones otherwise, for fewer than {budget.few_images} images per class on "
                "average"
            )
    if net is not None:
        out |= {"supply.kind": "fresh", "supply.net": net}
    if "iterations" not in given:
        left = seconds * (1 - share)
        out["iterations"] = _fitting(data, budget, together(out, given), left, resolve, where)
        where.say(f"time: about {out['iterations']} iterations would fit into {time_text(left)}")
        enough = budget.enough_iterations
        if 0 < enough < out["iterations"]:
            where.say(f"  {enough} are enough: larger batches would take the time of the others")
    return out


def together(chosen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen with what the user gave on top.

    A network that the user named is that of the pool, and no setting of a supply that has one.
    """
    out = {**chosen, **given}
    if chosen.get("supply.kind") == "pool":
        net = out.pop("supply.net", None)
        if isinstance(net, str) and nets.is_import_path(net):  # typed, and so trusted
            out.setdefault("supply.module", net)
    return out


def _tiles(
    data: Data, budget: TimeBudget, given: Mapping[str, Any], formation: Any, where: Where
) -> dict[str, Any]:
    """Fewer tiles to an image than the recipe has, where they would keep too little of images."""
    if "formation.factor" in given or not budget.detail or not hasattr(formation, "kept"):
        return {}
    for factor in range(formation.factor, 1, -1):
        smaller = dataclasses.replace(formation, factor=factor)
        try:
            smaller.check(*data.train.shape[1:])
        except UsageError:
            continue
        kept = smaller.kept(data.train)
        where.say(f"tiles: a factor of {factor} keeps {kept:.1%} of the images' variance")
        if kept >= budget.detail:
            return {"formation.factor": factor} if factor < formation.factor else {}
    return {"formation.factor": 1} if formation.factor > 1 else {}


def _fitting(
    data: Data,
    budget: TimeBudget,
    fields: Mapping[str, Any],
    seconds: float,
    resolve: Callable[[Mapping[str, Any]], Resolved],
    where: Where,
) -> int:
    """How many iterations fit, by the plan that so many of them run by."""
    # A plan depends on how much there is to do: an iteration a second is a first guess.
    began, count, each = monotonic(), max(1, int(seconds)), 0.0
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
        count, each = _iterations(data, found, plan, seconds - monotonic() + began)
        if not count:
            break
    # Of noise nothing is worse than the start.
    real = getattr(found.choices.formation, "start_from", "real") != "noise"
    if count >= max(1, budget.least_iterations if real else 1):
        return count
    if not real:
        raise UsageError(
            f"--minutes is too short: an iteration takes {time_text(each)} here, and nothing is "
            "left for one; give more, or leave --minutes out"
        )
    why = "and nothing is left for one"
    if budget.least_iterations > 1:
        why = f"so {count} would fit, and fewer than {budget.least_iterations} gain nothing"
    where.say(
        f"time: an iteration takes {time_text(each)} here, {why}: nothing is learned, and the set "
        "is the start, real images; a longer run needs another --out"
    )
    return 0


def _batches(
    budget: TimeBudget, count: int, found: Resolved, fields: Mapping[str, Any], largest: int
) -> dict[str, int]:
    """Larger batches, in proportion to the iterations that would fit beyond what is enough.

    Batches among the fields were given, or are those of easy data, and stay. None holds more real
    images than the largest class.
    """
    if not 0 < budget.enough_iterations < count:
        return {}
    config, share = found.config, count / budget.enough_iterations
    wanted = {"real_batch": min(round(share * config.real_batch), budget.most_real, largest)}
    if config.synthetic_batch is not None:
        every = found.choices.formation.decoded(config.ipc)
        wanted["synthetic_batch"] = min(round(share * config.synthetic_batch), every)
    return {
        name: value
        for name, value in wanted.items()
        if name not in fields and value > getattr(config, name)
    }


def _iterations(data: Data, found: Resolved, plan: Plan, seconds: float) -> tuple[int, float]:
    """How many fit into some seconds, by a few steps that are measured; seconds of one of them."""
    began = monotonic()
    measured = dry_run(data, found.config, plan, planned=seconds)
    each = measured.steps * measured.step_seconds + measured.network_seconds
    # What was compiled stays compiled for the run, in this process.
    left = _ROOM * (seconds - monotonic() + began)
    count = int(left / max(each, 1e-9))
    return max(0, count if count < 100 else count // 10 * 10), each
