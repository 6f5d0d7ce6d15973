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
from condensery.methods.pools.in_time import PoolTraining, Wanted, training_in_time
from condensery.methods.pools.knowledge import known_of, mirrored_of
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

    Networks that know nothing cannot tell classes, so fresh ones come without the class term. Where
    those of the pool do not know mirrored images, images are not flipped.
    """
    net, choices = pooled_net(data, budget, given, found, where), found.choices
    untold = suiting({"objective.classification": 0.0}, given, choices)
    if net is None:
        typed = budget.pool > 0 and found.config.supply.kind == "fresh"
        return untold if typed else {}
    few = few_images(data, budget)
    pool = _pool(data, budget, seconds, net, found.config.seed, where)
    fresh = {"supply.kind": "fresh", "supply.net": net} | untold
    if pool is None:
        return fresh
    known = known_of(pool, data)
    facing = _mirroring(pool, data, known, found, where)
    if known > budget.known:
        where.say(
            f"networks: they know at least {known:.1f} % of what there is to know of held-out "
            "images, so the data are easy"
        )
        easy = suiting(budget.easy, given, choices)
        usual = {"supply.net": net}
        if easy.get("supply.kind", "pool") == "pool":
            usual = _supply_of(pool, net, budget)
        return usual | easy | facing
    if few:
        where.say(
            f"networks: there are fewer than {budget.few_images} images per class on average, of "
            "which a network learns little that holds for others, so networks are fresh"
        )
        return fresh | facing
    if known < budget.least_known:
        where.say(
            f"networks: they know {known:.1f} % of what there is to know of held-out images, too "
            "little to tell classes, so networks are fresh"
        )
        return fresh | facing
    return _supply_of(pool, net, budget) | facing


def _supply_of(pool: Pool, net: str, budget: TimeBudget) -> dict[str, Any]:
    """The fields that match through a pool."""
    out = {"supply.kind": "pool", "supply.path": str(pool.path), "supply.ahead": budget.ahead}
    return out | ({"supply.module": net} if nets.is_import_path(net) else {})


def _mirroring(
    pool: Pool, data: Data, known: float, found: Resolved, where: Where
) -> dict[str, bool]:
    """No flips where a network does not know mirrored images, and nobody said if they may be."""
    if not data.flip or found.config.flip is not None or not known:
        return {}
    seen = mirrored_of(pool, data)
    if not seen.differ:
        return {}
    where.say(
        f"flips: none, since networks know {seen.known:.1f} % of what there is to know of held-out "
        f"images and {seen.mirrored:.1f} % of mirrored ones"
    )
    return {"flip": False}


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

    There are 0 where the time is too short.

    Args:
        data: what is condensed.
        budget: what the recipe does with time.
        seconds: that there are in all.
        net: of the pool.
        seed: random seed.
        where: how it is carried out.
    """
    training = _training(data, budget, seconds, net, seed, where)
    epochs = training.affordable()[0]
    return epochs if epochs >= training.wanted.least_epochs else 0.0, training.each


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
    unneeded, few = budget.easy.get("supply.kind", "pool") != "pool", few_images(data, budget)
    wanted = Wanted(
        net=net,
        rate=budget.rate,
        batch=budget.batch,
        schedule=budget.schedule,
        average=budget.average,
        early=budget.early,
        early_steps=budget.early_steps,
        least_epochs=budget.least_epochs,
        # Of few images it only has to be found out whether they are easy, by a whole training.
        most_epochs=budget.least_epochs if few else budget.most_epochs,
        least_steps=_STEPS_FOR_FEW if few else budget.least_steps,
        whole=few,
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
