"""``condensery adapt``: a network of one data set, fine-tuned on a few images of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condensery.applications.adaptation import FINETUNE_STEPS, AdaptJob, AdaptSettings
from condensery.errors import UsageError

from .applications import amount, begin, carried_out, estimated, methods_for, read, told
from .telling import folder_of


def adapt(options: Any) -> int:
    """Make the sets, train and fine-tune the networks, and print the table."""
    for name in ("source", "target"):
        if not getattr(options, name):
            raise UsageError(f"name the {name} data set, such as --source usps --target mnist")
    how = begin(options)
    names = options.methods or ["random", "herding", "dm"]
    methods = methods_for(options, names)
    settings = AdaptSettings(
        ipc=tuple(options.ipc or (1, 10)),
        sets=options.sets,
        nets=amount(options.nets, 2, 5, options) or 0,
        source_epochs=options.source_epochs,
        finetune_steps=FINETUNE_STEPS if options.finetune_steps is None else options.finetune_steps,
        net=options.net,
        seed=options.seed,
    )
    source, target = (read(spec, options) for spec in (options.source, options.target))
    out = folder_of(options.out, Path("runs") / "adapt")
    job = AdaptJob(source, target, methods, settings, out, how, match=options.match)
    if options.dry_run:
        return estimated(job.memories, job.total, job.seconds(), options)
    found, code = carried_out(job.total, job.run, out, options)
    return code if found is None else told(found, options)
