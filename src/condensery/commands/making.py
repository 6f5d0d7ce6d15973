"""The commands that learn: condensed sets, and pools of networks."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condensery.condensed import FILE, CondensedSet
from condensery.config import RunConfig, Scalars, make
from condensery.data import Data, load
from condensery.engine import Plan
from condensery.engine.host import keep_memory
from condensery.errors import UsageError
from condensery.planning import configure, notes_of, plan_for
from condensery.pooling import pool_settings, summary, train_pool
from condensery.recipe import CHOICES, read_recipe, read_yaml
from condensery.report.tables import time_text
from condensery.runs import Interrupted, RunFolder, carry_out

from .shared import facts_of_set, folder_of, printer, write_result


def condense(options: Any, dotted: list[tuple[str, Any]]) -> int:
    """Learn one set, or several with consecutive seeds."""
    keep_memory()
    if options.config and options.recipe:
        raise UsageError("--config and --recipe contradict each other: give one of them")
    if options.sets < 1:
        raise UsageError(f"--sets must be at least 1, got {options.sets}")
    base = _base(options)
    flags = {
        "size": options.size,
        "channels": options.channels,
        "flip": False if options.no_flip else None,
        "zca": True if options.zca else None,
        "ipc": options.ipc,
        "iterations": options.iterations,
        "until": options.until,
        "window": options.window,
        "real_batch": options.real_batch,
        "seed": options.seed,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    # What decides how data are read is checked before they are.
    named = {"recipe": "", "data": options.data or "digits"}
    known = {n: base[n] for n in ("data", "size", "channels", "flip", "zca") if n in base}
    data_as = {"data": options.data} if options.data else {}
    how: Scalars = make(Scalars, {**named, **known, **given, **data_as}, "run")
    data = load(how.data, size=how.size, channels=how.channels, flip=how.flip, zca=how.zca)
    planned = {name[5:]: value for name, value in dotted if name.startswith("plan.")}
    settings = {name: value for name, value in dotted if not name.startswith("plan.")}
    config = configure(data, base, {**given, **settings})
    say = printer(options)
    held_ipc = base.get("ipc")
    if options.config and held_ipc not in (None, config.ipc):
        say(
            f"note: settings that depend on the budget are those of {held_ipc} images a class, as "
            f"{options.config} has them; --recipe {config.recipe} chooses them for {config.ipc}"
        )
    for note in [*data.notes, *notes_of(config)]:
        say(f"note: {note}")
    name = f"{data.name}-{config.recipe}-ipc{config.ipc}"
    out = folder_of(options.out, Path("runs") / name)
    if options.sets > 1 and any((out / file).exists() for file in ("recipe.yaml", FILE)):
        raise UsageError(f"--out {out} holds a run of one set; choose another for --sets")
    results = []
    for number in range(options.sets):
        folder = RunFolder(out / str(number) if options.sets > 1 else out)
        one = dataclasses.replace(config, seed=config.seed + number)
        try:
            results.append(_condense_one(data, one, folder, options, planned, say))
        except Interrupted as stop:
            print(
                f"condensery: stopped by {stop}; the same command continues {folder.path}",
                file=sys.stderr,
            )
            return 128 + stop.number
    say(f"next: condensery evaluate {out}")
    write_result(options, {"runs": results})
    return 0


def _base(options: Any) -> Mapping[str, Any]:
    """The recipe or configuration that the flags change."""
    if not options.config:
        return read_recipe("dm" if options.recipe is None else options.recipe)
    file = Path(options.config)
    base = read_yaml(file / "recipe.yaml" if file.is_dir() else file, "--config")
    if "select" in base:
        raise UsageError(f"--config {file} belongs to a selection; repeat it with select")
    lacking = [name for name in CHOICES if name not in base]
    if lacking:
        raise UsageError(
            f"--config {options.config} lacks {', '.join(lacking)}; give a run's recipe.yaml"
        )
    return {"recipe": Path(options.config).stem, **base}


def _condense_one(
    data: Data,
    config: RunConfig,
    folder: RunFolder,
    options: Any,
    planned: Mapping[str, Any],
    say: Any,
) -> dict[str, Any]:
    status = folder.status(config)
    if status != "new":
        folder.check_data(data)
    if status == "finished":
        say(f"{folder.path} is finished; nothing to do")
        condensed = CondensedSet.load(folder.path)
    else:
        plan = folder.plan() if status == "unfinished" else None
        if plan is None:
            plan = plan_for(data, config, options.plan, options.device, options.threads)
            if planned:
                plan = make(
                    Plan, {**plan.as_dict(), "name": f"{plan.name}, changed", **planned}, "plan"
                )
        elif folder.state_file.exists():
            say(f"continuing {folder.path}, by the plan that it was begun with")
        say(
            f"condensing {data.name} ({len(data.train)} images, {data.train.classes} classes) to "
            f"{config.ipc} a class: {config.recipe}, {config.iterations} iterations, "
            f"seed {config.seed}"
        )
        say(f"plan: {plan.describe()}")
        condensed = carry_out(data, config, plan, folder, quiet=options.quiet)
        if condensed.about.iterations < config.iterations:
            say(f"converged after {condensed.about.iterations} of {config.iterations} iterations")
        say(f"done in {time_text(float(folder.facts()['seconds']))}: {folder.path}")
    say(f"picture: {folder.path / 'images.png'}")
    return {"out": str(folder.path), **facts_of_set(condensed)}


def pool(options: Any) -> int:
    """Train networks on the real training split and keep their snapshots."""
    keep_memory()
    flip = False if options.no_flip else None
    size, channels = options.size, options.channels
    data = load(options.data, size=size, channels=channels, flip=flip, zca=options.zca)
    names = ("epochs", "snapshots", "held_out", "rate", "momentum", "weight_decay", "batch")
    given = {name: getattr(options, name) for name in (*names, "augmentation", "seed")}
    settings = pool_settings(data, options.net, **given)
    say = printer(options)
    for note in data.notes:
        say(f"note: {note}")
    net = re.sub(r"[^\w.=,-]", "_", settings.net)
    out = folder_of(options.out, Path("runs") / f"{data.name}-{net}-pool")
    where = {"plan": options.plan, "device": options.device, "threads": options.threads}
    try:
        found = train_pool(
            data, settings, options.count, out, quiet=options.quiet, say=say, **where
        )
    except Interrupted as stop:
        print(f"condensery: stopped by {stop}; the same command continues {out}", file=sys.stderr)
        return 128 + stop.number
    say("\n".join(summary(found)))
    bands = ", ".join(f"{number} in {band} %" for band, number in found.bands().items())
    say(f"{len(found.snapshots)} snapshots: {bands}")
    same = ["--data", options.data]
    for flag in ("size", "channels"):
        value = getattr(options, flag)
        same += [f"--{flag}", str(value)] if value is not None else []
    same += ["--no-flip"] if options.no_flip else []
    same += ["--zca"] if options.zca else []
    again = shlex.join(["--supply.kind", "pool", "--supply.path", str(out), *same])
    say(f"next: condensery condense {again}")
    listed = [dataclasses.asdict(one) for one in found.snapshots]
    write_result(options, {"out": str(out), "snapshots": listed, "bands": found.bands()})
    return 0
