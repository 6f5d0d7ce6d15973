"""The networks of a recipe that is fitted to a limit of time: a pool, or fresh ones."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from condensery import nets
from condensery.config.budget import TimeBudget
from condensery.config.build import Choices
from condensery.config.resolve import Resolved
from condensery.data import Data
from condensery.errors import DivergedError
from condensery.methods.pools.in_time import PoolTraining, Wanted, known_of, training_in_time
from condensery.methods.pools.store import Pool
from condensery.runtime.plan import Plan, default_device

#: Training steps, rounded up to epochs, of a network that only tells whether few images are easy.
_STEPS_FOR_FEW = 350


@dataclass(frozen=True, kw_only=True)
class Where:
    """What the planning needs to know of how a run is carried out."""

    plan: str | Plan = "auto"
    device: str | None = None
    threads: int | None = None
    minutes: float | None = None
    """Time limit of the run, by which its plan is made, too."""
    net: str | None = None
    """The network that the recipe's file names."""
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of the plan that were given by themselves."""
    quiet: bool = True
    say: Callable[[str], None] = lambda text: None


def networks_in_time(
    data: Data,
    budget: TimeBudget,
    seconds: float,
    given: Mapping[str, Any],
    found: Resolved,
    where: Where,
) -> dict[str, Any]:
    """The supply: a pool where there is time for one, and fresh networks otherwise.

    Networks that know nothing cannot tell classes, so fresh ones come without the class term.
    """
    net, choices = pooled_net(data, budget, given, found, where), found.choices
    if net is None:
        return {}
    few, training = few_images(data, budget), budget
    if few:  # a short training tells whether they are easy
        training = dataclasses.replace(
            budget, most_epochs=budget.least_epochs, least_steps=_STEPS_FOR_FEW
        )
    pool = _pool(data, training, seconds, net, found.config.seed, where)
    fresh = {"supply.kind": "fresh", "supply.net": net}
    fresh |= suiting({"objective.classification": 0.0}, given, choices)
    if pool is None:
        return fresh
    out = {"supply.kind": "pool", "supply.path": str(pool.path), "supply.ahead": budget.ahead}
    if nets.is_import_path(net):
        out["supply.module"] = net
    known = known_of(pool, data)
    if known <= budget.known:
        if not few:
            return out
        where.say(
            f"networks: there are fewer than {budget.few_images} images per class, of which a "
            "network learns little that holds for others, so networks are fresh"
        )
        return fresh
    where.say(
        f"networks: at least {known:.1f} % of held-out images are right, so the data are easy"
    )
    easy = suiting(budget.easy, given, choices)
    if easy.get("supply.kind", "pool") == "pool":
        return out | easy
    return {"supply.net": net} | easy


def pooled_net(
    data: Data, budget: TimeBudget, given: Mapping[str, Any], found: Resolved, where: Where
) -> str | None:
    """The network of the pool; None where the networks are the user's or the recipe's own.

    Args:
        data: what is condensed.
        budget: what the recipe does with time.
        given: fields that the user gave, dotted.
        found: the recipe with them.
        where: how it is carried out.
    """
    own = getattr(found.choices.supply, "path", None) is not None
    typed = {name for name in given if name.partition(".")[0] == "supply"}
    if own or typed - {"supply.net"} or not budget.pool:
        return None
    named = given.get("supply.net") or where.net
    usual = getattr(found.choices.supply, "net", data.net)
    if named is None and usual == data.net:
        return _narrowed(data.net, budget.width, where)
    return str(named or usual)


def epochs_in_time(
    data: Data, budget: TimeBudget, seconds: float, net: str, seed: int, where: Where
) -> tuple[float, float]:
    """Epochs that a pool would be trained for, and seconds of each, without training one.

    Args:
        data: what is condensed.
        budget: what the recipe does with time.
        seconds: that there are in all.
        net: of the pool.
        seed: random seed.
        where: how it is carried out.
    """
    training = _training(data, budget, seconds, net, seed, where)
    return training.affordable()[0], training.each


def few_images(data: Data, budget: TimeBudget) -> bool:
    """Whether classes have too few images, on average, for a pool that is worth its time.

    Args:
        data: what is condensed.
        budget: what the recipe does with time.
    """
    return len(data.train) < budget.few_images * data.train.classes


def poolable(data: Data, where: Where) -> bool:
    """Whether every class has an image to train on and one to hold out; says so if not."""
    if min(data.train.counts) >= 2:
        return True
    where.say("networks: a class has a single image, and none to hold out, so there is no pool")
    return False


def _training(
    data: Data, budget: TimeBudget, seconds: float, net: str, seed: int, where: Where
) -> PoolTraining:
    unneeded = budget.easy.get("supply.kind", "pool") != "pool"
    wanted = Wanted(
        net=net,
        rate=budget.rate,
        batch=budget.batch,
        schedule=budget.schedule,
        average=budget.average,
        early=budget.early,
        early_steps=budget.early_steps,
        least_epochs=budget.least_epochs,
        most_epochs=budget.most_epochs,
        least_steps=budget.least_steps,
        enough=budget.known if unneeded else 100.0,
        seed=seed,
    )
    return training_in_time(
        data,
        wanted,
        budget.pool * seconds,
        plan=where.plan,
        device=where.device,
        threads=where.threads,
        quiet=where.quiet,
        say=where.say,
    )


def _pool(
    data: Data, budget: TimeBudget, seconds: float, net: str, seed: int, where: Where
) -> Pool | None:
    """The pool of the budget, or the short one that was trained for easy data.

    None where there is no time for one, or where it cannot be trained.
    """
    if not poolable(data, where):
        return None
    try:
        return _training(data, budget, seconds, net, seed, where).pool()
    except DivergedError:
        where.say(
            f"networks: {net} diverges at the rate {budget.rate:g}, so there is no pool; a recipe "
            "of your own may have a lower budget.rate"
        )
        return None


def suiting(
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


def _narrowed(net: str, width: int | None, where: Where) -> str:
    """A ConvNet with fewer filters on a CPU: several times as many steps."""
    device = where.device or default_device()
    if width is None or device != "cpu" or not re.fullmatch(r"convnet\d*", net):
        return net
    return f"{net}:width={width}"
