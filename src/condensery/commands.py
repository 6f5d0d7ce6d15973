"""What each command does, once its options are read."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .condensed import FILE, CondensedSet, load_sets
from .config import RunConfig, Scalars, make
from .data import Data, as_json, describe, load
from .data.catalogue import known_names
from .engine import Plan
from .engine.host import keep_memory
from .errors import UsageError, unknown_name
from .evaluation import Result, whole_epochs
from .evaluation import evaluate as evaluate_sets
from .exports import export as export_set
from .exports import rounded
from .files import write_json, write_text
from .planning import configure, notes_of, plan_for
from .progress import Progress
from .recipe import CHOICES, read_recipe, read_yaml
from .report.pictures import save_picture
from .report.results import result_table
from .report.tables import size_text, time_text
from .runs import Interrupted, RunFolder, carry_out
from .select import select_random

SELECTIONS = ("random",)


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
    known = {n: base[n] for n in ("data", "size", "channels", "flip") if n in base}
    data_as = {"data": options.data} if options.data else {}
    how: Scalars = make(Scalars, {**named, **known, **given, **data_as}, "run")
    data = load(how.data, size=how.size, channels=how.channels, flip=how.flip)
    planned = {name[5:]: value for name, value in dotted if name.startswith("plan.")}
    settings = {name: value for name, value in dotted if not name.startswith("plan.")}
    config = configure(data, base, {**given, **settings})
    say = _printer(options)
    held_ipc = base.get("ipc")
    if options.config and held_ipc not in (None, config.ipc):
        say(
            f"note: settings that depend on the budget are those of {held_ipc} images a class, as "
            f"{options.config} has them; --recipe {config.recipe} chooses them for {config.ipc}"
        )
    for note in [*data.notes, *notes_of(config)]:
        say(f"note: {note}")
    name = f"{data.name}-{config.recipe}-ipc{config.ipc}"
    out = _folder(options.out, Path("runs") / name)
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
    _write_json(options, {"runs": results})
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


def _folder(out: str | None, default: Path) -> Path:
    if out is not None and not out.strip():
        raise UsageError("--out is empty; name a folder")
    return Path(out) if out is not None else default


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
    return {"out": str(folder.path), **_facts(condensed)}


def select(options: Any) -> int:
    """Draw real images."""
    if options.method not in SELECTIONS:
        raise unknown_name("selection", options.method, SELECTIONS)
    if options.sets < 1:
        raise UsageError(f"--sets must be at least 1, got {options.sets}")
    flip = False if options.no_flip else None
    data = load(options.data, size=options.size, channels=options.channels, flip=flip)
    name = f"{data.name}-{options.method}-ipc{options.ipc}"
    out = _folder(options.out, Path("runs") / name)
    say = _printer(options)
    results = []
    for number in range(options.sets):
        folder = out / str(number) if options.sets > 1 else out
        chosen = select_random(
            data,
            ipc=options.ipc,
            seed=options.seed + number,
            size=options.size,
            channels=options.channels,
        )
        _keep_selection(chosen, folder, data, say)
        results.append({"out": str(folder), **_facts(chosen)})
    _write_json(options, {"runs": results})
    return 0


def _keep_selection(chosen: CondensedSet, folder: Path, data: Data, say: Any) -> None:
    """Write a selection where there is nothing, or the same one already."""
    about = chosen.about
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / FILE).exists() or CondensedSet.load(folder).about != about:
            raise UsageError(f"--out {folder} holds something else; choose another")
        say(f"{folder} is finished; nothing to do")
        return
    # Where the data came from is for this machine, not for the file.
    write_text(folder / "recipe.yaml", yaml.safe_dump({**about.config, "data": data.spec}))
    save_picture(chosen, folder / "images.png")
    chosen.save(folder)
    say(f"{about.ipc} images a class of {data.name}, seed {about.seed}: {folder}")


def evaluate(options: Any) -> int:
    """Train and test networks; print and write the table."""
    keep_memory()
    names = list(options.set)
    data = _data_of(names, options)
    networks = options.net or [data.net]
    say = _printer(options)
    with Progress(_count(names, options, networks), "networks", quiet=options.quiet) as progress:
        results = evaluate_sets(
            names,
            data,
            nets=networks,
            protocol=options.protocol,
            n=options.nets,
            epochs=options.epochs,
            seed=options.seed,
            plan=options.plan,
            device=options.device,
            threads=options.threads,
            on_network=lambda what, found: progress.advance(f"{what}: {found:.1f} %"),
        )
    say(result_table(results, len(data.test)))
    _write_json(options, {"results": [result.as_dict() for result in results]})
    return 0


def show(options: Any) -> int:
    """Describe a set and draw it."""
    say = _printer(options)
    path = Path(options.run)
    found = load_sets(path)
    condensed = found[0]
    about, stored = condensed.about, condensed.stored
    picture = Path(options.picture) if options.picture else path / "images.png"
    if options.picture or (path.is_dir() and not picture.exists()):
        save_picture(condensed, picture)
    drawn = picture if picture.exists() else "none; draw it with --picture FILE"
    shape = "×".join(str(s) for s in condensed.images.shape[1:])
    several = f" (the first of {len(found)} sets)" if len(found) > 1 else ""
    lines = [
        f"{path}{several}: {about.method} of {about.source.name}",
        f"  stored        {stored.shape[0] * stored.shape[1]} × {shape}, "
        f"{about.ipc} a class in {len(stored)} classes, {size_text(condensed.stored_bytes)}",
        f"  decoded       {len(condensed)} training images",
        f"  source        {about.source.images} images, {size_text(about.source.bytes)}: "
        f"{condensed.shrinkage:.0f} times as many images, "
        f"{about.source.bytes / condensed.stored_bytes:.0f} times as many bytes",
        f"  made by       {about.method}, {about.iterations} iterations, seed {about.seed}",
        *(f"  {name:<13} {_flat(about.config[name])}" for name in _CHOICES if name in about.config),
        f"  classes       {', '.join(about.class_names[:20])}"
        + (" …" if len(about.class_names) > 20 else ""),
        f"  mean, std     {_numbers(about.mean)}, {_numbers(about.std)}",
        f"  picture       {drawn}",
    ]
    say("\n".join(lines))
    _write_json(options, {"run": str(path), **_facts(condensed)})
    return 0


_CHOICES = ("formation", "objective", "supply", "augmentation", "optimizer")


def _flat(section: Any) -> str:
    if not isinstance(section, Mapping):
        return str(section)
    rest = ", ".join(f"{k} {v}" for k, v in section.items() if k != "kind" and v is not None)
    parts = [str(section["kind"])] if "kind" in section else []
    return ": ".join([*parts, rest] if rest else parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4f}" for value in values)


def export(options: Any) -> int:
    """Write a set as plain data, and measure what 8 bits cost where that is asked."""
    say = _printer(options)
    condensed = CondensedSet.load(options.run)
    written = export_set(condensed, options.to, options.out, stored=options.stored)
    say(f"{len(condensed)} images: {written}")
    outcome: dict[str, Any] = {"out": str(written), "to": options.to}
    if options.verify:
        keep_memory()
        results, tested_on = _verify(condensed, options)
        say(result_table(results, tested_on))
        cost = results[0].mean - results[1].mean
        say(f"8 bits cost {cost:.2f} points of mean accuracy (n={results[0].n} each)")
        outcome["results"] = [result.as_dict() for result in results]
    _write_json(options, outcome)
    return 0


def _verify(condensed: CondensedSet, options: Any) -> tuple[list[Result], int]:
    """The set as it is, and as 8 bits hold it, under one protocol and the same seeds."""
    data = _data_of([options.run], options)
    eight = (rounded(condensed).float() / 255).to(condensed.images)
    shape = (1, -1, 1, 1)
    about = condensed.about
    mean = eight.new_tensor(about.mean).view(shape)
    images = (eight - mean) / eight.new_tensor(about.std).view(shape)
    coarse = CondensedSet(
        images.unflatten(0, (len(condensed.stored), -1)),
        dataclasses.replace(about, method=f"{about.method}, 8 bits"),
    )
    results = evaluate_sets(
        [condensed, coarse],
        data,
        n=options.nets,
        epochs=options.epochs,
        plan=options.plan,
        device=options.device,
        threads=options.threads,
    )
    return results, len(data.test)


def data(options: Any) -> int:
    """Say what was understood of a data set."""
    flip = False if options.no_flip else None
    loaded = load(options.spec, size=options.size, channels=options.channels, flip=flip)
    _printer(options)("\n".join(describe(loaded)))
    _write_json(options, as_json(loaded))
    return 0


def _data_of(names: list[str], options: Any) -> Data:
    """The data that sets are tested on: as named, read the way the first set saw it."""
    config: Mapping[str, Any] = {}
    sets = [name for name in names if whole_epochs(name) is None]
    if sets:
        config = load_sets(sets[0])[0].about.config
    spec = options.data or _spec_of(sets, config)
    try:
        return load(
            spec,
            size=config.get("size") if options.size is None else options.size,
            channels=config.get("channels") if options.channels is None else options.channels,
            flip=False if options.no_flip else config.get("flip"),
        )
    except ValueError as error:
        if options.data:
            raise
        where = f"({sets[0]} was made from {spec}; --data says where that is)" if sets else ""
        raise type(error)(f"{error} {where}") from error


def _spec_of(sets: list[str], config: Mapping[str, Any]) -> str:
    """Where the first set's data came from: its recipe.yaml knows the place, its file the name."""
    if not sets:
        return "digits"
    place = Path(sets[0])
    # A run folder, a folder of several, a file in a run folder, a file among its checkpoints.
    for folder in (place, place / "0", place.parent, place.parent.parent):
        recipe = folder / "recipe.yaml"
        if recipe.exists():
            spec = read_yaml(recipe, "recipe").get("data")
            if spec is not None:
                return str(spec)
    name = config.get("data")
    if name in known_names():
        return str(name)
    raise UsageError(f"{place} does not say where its data are; name them with --data")


def _count(names: list[str], options: Any, networks: list[str]) -> int:
    sets = sum(1 if whole_epochs(name) is not None else len(load_sets(name)) for name in names)
    return sets * int(options.nets) * len(networks)


def _facts(condensed: CondensedSet) -> dict[str, Any]:
    about = condensed.about
    return {
        "method": about.method,
        "data": about.source.name,
        "ipc": about.ipc,
        "seed": about.seed,
        "iterations": about.iterations,
        "classes": len(about.class_names),
        "stored_shape": list(condensed.stored.shape),
        "decoded_images": len(condensed),
        "stored_bytes": condensed.stored_bytes,
        "source_images": about.source.images,
        "source_bytes": about.source.bytes,
        "config": dict(about.config),
    }


def _printer(options: Any) -> Any:
    return (lambda text: None) if options.quiet else (lambda text: print(text, flush=True))


def _write_json(options: Any, value: Any) -> None:
    if options.json:
        write_json(Path(options.json), value)
