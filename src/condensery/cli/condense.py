"""``condensery condense``: learns sets, or says what that would take."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.condensation.configure import check_start, load_for_run, notes_of, resolved
from condensery.condensation.in_time import together
from condensery.condensation.rate_trials import without_rate
from condensery.condensation.run_folder import RunFolder, Status
from condensery.condensation.run_plan import plan_of_run
from condensery.condensation.runner import carry_out
from condensery.config.build import Choices
from condensery.config.imports import import_paths
from condensery.config.measured import AUTO
from condensery.config.recipes import pool_meant_in, read_config, read_recipe
from condensery.config.resolve import Resolved
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.devices import SHARE_VARIABLE
from condensery.runtime.distributed import Ranks, check_device, joined
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan
from condensery.sets.condensed import CondensedSet
from condensery.sets.places import FILE
from condensery.utils.checkpoint import Every
from condensery.utils.facts import note_facts
from condensery.utils.files import check_no_link
from condensery.utils.output import put_error
from condensery.utils.plotting import check_drawing
from condensery.utils.signals import Interrupted
from condensery.utils.text import minutes_text, plural, size_text, time_text

from . import evaluate_at as curves
from .estimate import estimate
from .found_out import FoundOut, found_out, recipe_for
from .in_minutes import Asked, begun, default_out, ipc_for
from .shared import facts_of_set, in_eight_bits, next_line
from .telling import conclude, folder_of, printer, show_picture


def condense(options: Any, dotted: list[tuple[str, Any]]) -> int:
    """Learn one set, or several with consecutive seeds; in one process, or in those of torchrun."""
    with joined() as ranks:
        return condense_sets(options, dotted, ranks)


@dataclass(frozen=True)
class _Order:
    """A parsed command: what is condensed, how, and by which processes."""

    options: Any
    data: Data
    config: RunConfig
    choices: Choices
    planned: Mapping[str, Any]
    """Fields of the plan given on the command line."""
    every: Every
    ranks: Ranks
    say: Callable[..., None]
    before: FoundOut
    """What was found out before the first set, and the minutes that are left for each."""


def condense_sets(options: Any, dotted: list[tuple[str, Any]], ranks: Ranks) -> int:
    """The sets of a command, one after another, on ranks that have joined."""
    keep_memory()
    try:
        order = _order(options, dotted, ranks)
    except Interrupted as stop:
        put_error(f"condensery: stopped by {stop} before the first set; run the command again")
        return 128 + stop.number
    data, config = order.data, order.config
    out = folder_of(options.out, default_out(data, config.recipe, config.ipc))
    if options.sets > 1 and any((out / file).exists() for file in ("recipe.yaml", FILE)):
        raise UsageError(f"--out {out} holds a run of one set; choose another for --sets")
    results = []
    for number in range(1 if options.dry_run else options.sets):
        place = out / str(number) if options.sets > 1 else out
        if options.sets > 1:
            check_no_link(place, "put a folder there, or name it as --out of a run of its own")
        folder = RunFolder(place, writes=ranks.first)
        one = dataclasses.replace(config, seed=config.seed + number)
        try:
            results.append(_condense_one(order, one, folder, number))
        except Interrupted as stop:
            if ranks.first:
                put_error(
                    f"condensery: stopped by {stop}; the same command continues {folder.path}, and "
                    f"so does: {_resume(out, config)}"
                )
            return 128 + stop.number
    lines = [] if options.dry_run else [*curves.drawn(results, options, ranks), next_line(out)]
    conclude(options, {"runs": results}, lines, speaks=ranks.first)
    return 0


def _check(options: Any, ranks: Ranks) -> None:
    """Raise if a flag is invalid by itself."""
    check_device(options.device, ranks)
    if options.config and options.recipe:
        raise UsageError("--config and --recipe are mutually exclusive: give one of them")
    if options.sets < 1:
        raise UsageError(f"--sets must be at least 1, got {options.sets}")
    if options.minutes is not None and not 0 < options.minutes < float("inf"):
        raise UsageError(f"--minutes must be positive, got {options.minutes:g}")
    if options.evaluate_plot and not options.evaluate_at:
        raise UsageError("--evaluate-plot draws what --evaluate-at finds; add --evaluate-at 0,100")
    check_drawing(options.evaluate_plot, "--evaluate-plot")
    if options.bytes is not None and options.ipc is not None:
        raise UsageError("--bytes and --ipc are mutually exclusive: give one of them")
    if options.dry_run and not ranks.alone:
        raise UsageError("--dry-run measures a single process; run it without torchrun")
    if options.data is not None and not options.data.strip():
        raise UsageError("--data is empty; name a data set, a folder or a file")


def _order(options: Any, dotted: list[tuple[str, Any]], ranks: Ranks) -> _Order:
    """Read the recipe and the data, and resolve the configuration; print notes."""
    _check(options, ranks)
    began = time.monotonic()
    every = Every.parse(options.checkpoint_every)
    given = _given(options)
    file = Path(options.config) if options.config else None
    home = note_facts(file if file.is_dir() else file.parent).get("started_in") if file else None
    base = pool_meant_in(home, _base(options))
    data = load_for_run(options.data, base, given, ranks, home)
    settings = dict(dotted)
    planned = {name[5:]: settings.pop(name) for name in list(settings) if name.startswith("plan.")}
    if options.bytes is not None:
        given["ipc"] = ipc_for(data, options.bytes)
    say = printer(options, ranks.first)
    typed = {**given, **settings}
    recipe = options.recipe or "dm"
    if recipe == AUTO:
        recipe = recipe_for(options, data, given.get("ipc", RunConfig.ipc), say)
        base = read_recipe(recipe)
    held = begun(options, data, base, typed)
    if held is not None:
        base = held
        typed = without_rate(together({"supply.kind": held["supply"]["kind"]}, typed))

    def resolve(fields: Mapping[str, Any]) -> Resolved:
        return resolved(
            data,
            base,
            fields,
            source=options.config or recipe,
            trust_imports=options.trust_imports,
        )

    usual = resolve(without_rate(typed))
    check_start(data, usual)
    _say_of_data(options, data, usual.config, say)
    asked = Asked(
        options=options,
        data=data,
        base=base,
        typed=typed,
        planned=planned,
        resolve=resolve,
        began=began,
        ranks=ranks,
        say=say,
    )
    before = found_out(asked)
    found = resolve(before.fields)
    _say_notes(options, base, found, say)
    return _Order(options, data, found.config, found.choices, planned, every, ranks, say, before)


def _say_of_data(options: Any, data: Data, config: RunConfig, say: Callable[..., None]) -> None:
    """What loading had to decide: once, when a run begins, and before any time is spent on it."""
    out = folder_of(options.out, default_out(data, config.recipe, config.ipc))
    if not any((place / "recipe.yaml").exists() for place in (out, out / "0")):
        for note in data.notes:
            say(f"note: {note}")


def _say_notes(
    options: Any, base: Mapping[str, Any], found: Resolved, say: Callable[..., None]
) -> None:
    """What the user should know of a configuration; raise if its budget cannot be kept."""
    config = found.config
    if options.bytes is not None and hasattr(found.choices.formation, "weights"):
        raise UsageError(
            f"--bytes counts images, and formation {config.formation.kind} stores weights beside "
            "them; give --ipc"
        )
    held_ipc = base.get("ipc")
    if options.config and held_ipc not in (None, config.ipc):
        say(
            "note: settings that depend on the budget are those of "
            f"{plural(held_ipc, 'image')} per class, "
            f"as {options.config} has them; --recipe {config.recipe} chooses them for {config.ipc}"
        )
    for note in notes_of(found.choices, config.ipc):
        say(f"note: {note}")


def _given(options: Any) -> dict[str, Any]:
    """The fields of a configuration that have flags of their own, as far as they were given."""
    flags = {
        "size": options.size,
        "channels": options.channels,
        "sample_rate": options.sample_rate,
        "flip": False if options.no_flip else None,
        "layout": options.layout,
        "value_range": options.range,
        "zca": True if options.zca else None,
        "ipc": options.ipc,
        "iterations": options.iterations,
        "until": options.until,
        "window": options.window,
        "real_batch": options.real_batch,
        "synthetic_batch": options.synthetic_batch,
        "real_batches": options.real_batches,
        "real_batches_renewed": options.real_batches_renewed,
        "real_batches_of": options.real_batches_of,
        "seed": options.seed,
    }
    return {name: value for name, value in flags.items() if value is not None}


def _base(options: Any) -> Mapping[str, Any]:
    """The recipe or configuration that the flags change."""
    if not options.config:
        # What auto stands for is known with the data, and this says how they are read.
        return read_recipe("dm" if options.recipe in (None, AUTO) else options.recipe)
    return read_config(Path(options.config))


def _condense_one(
    order: _Order, config: RunConfig, folder: RunFolder, number: int
) -> dict[str, Any]:
    data, options, ranks, say = order.data, order.options, order.ranks, order.say
    status = folder.status(config)
    ranks.agree(
        status,
        f"the processes do not share the same run folder {folder.path}; it must be on a file "
        "system that all machines share",
    )
    if status != "new":
        folder.check_data(data)
    curve = curves.asked(folder, options)
    before, trials = order.before, order.before.trials
    minutes, taken = _time_left(order, folder, status, number)
    over = minutes is not None and _seconds(folder) >= 60 * minutes
    if status == "finished" or (status == "timed" and over):
        more = f" in its {options.minutes:g} minutes" if status == "timed" else ""
        say(f"{folder.path} is finished{more}; nothing to do{_more(folder, config, status)}")
        condensed = CondensedSet.load(folder.path)
    else:
        plan = _plan(order, config, folder, status, number)
        _announce(order, config, plan)
        if options.dry_run:
            return estimate(data, config, plan, folder.path, options, before.planned, say)
        condensed = carry_out(
            data,
            config,
            plan,
            folder,
            quiet=options.quiet or not ranks.first,
            every=order.every,
            minutes=minutes,
            ranks=ranks,
            keep=curve.get("at", ()),
            keep_states=options.keep_checkpoints,
            facts={
                "set": number,
                "sets": options.sets,
                "evaluate_at": curve or None,
                "asked_threads": options.threads,
                "rate_trials": trials and trials.as_dict(),
                **taken,
                "source_file_bytes": data.file_bytes,
            },
        )
        if ranks.first:
            _say_how_it_ended(folder, config, condensed, say)
    say(f"picture: {folder.path / 'images.png'}")
    if options.picture and ranks.first:
        show_picture(folder.path / "images.png", options)
    found = ranks.on_rank_zero(lambda: curves.evaluated(data, config, folder, options, curve, say))
    return {"out": str(folder.path), **facts_of_set(condensed), **(found or {})}


def _time_left(
    order: _Order, folder: RunFolder, status: Status, number: int
) -> tuple[float | None, dict[str, float]]:
    """The minutes of a set, and what of its time was not for iterations.

    A run that an earlier command began has less than these minutes, too; so have the sets that were
    to follow it.
    """
    before, begun = order.before, folder if status != "new" else None
    if status == "new" and number and not before.seconds:
        begun = RunFolder(folder.path.parent / "0")
    if begun is None:
        taken = {"seconds_before": before.seconds, "seconds_reserved": before.reserve}
        return before.minutes, taken
    facts = begun.facts()
    taken = {name: facts.get(name, 0.0) for name in ("seconds_before", "seconds_reserved")}
    return begun.left(before.minutes), taken


def _plan(order: _Order, config: RunConfig, folder: RunFolder, status: Status, number: int) -> Plan:
    options = order.options
    plan = plan_of_run(
        order.data,
        config,
        folder,
        status=status,
        number=number,
        plan=options.plan,
        device=options.device,
        threads=options.threads,
        changes=order.planned,
        choices=order.choices,
        ranks=order.ranks,
        minutes=options.minutes,
    )
    if status != "new" and folder.checkpoints.files:
        held = folder.plan() is not None
        order.say(
            f"continuing {folder.path}, with " + ("its original plan" if held else "a new plan")
        )
        if not held:
            order.say(
                f"note: {folder.path / 'run.json'} holds no plan, so the rest may differ in the "
                "last digits from that of an unbroken run"
            )
    return plan


def _announce(order: _Order, config: RunConfig, plan: Plan) -> None:
    """Say what is about to run."""
    data, ranks, say = order.data, order.ranks, order.say
    say(
        f"condensing {data.name} ({len(data.train)} images, {data.train.classes} classes) to "
        f"{config.ipc} per class: {config.recipe}, {_how_long(order.options, config)}, seed "
        f"{config.seed}"
    )
    say(f"plan: {plan.describe()}")
    _say_where(data, plan, say)
    if not ranks.alone:
        say(f"processes: {ranks.world}, {_split(data.train.classes, ranks.world)} each")


def _how_long(options: Any, config: RunConfig) -> str:
    """How long a run is: its time, where it has one."""
    if options.minutes is None:
        return plural(config.iterations, "iteration")
    return f"for {minutes_text(options.minutes)} (at most {plural(config.iterations, 'iteration')})"


def _seconds(folder: RunFolder) -> float:
    return float(folder.facts().get("seconds", 0.0))


def _resume(out: Path, config: RunConfig) -> str:
    """The command that continues a run."""
    trusting = " --trust-imports" if any(import_paths(config)) else ""
    return f"condensery resume {out}{trusting}"


def _more(folder: RunFolder, config: RunConfig, status: str) -> str:
    if config.iterations == 0 and folder.seconds_before:
        return "; nothing was learned: for a longer run choose another --out"
    on = f"; {_resume(folder.path, config)}, with more --minutes or none, continues it"
    return on if status == "timed" else ""


def _say_how_it_ended(
    folder: RunFolder, config: RunConfig, condensed: CondensedSet, say: Any
) -> None:
    done, ended = condensed.about.iterations, folder.facts().get("ended")
    if ended == "converged" and done < config.iterations:
        say(f"converged after {done} of {config.iterations} iterations")
    if ended == "minutes":
        missed = [drop for drop in config.optimizer.drops if drop > done]
        never = f"; scheduled rate drops at {missed} were not reached" if missed else ""
        say(
            f"time limit reached after {done} of {config.iterations} iterations{never}; continue "
            f"with: {_resume(folder.path, config)} --minutes N, for N in all, or without it"
        )
    before = folder.seconds_before
    planned = f" ({time_text(before)} of it before the first iteration)" if before >= 1 else ""
    say(f"done in {time_text(before + _seconds(folder))}{planned}: {folder.path}")
    offer = in_eight_bits(condensed, folder.path)
    say(f"size: {size_text(condensed.stored_bytes)}; in 8 bits {offer}")
    kept = folder.checkpoints.files
    if len(kept) == 1:
        say(
            "kept for resume --iterations N: the last checkpoint, "
            f"{size_text(kept[0].stat().st_size)} (--keep-checkpoints: the one before it, too)"
        )


def _split(classes: int, ranks: int) -> str:
    """How many classes each rank has."""
    least, most = classes // ranks, -(-classes // ranks)
    several = plural(most, "class", "classes")
    return several if least == most else f"{least} or {several}"


def _say_where(data: Data, plan: Plan, say: Any) -> None:
    """Say so when the training images are too large for the device."""
    if plan.device != "cpu" and data.train.stays_on_host(plan.device):
        say(
            f"note: the training images ({size_text(data.train.nbytes)}) stay on the host and are "
            f"copied to {plan.device} as they are drawn; {SHARE_VARIABLE} is the share of its "
            "free memory that they may take"
        )
