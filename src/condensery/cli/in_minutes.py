"""Limits of ``condensery condense``: time that a recipe is fitted to, and bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.condensation.before import begun_in, net_named
from condensery.condensation.configure import facts_of
from condensery.condensation.in_time import fitted, previewed
from condensery.condensation.networks_in_time import Where
from condensery.condensation.rate_trials import wants_trials
from condensery.config.budget import time_budget
from condensery.config.resolve import Resolved
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.distributed import Ranks
from condensery.utils.text import size_text

#: Bytes of a stored number, and of an image's label.
_NUMBER, _LABEL = 4, 8
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def begun(
    options: Any, data: Data, base: Mapping[str, Any], typed: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The configuration of the run that this command began before, where it had to be found out.

    A run that goes on keeps what was chosen; measuring again would choose something else.

    Raises:
        UsageError: when the folder holds a run of another recipe or budget.
    """
    if not (plans(options, base) or (wants_trials(typed) and not options.dry_run)):
        return None
    ipc = typed.get("ipc", base.get("ipc", RunConfig.ipc))
    recipe = str(base.get("over", base)["recipe"])
    out = Path(options.out) if options.out else default_out(data, recipe, ipc)
    return begun_in(out, recipe, ipc) or begun_in(out / "0", recipe, ipc)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command asks for, as far as it is known before anything is found out."""

    options: Any
    """Its flags."""
    data: Data
    base: Mapping[str, Any]
    """The recipe, or the configuration that is repeated or continued."""
    typed: Mapping[str, Any]
    """Fields on top of it."""
    planned: Mapping[str, Any]
    """Fields of the plan."""
    resolve: Callable[[Mapping[str, Any]], Resolved]
    """The recipe with some fields on top."""
    began: float
    """When the command began, by the monotonic clock."""
    ranks: Ranks
    say: Callable[..., None]


def in_minutes(asked: Asked, typed: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Fields that fit the recipe to some seconds, to stand below what was typed.

    A dry run gets fields like them, and trains nothing. Nothing is chosen where there is no limit,
    where the recipe says nothing of time, and where a run is continued or repeated: its
    ``recipe.yaml`` has everything.
    """
    options, say = asked.options, asked.say
    if not plans(options, asked.base):
        return {}
    usual = asked.resolve(typed)
    net = getattr(usual.choices.supply, "net", None)
    facts = facts_of(asked.data, usual.config.ipc, net)
    budget = time_budget(asked.base, facts)
    assert budget is not None
    if not asked.ranks.alone:
        raise UsageError(
            f"--recipe {options.recipe} with --minutes plans for a single process; run it without "
            "torchrun, or leave --minutes out"
        )
    where = Where(
        plan=options.plan,
        device=options.device,
        threads=options.threads,
        minutes=options.minutes,
        net=net_named(asked.base),
        changes=asked.planned,
        quiet=options.quiet,
        say=say,
    )
    plan = previewed if options.dry_run else fitted
    chosen = plan(asked.data, budget, seconds, typed, asked.resolve, where)
    if options.dry_run:
        return chosen
    for name, value in chosen.items():
        flag = name if "." in name else name.replace("_", "-")
        say("  chosen: --no-flip" if name == "flip" else f"  chosen: --{flag} {value}")
    return chosen


def plans(options: Any, base: Mapping[str, Any]) -> bool:
    """Whether the recipe is fitted to a time."""
    limited = options.minutes is not None and not options.config
    return limited and time_budget(base) is not None


def default_out(data: Data, recipe: str, ipc: int) -> Path:
    """Where a run lies that was given no place."""
    return Path("runs") / f"{data.name}-{recipe}-ipc{ipc}"


def ipc_for(data: Data, text: str) -> int:
    """The largest budget whose stored tensors and labels take at most so many bytes.

    Raises:
        UsageError: for something else than a size, or one that holds no image of each class.

    Args:
        data: what is condensed.
        text: such as ``30000``, ``30k`` or ``2M``.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kMGm]?)B?\s*", text)
    if found is None:
        raise UsageError(f"--bytes is a size such as 30000, 30k or 2M, got {text!r}")
    limit = float(found[1]) * _UNITS[found[2].lower()]
    each = data.train.classes * (_NUMBER * math.prod(data.train.shape) + _LABEL)
    if limit < each:
        raise UsageError(
            f"--bytes {text} hold no image of each class: one of each of the {data.train.classes} "
            f"takes {size_text(each)}; give more, or use a smaller --size"
        )
    return int(limit // each)
