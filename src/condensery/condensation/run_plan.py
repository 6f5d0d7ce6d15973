"""The plan of a run that is new, or of one that is resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from condensery.config.build import Choices, make
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.runtime.distributed import Ranks
from condensery.runtime.plan import Plan, default_threads

from .configure import plan_for
from .run_folder import RunFolder, Status


def plan_of_run(
    data: Data,
    config: RunConfig,
    folder: RunFolder,
    *,
    status: Status,
    number: int,
    plan: str | Plan,
    device: str | None,
    threads: int | None,
    changes: Mapping[str, Any],
    choices: Choices,
    ranks: Ranks,
    minutes: float | None = None,
) -> Plan:
    """The plan that a run started with, or that of a new one; the same on all ranks.

    Args:
        data: what is condensed.
        config: of the run.
        folder: of the run.
        status: of the folder.
        number: of the set among those of one command: they run by one plan, also when the later
            ones start on another day.
        plan: of a new run: ``auto``, ``exact``, a YAML file or a plan.
        device: of a new run.
        threads: CPU threads.
        changes: fields of a new run's plan that differ from it.
        choices: of the configuration.
        ranks: those that share the run.
        minutes: time limit of a new run.

    Raises:
        UsageError: for a plan that cannot be run here.
    """
    begun = folder if status != "new" else RunFolder(folder.path.parent / "0")
    found = begun.plan() if status != "new" or number else None
    if found is None:
        found = plan_for(data, config, plan, device, threads, choices=choices, minutes=minutes)
        if changes:
            changed = {**found.as_dict(), "name": f"{found.name}, changed", **changes}
            found = make(Plan, changed, "plan")
    facts = folder.facts()
    if int(facts.get("begun_ranks", ranks.world)) != ranks.world:
        # They share the processors of a machine, unless the number of threads was given.
        found = dataclasses.replace(
            found, threads=threads or facts.get("asked_threads") or default_threads()
        )
    told: Plan = make(Plan, ranks.broadcast_object(found.as_dict()), "plan")
    return told
