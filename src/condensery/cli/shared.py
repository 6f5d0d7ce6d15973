"""What commands have in common that read data or sets."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condensery.config.data_sets import as_meant_in, known_names
from condensery.config.recipes import read_yaml
from condensery.data import Data, load
from condensery.data.pictures import NoRecordingsError
from condensery.errors import DataError, UsageError
from condensery.evaluation.rows import Row, check_not_runs, split_name, whole_epochs
from condensery.selection import select_random
from condensery.sets.condensed import CondensedSet, load_sets
from condensery.sets.eight_bits import bytes_in_eight_bits
from condensery.sets.foreign import is_foreign
from condensery.utils.facts import note_facts
from condensery.utils.text import size_text

#: The word for random images as a row, and how many draws of them are one.
RANDOM, _DRAWS = "random", 3


def next_line(out: Path, *, draws: bool = False) -> str:
    """What to do with a set: a command that ends soon and holds what a number needs beside it.

    Args:
        out: its folder.
        draws: whether it is the random images that others are compared with.
    """
    beside = ["whole"] if draws else [RANDOM, "whole"]
    again = ["condensery", "evaluate", str(out), *beside, "--minutes", "5"]
    return f"next: {shlex.join(again)}"


def in_eight_bits(condensed: CondensedSet, place: Path) -> str:
    """What a set would take in 8 bits, and the command; empty where it is stored so."""
    if condensed.eight is not None:
        return ""
    size = bytes_in_eight_bits(condensed.stored) + condensed.formation_bytes
    return f"{size_text(size)}: {shlex.join(['condensery', 'export', str(place), '--to', '8bit'])}"


def read(spec: str, options: Any) -> Data:
    """A data set, read as the flags say."""
    return load(
        spec,
        size=options.size,
        channels=options.channels,
        sample_rate=options.sample_rate,
        flip=False if options.no_flip else None,
        layout=options.layout,
        value_range=options.range,
        zca=options.zca,
    )


def data_of(names: list[str], options: Any) -> Data:
    """The data that sets are tested on: as named, read the way the first set saw it."""
    config: Mapping[str, Any] = {}
    places = [place for _, place in map(split_name, names) if whole_epochs(place) is None]
    named = [place for place in places if not is_random(place)]
    for place in named:
        check_not_runs(Path(place))
    sets = [place for place in named if not is_foreign(Path(place))]
    if sets:
        config = load_sets(sets[0])[0].about.config
    elif named and not options.data:
        raise UsageError(f"{named[0]} does not record its source; name it with --data")
    spec = options.data or _spec_of(sets, config)
    try:
        data = load(
            spec,
            size=_either(options, config, "size"),
            channels=_either(options, config, "channels"),
            sample_rate=_either(options, config, "sample_rate"),
            layout=_either(options, config, "layout"),
            value_range=config.get("value_range") if options.range is None else options.range,
            flip=False if options.no_flip else config.get("flip"),
            zca=options.zca or config.get("zca") is True,
        )
        # What a set's file says of its data's range says nothing of the sets beside it.
        return data if options.range else dataclasses.replace(data, value_range=None)
    except NoRecordingsError as error:
        if options.sample_rate is not None:
            raise
        raise DataError(
            f"set {sets[0]} was made from recordings, and {spec} holds images; name its data set "
            "with --data"
        ) from error
    except ValueError as error:
        if options.data:
            raise
        where = f"({sets[0]} was made from {spec}; --data says where that is)" if sets else ""
        raise type(error)(f"{error} {where}") from error


def _either(options: Any, config: Mapping[str, Any], name: str) -> Any:
    """What a flag says, or else what the first set's file does."""
    said = getattr(options, name)
    return config.get(name) if said is None else said


def is_random(place: str) -> bool:
    """Whether the word ``random`` is meant, and no file or folder of that name."""
    return place == RANDOM and not Path(place).exists()


def with_random(names: list[str], data: Data) -> list[Any]:
    """The rows that were named; the word ``random`` is draws at the budget of the first set.

    Raises:
        UsageError: when no other row has a budget.
    """
    pairs = [(name, place, is_random(place)) for name, place in map(split_name, names)]
    if not any(drawn for _, _, drawn in pairs):
        return list(names)
    rows = [None if p[2] else Row.of(given, data) for given, p in zip(names, pairs, strict=True)]
    ipc = next((row.sets[0].ipc for row in rows if row is not None and row.sets), None)
    if ipc is None:
        raise UsageError(
            "random is drawn at the budget of another row, and there is none; name a set beside "
            "it, or draw it first: condensery select random --ipc N"
        )
    draws = [select_random(data, ipc=ipc, seed=seed) for seed in range(_DRAWS)]
    drawn = {name: Row.named(name, draws, data) for name, _, is_drawn in pairs if is_drawn}
    return [row or drawn[p[0]] for row, p in zip(rows, pairs, strict=True)]


def _spec_of(sets: list[str], config: Mapping[str, Any]) -> str:
    """Where the first set's data came from: its recipe.yaml knows the place, its file the name."""
    if not sets:
        return "digits"
    place = Path(sets[0])
    spec = spec_of(place, config)
    if spec is None:
        raise UsageError(f"{place} does not record where its data are; name them with --data")
    return spec


def spec_of(place: Path, config: Mapping[str, Any]) -> str | None:
    """Where a set's data came from, if known."""
    # A run folder, a folder of several, a file in a run folder, a file among its checkpoints.
    for folder in (place, place / "0", place.parent, place.parent.parent):
        recipe = folder / "recipe.yaml"
        if recipe.exists():
            spec = read_yaml(recipe, "recipe").get("data")
            if spec is not None:
                return as_meant_in(note_facts(folder).get("started_in"), str(spec))
    name = config.get("data")
    return str(name) if name in known_names() else None


def facts_of_set(condensed: CondensedSet) -> dict[str, Any]:
    """What programs may want to know about a set, as JSON values."""
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
