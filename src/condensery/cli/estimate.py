"""What ``condensery condense --dry-run`` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from condensery.condensation.dry_run import DryRun, dry_run
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.runtime.plan import Plan
from condensery.utils.text import plural, size_text, time_text

#: What iterations are told of, where no time is given.
_USUAL_MINUTES = 10.0


def estimate(
    data: Data,
    config: RunConfig,
    plan: Plan,
    place: Path,
    options: Any,
    planned: bool,
    say: Callable[..., None],
) -> dict[str, Any]:
    """Measure a few steps, and say what the run would take.

    Args:
        data: what would be condensed.
        config: of the run.
        plan: of the run.
        place: of its folder.
        options: the command's flags.
        planned: whether its iterations are fitted to a time, which has been said.
        say: prints a line.
    """
    found = dry_run(data, config, plan)
    if not planned:
        _say_time(found, data, config, plan, options, say)
    where = f"on {plan.device}" if plan.device != "cpu" else "for the whole process"
    say(f"memory: {size_text(found.memory_bytes)} peak in these steps, {where}")
    say(
        f"result: {size_text(found.stored_bytes)}, {found.decoded_images} training images, in "
        f"{place}"
    )
    say("nothing was written; leave out --dry-run to start")
    told = {"dry_run": found.as_dict(), "iterations": config.iterations, "plan": plan.as_dict()}
    return {"out": str(place), **told}


def _say_time(
    found: DryRun,
    data: Data,
    config: RunConfig,
    plan: Plan,
    options: Any,
    say: Callable[..., None],
) -> None:
    each = f"{found.step_seconds:.3g} s per step"
    each += f", {found.steps} steps per iteration" if found.steps > 1 else ""
    each += f", {found.network_seconds:.3g} s for a new network" if found.steps > 1 else ""
    of = found.measured_classes
    each += f"; from {of} of {plural(data.train.classes, 'class', 'classes')}" if of else ""
    times = f"{options.sets} × " if options.sets > 1 else ""
    bound = "at most" if plan.compile else "about"
    say(f"time: {bound} {times}{time_text(found.seconds)} ({each})")
    minutes = options.minutes or _USUAL_MINUTES
    if minutes * 60 < found.seconds:
        part = round(config.iterations * minutes * 60 / found.seconds)
        gives = f"gives about {part}" if part else "ends before the first"
        say(f"  --minutes {minutes:g} {gives} of {plural(config.iterations, 'iteration')}")
