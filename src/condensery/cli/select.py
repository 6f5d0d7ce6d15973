"""``condensery select``: the baselines that keep real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condensery.errors import UsageError
from condensery.runtime.malloc import keep_memory
from condensery.selection.folder import Selections
from condensery.selection.methods import (
    check_budget,
    check_no_training,
    packing_of,
    selection_named,
    trains,
)
from condensery.sets.condensed import CondensedSet
from condensery.sets.places import FILE
from condensery.utils.output import put_error
from condensery.utils.signals import Interrupted

from .shared import facts_of_set, next_line, read
from .telling import conclude, folder_of, printer


def select(options: Any) -> int:
    """Select real images, by a draw or by what a trained network says."""
    method = selection_named(options.method)
    training = {n: getattr(options, n) for n in ("net", "epochs", "rate", "batch", "augmentation")}
    training["network"] = training.pop("net")
    packing_of(method, options.factor)
    if not trains(method):
        check_no_training(method, training)
    if options.sets < 1:
        raise UsageError(f"--sets must be at least 1, got {options.sets}")
    keep_memory()
    data = read(options.data, options)
    check_budget(data, options.ipc)
    out = folder_of(options.out, Path("runs") / f"{data.name}-{method}-ipc{options.ipc}")
    if options.sets > 1 and any((out / file).exists() for file in ("recipe.yaml", FILE)):
        raise UsageError(f"--out {out} holds one set; choose another for --sets")
    say = printer(options)
    work = Selections(
        data,
        method,
        ipc=options.ipc,
        size=options.size,
        channels=options.channels,
        training=training,
        plan=options.plan,
        device=options.device,
        threads=options.threads,
        quiet=options.quiet,
        say=say,
        factor=options.factor,
    )
    folders = [out / str(k) if options.sets > 1 else out for k in range(options.sets)]
    seeds = range(options.seed, options.seed + options.sets)
    # All folders are looked at before any network is trained.
    finished = [work.finished(*pair) for pair in zip(folders, seeds, strict=True)]
    if work.networks and not all(finished):
        say(f"plan: {work.networks.plan.describe()}")
    results = []
    try:
        for folder, seed, there in zip(folders, seeds, finished, strict=True):
            if there:
                say(f"{folder} is finished; nothing to do")
            chosen = CondensedSet.load(folder) if there else work.make(folder, seed)
            results.append({"out": str(folder), **facts_of_set(chosen)})
    except Interrupted as stop:
        put_error(f"condensery: stopped by {stop}; the same command continues")
        return 128 + stop.number
    conclude(options, {"runs": results}, [next_line(out, draws=method == "random")])
    return 0
