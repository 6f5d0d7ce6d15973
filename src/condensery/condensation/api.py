"""Condensing in one call, for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from condensery.data import load
from condensery.data.axes import Layout
from condensery.data.ranges import RangeLike
from condensery.runtime.plan import Plan
from condensery.sets.condensed import CondensedSet

from .configure import plan_for, resolved
from .loop import Condenser


def condense(
    data: Any = "digits",
    recipe: str | Mapping[str, Any] = "dm",
    *,
    ipc: int | None = None,
    iterations: int | None = None,
    until: Literal["iterations", "converged"] | None = None,
    seed: int | None = None,
    size: int | None = None,
    channels: int | None = None,
    rate: int | None = None,
    flip: bool | None = None,
    layout: Layout | None = None,
    value_range: RangeLike | None = None,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    trust_imports: bool = False,
    after_iteration: Callable[[Condenser], None] | None = None,
) -> CondensedSet:
    """Condense a labelled data set.

    Args:
        data: anything that :func:`condensery.load` takes.
        recipe: a recipe's name, file or content.
        ipc: budget, full-size images' worth of stored numbers per class.
        iterations: outer iterations; fewer than the recipe's truncate it, 0 gives its start.
        until: ``converged`` stops early once the loss has stopped falling.
        seed: random seed.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        rate: sample rate to resample recordings to.
        flip: whether augmentation may flip images horizontally.
        layout: order of the axes of arrays with four, where it cannot be told.
        value_range: black and white of floating arrays, as :func:`condensery.load` takes them.
        plan: ``auto``, ``exact``, a YAML file, or a :class:`condensery.runtime.Plan`.
        device: torch device; the first GPU, or the CPU, by default.
        threads: CPU threads.
        overrides: any other field of the recipe, dotted: ``{"optimizer.rate": 0.1}``.
        trust_imports: whether a recipe file may name code to import; its content, given as a
            mapping, always may.
        after_iteration: called with the :class:`Condenser` after every outer iteration.

    Returns:
        The condensed set.

    Raises:
        UsageError: for a field or value that does not exist.
        DataError: for data that cannot be used.
    """
    how: dict[str, Any] = {"layout": layout, "value_range": value_range}
    loaded = load(data, size=size, channels=channels, rate=rate, flip=flip, **how)
    named: dict[str, Any] = {"size": size, "channels": channels, "flip": flip, "ipc": ipc}
    named["sample_rate"] = rate
    named |= {"iterations": iterations, "until": until, "seed": seed}
    given = {name: value for name, value in named.items() if value is not None}
    found = resolved(loaded, recipe, {**given, **(overrides or {})}, trust_imports=trust_imports)
    config, choices = found.config, found.choices
    chosen = plan_for(loaded, config, plan, device, threads, choices=choices)
    run = Condenser(loaded, config, chosen, choices=choices)
    return run.run(after_iteration=after_iteration)
