"""From data, a recipe and overrides to a resolved configuration and its plan."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from condensery.config.budget import SECTION
from condensery.config.build import Choices, kinds_of, make
from condensery.config.data_sets import as_meant_in
from condensery.config.imports import AllowedImports
from condensery.config.recipes import CHOICES, OVER, flattened, on_top, read_recipe, with_cases
from condensery.config.resolve import Resolved, merge, resolve
from condensery.config.schema import RunConfig, Scalars
from condensery.data import Data, load
from condensery.data.axes import Layout
from condensery.errors import UsageError
from condensery.runtime.distributed import Ranks
from condensery.runtime.plan import Plan, choose_plan, passes_in

from .convergence import window_of


def facts_of(data: Data, ipc: int, net: str | None = None) -> dict[str, Any]:
    """What the cases of a recipe may ask for.

    Args:
        data: what is condensed.
        ipc: budget.
        net: the matching network; the data's own by default.
    """
    channels, height, width = data.train.shape
    return {
        "data": data.known_as,
        "ipc": ipc,
        "size": max(height, width),
        "channels": channels,
        "classes": data.train.classes,
        "audio": data.rate is not None,
        "net": data.net,
        "family": re.split(r"[\d:]", net or data.net)[0],
        "norm": "given" if "norm=" in (net or data.net) else "default",
    }


def load_for_run(
    spec: str | None,
    base: Mapping[str, Any],
    given: Mapping[str, Any],
    ranks: Ranks,
    home: object = None,
) -> Data:
    """The data of a run, the same on all ranks; what decides how they are read is checked first.

    Args:
        spec: the data set, where it is named; otherwise that of ``base``, or the embedded one.
        base: a recipe, or a run's configuration.
        given: fields on top.
        ranks: those that share the run.
        home: where a relative path in ``base`` was typed, if that is known.

    Raises:
        UsageError: for a wrong value.
        DataError: for data that cannot be read, or that differ from rank to rank.
    """
    named = {"recipe": "", "data": spec or "digits"}
    read_as = ("data", "size", "channels", "sample_rate", "flip", "layout", "value_range", "zca")
    known = {name: base[name] for name in read_as if name in base}
    fields = {**named, **known, **given, **({"data": spec} if spec else {})}
    how: Scalars = make(Scalars, fields, "run")
    place = how.data if spec else as_meant_in(home, how.data)
    data = ranks.local_rank_first(
        lambda: load(
            place,
            size=how.size,
            channels=how.channels,
            sample_rate=how.sample_rate,
            flip=how.flip,
            layout=cast("Layout | None", how.layout),
            value_range=how.value_range,
            zca=how.zca,
        )
    )
    data = dataclasses.replace(data, spec=how.data) if place != how.data else data
    ranks.agree(
        data.train.fingerprint,
        f"the processes read different images from --data {how.data}; give every machine the "
        "same files",
    )
    return data


def configure(
    data: Data,
    recipe: str | Mapping[str, Any] = "dm",
    overrides: Mapping[str, Any] | None = None,
    *,
    trust_imports: bool = False,
) -> RunConfig:
    """The configuration of :func:`resolved`."""
    return resolved(data, recipe, overrides, trust_imports=trust_imports).config


def resolved(
    data: Data,
    recipe: str | Mapping[str, Any] = "dm",
    overrides: Mapping[str, Any] | None = None,
    *,
    source: str | None = None,
    trust_imports: bool = False,
) -> Resolved:
    """A recipe for a data set, resolved: the configuration, and the choices that it names.

    Args:
        data: what to condense.
        recipe: a recipe's name or file, or the content of one.
        overrides: fields on top, dotted for the settings of a choice
            (``{"ipc": 1, "optimizer.rate": 0.1}``).
        source: file that the content comes from, where it is no recipe's name or file.
        trust_imports: whether a file may name code to import; content without a source and
            overrides always may.

    Raises:
        UsageError: for a field or value that is invalid, or an import path that is not allowed.
    """
    found_so = {"layout": data.layout, "value_range": data.value_range and str(data.value_range)}
    read_so = {name: value for name, value in found_so.items() if value is not None}
    found = resolved_for(
        lambda ipc, net: facts_of(data, ipc, net),
        recipe,
        {**(overrides or {}), **read_so},
        spec=data.spec,
        source=source,
        trust_imports=trust_imports,
    )
    asked = found.config.sample_rate
    if asked not in (None, data.rate):
        raise UsageError(
            f"sample_rate {asked} is requested, but the data were read with {data.rate or 'none'}; "
            "pass sample_rate= to load"
        )
    return found


def resolved_for(
    facts_for: Callable[[int, str | None], dict[str, Any]],
    recipe: str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    spec: str,
    source: str | None = None,
    trust_imports: bool = False,
) -> Resolved:
    """As :func:`resolved`, for data of which only the facts are known.

    Args:
        facts_for: what :func:`facts_of` gives, by the budget and the matching network.
        recipe, overrides, source, trust_imports: as there.
        spec: how the data are named.
    """
    file = recipe if isinstance(recipe, str) else source
    typed = dict(flattened(overrides or {}))
    allowed = None if file is None or trust_imports else AllowedImports(file, typed)
    base = read_recipe(recipe) if isinstance(recipe, str) else on_top(recipe)
    over = base.pop(OVER, {})
    plain = {name: value for name, value in over.items() if name != "cases"}
    given = {**dict(flattened(plain)), **dict(flattened(overrides or {}))}
    ipc = given.get("ipc", base.get("ipc", RunConfig.ipc))
    if isinstance(ipc, bool) or not isinstance(ipc, int | np.integer):
        raise UsageError(f"ipc must be a whole number, got {ipc!r}")
    ipc = int(ipc)
    if ipc < 1:  # before anything depends on it
        raise UsageError(f"ipc must be at least 1, got {ipc}")
    supply = base.get("supply", {})
    net = given.get("supply.net", supply.get("net") if isinstance(supply, Mapping) else None)
    facts = facts_for(ipc, net if isinstance(net, str) and net != "default" else None)
    # Cases of what stands on top come before what is typed.
    # What is fitted to a time has become fields by now.
    over, cased = _untimed(with_cases(over, facts)), _untimed(with_cases(base, facts))
    held = {name: cased[name] for name in CHOICES if name in cased}
    given = {**_suiting_kinds(dict(flattened(over)), held, typed), **typed}
    given = {"ipc": ipc, **{name: v for name, v in given.items() if name != "ipc"}}
    if "optimizer.rate" in given:  # meant as it is typed
        given = {"optimizer.rate_for_ipc": None, "optimizer.rate_for_size": None, **given}
    raw = merge(cased, [("data", spec), *given.items()])
    schedule = cased.get("iterations")
    found = resolve(raw, facts, allowed)
    if raw.get("window") is not None or not isinstance(schedule, int):
        return found
    steps = found.choices.supply.effort(1)[0]
    config = dataclasses.replace(found.config, window=window_of(schedule, steps))
    return dataclasses.replace(found, config=config)


def _suiting_kinds(
    over: Mapping[str, Any], base: Mapping[str, Any], typed: Mapping[str, Any]
) -> dict[str, Any]:
    """A file's fields without those of kinds that the user replaced; a network stays, if it can.

    Args:
        over: the file's, dotted.
        base: the choices of the recipe below it.
        typed: by the user, dotted.
    """
    out = dict(over)
    for choice in CHOICES:
        kind, below = typed.get(f"{choice}.kind"), base.get(choice)
        usual = below.get("kind") if isinstance(below, Mapping) else below
        if not isinstance(kind, str) or kind == over.get(f"{choice}.kind", usual):
            continue
        cls = kinds_of(choice).get(kind)
        has_net = cls is None or "net" in {f.name for f in dataclasses.fields(cls)}
        kept = {"kind", "net"} if has_net else {"kind"}
        for name in over:
            section, _, setting = name.partition(".")
            if section == choice and setting not in kept:
                del out[name]
    return out


def _untimed(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != SECTION}


def check_start(data: Data, found: Resolved) -> None:
    """Raise if the data have too few images for the budget to start from.

    Raises:
        DataError: naming the class, and the remedy.
    """
    formation = found.choices.formation
    if hasattr(formation, "check_start"):
        formation.check_start(data.train, found.config.ipc)


def notes_of(choices: Choices, ipc: int) -> list[str]:
    """What a user should know about the choices at a budget before they run."""
    supply = choices.supply
    return list(supply.notes(ipc)) if hasattr(supply, "notes") else []


def passes_of(counts: Sequence[int], config: RunConfig, choices: Choices) -> float:
    """Forward passes of single images that a run takes, a pass back counted as two.

    Args:
        counts: training images of every class.
        config: of the run.
        choices: of the configuration.
    """
    real = sum(min(n, config.real_batch) for n in counts)
    made = choices.formation.decoded(config.ipc)
    synthetic = len(counts) * min(made, config.synthetic_batch or made)
    steps, trained = choices.supply.effort(synthetic)
    passes = choices.objective.passes
    return float(config.iterations * (steps * passes * (real + 3 * synthetic) + 3 * trained))


def plan_for(
    data: Data,
    config: RunConfig,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    *,
    choices: Choices | None = None,
    minutes: float | None = None,
) -> Plan:
    """The execution plan of a run: what was requested, or what suits its device and size.

    Args:
        data: what is condensed.
        config: of the run.
        plan: ``auto``, ``exact``, a YAML file or a plan.
        device: torch device.
        threads: CPU threads.
        choices: of the configuration, where they are built already.
        minutes: time limit of the run.
    """
    shape = data.train.shape
    images = passes_of(data.train.counts, config, choices or Choices.of(config))
    images = passes_in(minutes, images, shape, threads)
    found = choose_plan(plan, shape=shape, images=images, device=device, threads=threads)
    # Several networks at once are for evaluations.
    return dataclasses.replace(found, processes=1, networks=1)
