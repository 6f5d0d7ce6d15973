"""Running a configuration in its folder: start, faults and recovery."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from typing import Any

from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import (
    DataError,
    DivergedError,
    RanksError,
    ResourceError,
    UsageError,
    out_of_memory,
)
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan
from condensery.runtime.usage import Usage
from condensery.sets.condensed import CondensedSet
from condensery.utils.checkpoint import Every
from condensery.utils.locks import in_use
from condensery.utils.output import put_error
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, stop_requests

from .loop import Condenser
from .recorder import WRITING, Recorder, TimeUp, reason
from .run_folder import Ended, RunFolder, Status


def carry_out(
    data: Data,
    config: RunConfig,
    plan: Plan,
    folder: RunFolder,
    *,
    quiet: bool = False,
    every: Every | None = None,
    minutes: float | None = None,
    keep: Collection[int] = (),
    keep_states: bool = False,
    facts: Mapping[str, Any] | None = None,
    ranks: Ranks = ALONE,
    after_iteration: Callable[[Condenser], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> CondensedSet:
    """Run a configuration in its folder, from the start or from its last checkpoint.

    Args:
        data: what is condensed.
        config: the run's configuration.
        plan: how it runs, the same on all ranks.
        folder: where; it is locked meanwhile.
        quiet: show no progress.
        every: how often it is checkpointed.
        minutes: time after which the run ends with the set as it is then, over all its parts.
        keep: outer iterations at which the set is kept among the checkpoints, besides the quarters.
        keep_states: leave the state before the last one when the run is finished.
        facts: more for ``run.json`` when it starts.
        ranks: those that carry it out together; the first one writes.
        after_iteration: called after every outer iteration.
        warn: called with warnings; they are lines on standard error by default.

    Raises:
        Interrupted: when a signal asked to stop; the run can be continued.
        UsageError: when another process has the folder.
        DivergedError: when training produced NaN or inf; the last good state is kept.
        ResourceError: when memory, or room for the result, ran out.
    """
    run = Condenser(data, config, plan, ranks)  # an invalid run leaves no folder behind
    held = in_use(folder.path) if ranks.first else nullcontext()
    with stop_requests(patient=not ranks.alone) as stops, held:
        # Again: now no other process can change it.
        status = ranks.broadcast_object(folder.status(config) if ranks.first else None)
        _begin(run, data, folder, status, facts or {}, warn)
        folder.note(ranks=ranks.world, **{k: v for k, v in (facts or {}).items() if v is not None})
        ranks.traffic = 0.0
        left = None if minutes is None else minutes - float(folder.facts().get("seconds", 0)) / 60
        with Progress(
            config.iterations, "iterations", quiet=quiet, done=run.iteration, minutes=left
        ) as progress:
            usage = Usage(plan.device, folder.facts())
            at = every or Every()
            recorder = Recorder(
                folder, config, progress, stops, at, minutes, keep, ranks, usage, warn
            )
            condensed, ended = _guarded(run, recorder, folder, after_iteration)
            recorder.save(run)
        _finish(folder, condensed, recorder, ended)
        if folder.writes and not keep_states:
            with suppress(OSError):
                folder.checkpoints.prune()
        # None looks at the folder before the first one has written.
        (stop,) = ranks.all_reduce_max(stops[0] if stops else 0)
        if stop:
            raise Interrupted(stop)
    return condensed


def _begin(
    run: Condenser,
    data: Data,
    folder: RunFolder,
    status: Status,
    facts: Mapping[str, Any],
    warn: Callable[[str], None] | None,
) -> None:
    """Resume from the last checkpoint, or start."""
    try:
        state, notes = folder.checkpoints.load()
    except DataError as error:
        if status in ("timed", "grown"):
            raise DataError(
                f"{folder.path} is finished, and cannot be continued because its checkpoints are "
                "damaged; its set is left as it is"
            ) from error
        raise
    run.ranks.agree(
        None if state is None else state["steps"],
        f"the processes do not share the same checkpoint in {folder.path}; it must be on a file "
        "system that all machines share",
    )
    for note in notes if run.ranks.first else ():
        (warn or (lambda text: put_error(f"condensery: {text}")))(note)
    if state is None:
        _write_first(run, data, folder, facts)
        return
    try:
        run.load_state(state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(
            f"checkpoint {folder.checkpoints.files[0]} does not fit this run ({error}); remove it "
            "to start again"
        ) from error
    # Only now, when it is certain that the run can be continued.
    if status in ("timed", "grown") or folder.grows(run.config):
        folder.reopen(run.config)
    folder.forget_after(run.iteration)


def _write_first(run: Condenser, data: Data, folder: RunFolder, facts: Mapping[str, Any]) -> None:
    """What is known before the first iteration, and the initial set.

    Raises:
        ResourceError: when it cannot be written.
    """
    try:
        folder.begin(run.config, run.plan, data, begun_ranks=run.ranks.world, **facts)
        folder.forget_after(0)
        folder.picture(run.result())
    except OSError as error:
        with suppress(OSError):
            folder.abandon()
        raise ResourceError(
            f"{folder.path} cannot be written ({reason(error)}); free some space, or choose "
            "another --out"
        ) from error


def _guarded(
    run: Condenser,
    recorder: Recorder,
    folder: RunFolder,
    after_iteration: Callable[[Condenser], None] | None,
) -> tuple[CondensedSet, Ended]:
    """Run to the end, or to the end of its time; errors say what is kept."""
    try:
        if not run.finished and recorder.over():
            raise TimeUp
        condensed = run.run(after_step=recorder, after_iteration=after_iteration)
    except TimeUp:
        return run.result(), "minutes"
    except (UsageError, RanksError):
        if run.steps == 0:  # nothing is lost, and the corrected command may come here
            folder.abandon()
        raise
    except DivergedError as error:
        raise DivergedError(f"{error}{_last_good(run, folder)}") from error
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise _shortage(run, folder) from error
    return condensed, "converged" if run.converged else "iterations"


def _last_good(run: Condenser, folder: RunFolder) -> str:
    """Keep the last good state as a set; what a user can do with it."""
    try:
        state, _ = folder.checkpoints.load()
        if state is None:
            return "; and choose another --out"
        run.load_state(state)
        good = run.result()
        folder.picture(good)
    except (*WRITING, DataError):
        return "; and choose another --out"
    file = folder.path / "checkpoints" / f"{good.about.iterations:06d}.safetensors"
    return f" and choose another --out. The last good set, of step {run.steps}, is {file}"


def _shortage(run: Condenser, folder: RunFolder) -> ResourceError:
    """Memory ran out: what shrinks the work."""
    plan, config = run.plan, run.config
    ways = [
        f"--plan.chunk {max(1, plan.chunk // 2)}" if plan.chunk else "--plan.chunk 32",
        f"--real-batch {max(1, config.real_batch // 2)}",
        "--plan.real_dtype bfloat16" if plan.real_dtype == "float32" else "",
        f"--plan.memory_gb {plan.memory_gb / 2:g}",
    ]
    words = ", ".join(way for way in ways if way)
    if run.steps == 0:
        folder.abandon()
        return ResourceError(f"out of memory in the first step; use less with {words}")
    return ResourceError(
        f"out of memory at step {run.steps + 1}; the last checkpoint is kept: run the same command "
        f"again to continue. To use less, start with another --out and one of: {words}"
    )


def _finish(folder: RunFolder, condensed: CondensedSet, recorder: Recorder, ended: Ended) -> None:
    try:
        folder.finish(condensed, recorder.seconds, ended)
    except WRITING as error:
        at = recorder.last_step
        kept = f"its checkpoint of step {at} is kept" if at is not None else "it has no checkpoint"
        raise ResourceError(
            f"the finished set could not be written to {folder.path} ({reason(error)}); {kept}: "
            "free some space and run the same command again"
        ) from error
