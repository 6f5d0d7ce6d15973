"""A set in a folder of its own: condensed, continued, or read where it is finished."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from condensery.config.build import make
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan
from condensery.sets.condensed import CondensedSet
from condensery.utils.text import plural

from .configure import plan_for
from .run_folder import RunFolder
from .runner import carry_out


def condensed_in(
    config: RunConfig,
    data: Data,
    folder: RunFolder,
    *,
    which: str,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
    ranks: Ranks = ALONE,
) -> CondensedSet:
    """The set of a configuration, made where it does not exist yet.

    Args:
        config: of the run.
        data: what is condensed.
        folder: where it lies, or will lie.
        which: the set in words, such as ``set 2 of 5``.
        plan: ``auto``, ``exact``, a YAML file or a plan; one that is continued keeps its own.
        device: torch device.
        threads: CPU threads.
        quiet: show no progress.
        say: called with a progress line.
        ranks: those that make it together.

    Raises:
        UsageError: when the folder holds something else.
        DataError: when the data have changed since the run started.
        Interrupted: when a signal asked to stop; the same call continues.
    """
    status = ranks.broadcast_object(folder.status(config) if ranks.first else None)
    if status != "new":
        folder.check_data(data)
    if status == "finished":
        return CondensedSet.load(folder.path)
    chosen: Any = folder.plan() if status == "unfinished" else None
    if chosen is None:
        chosen = plan_for(data, config, plan, device, threads)
    chosen = make(Plan, ranks.broadcast_object(chosen.as_dict()), "plan")
    verb = "continuing" if folder.checkpoints.files else "condensing"
    length = plural(config.iterations, "iteration")
    say(f"{verb} {which}: {length}, seed {config.seed}; {folder.path}")
    say(f"plan: {chosen.describe()}")
    made = carry_out(data, config, chosen, folder, quiet=quiet, ranks=ranks)
    ranks.wait()  # until its files are whole
    return made
