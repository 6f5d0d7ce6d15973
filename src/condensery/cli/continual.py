"""``condensery continual``: classes or tasks one after another, with a memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condensery.applications.continual_learning import ContinualJob, ContinualSettings
from condensery.errors import UsageError

from .applications import amount, begin, carried_out, estimated, methods_for, read, told
from .telling import folder_of


def continual(options: Any) -> int:
    """Fill the memories, train the networks, and print the curves."""
    if (options.steps is None) == (options.tasks is None):
        raise UsageError(
            "give --steps N for the classes of one data set, or --tasks SPEC SPEC … for several"
        )
    if options.tasks is not None and options.data is not None:
        raise UsageError("--tasks names its data sets; leave --data out")
    if options.tasks is not None and len(options.tasks) < 2:
        raise UsageError("--tasks needs at least two data sets, in their order")
    how = begin(options)
    names = options.methods or ["random", "herding", "dm"]
    methods = methods_for(options, names)
    data = [read(spec, options) for spec in options.tasks or [options.data or "digits"]]
    out = folder_of(options.out, Path("runs") / "continual")
    job = ContinualJob(
        data, options.steps, methods, _settings(options), out, how, match=options.match
    )
    if options.dry_run:
        return estimated(job.memories, job.total, job.seconds(), options)
    found, code = carried_out(job.total, job.run, out, options)
    return code if found is None else told(found, options)


def _settings(options: Any) -> ContinualSettings:
    tasks = options.tasks is not None
    return ContinualSettings(
        memory=options.memory,
        strategy=options.strategy,
        seeds=amount(options.seeds, 2, 5, options) or 0,
        nets=amount(options.nets, 1, 1 if tasks else 3, options) or 0,
        epochs=amount(options.epochs, None if tasks else 100, None, options),
        train_steps=amount(options.train_steps, 500 if tasks else None, None, options),
        net=options.net,
        seed=options.seed,
    )
