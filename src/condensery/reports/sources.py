"""What a report is about: run folders, sets, and the results that commands wrote as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condensery.errors import DataError, UsageError
from condensery.sets.condensed import CondensedSet, load_sets
from condensery.sets.places import places_of_sets, set_file
from condensery.utils.reading import json_of, read_json, read_yaml, text_of


@dataclass(frozen=True)
class SetPart:
    """A set, or the first of several in a folder, and what its run folder says of it."""

    name: str
    """As it was named."""
    condensed: CondensedSet
    """The finished set."""
    several: int
    """Sets in the folder."""
    file_bytes: int
    """Size of its file."""
    frames: tuple[tuple[int, CondensedSet], ...] = ()
    """Outer iteration and set of each picture that was kept while it was learned."""
    recipe: str | None = None
    """Text of its recipe.yaml."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Content of its recipe.yaml."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Content of its run.json."""
    metrics: tuple[Mapping[str, Any], ...] = ()
    """Lines of its metrics.jsonl."""
    over_time: tuple[Mapping[str, Any], ...] = ()
    """Accuracies of accuracy.json, in order."""


@dataclass(frozen=True)
class ResultPart:
    """Results of evaluate, compare, continual, adapt or search."""

    name: str
    """As it was named."""
    kind: str
    """``accuracies``, ``continual``, ``adapt`` or ``search``."""
    rows: tuple[Mapping[str, Any], ...]
    """Its results."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """All else in the file."""


Part = SetPart | ResultPart

#: Kind of result → the fields that tell it.
_KINDS = {
    "continual": ("method", "steps"),
    "search": ("proxy", "networks"),
    "adapt": ("method", "ipc", "mean"),
    "accuracies": ("set", "mean", "n"),
}


def read_parts(paths: list[str]) -> list[Part]:
    """What lies at the paths, in their order.

    Raises:
        UsageError: for a path that does not exist, or holds nothing that can be reported.
        DataError: for a file that is damaged.
    """
    return [_part(path) for path in paths]


def _part(path: str) -> Part:
    place = Path(path)
    if not place.exists():
        raise UsageError(f"{path} does not exist; name run folders, sets, or JSON files of results")
    if place.suffix.lower() == ".json":
        return _result(place)
    if place.is_file() and place.suffix.lower() != ".safetensors":
        raise UsageError(
            f"{path} is not a run folder, a .safetensors file, or a JSON file of results"
        )
    return _set(place)


def _result(place: Path) -> ResultPart:
    try:
        content = read_json(place)
    except ValueError as error:
        raise DataError(f"{place} is not valid JSON: {error}") from error
    rows = content.get("results") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f"{place} holds no results; give what --json of evaluate, compare, continual, adapt or "
            "search wrote"
        )
    for kind, fields in _KINDS.items():
        if all(name in row for row in rows for name in fields):
            rest = {name: value for name, value in content.items() if name != "results"}
            return ResultPart(place.name, kind, tuple(rows), rest)
    raise DataError(
        f"the results of {place} are of no kind that a report knows; it takes those of evaluate, "
        "compare, continual, adapt and search"
    )


def _set(place: Path) -> SetPart:
    found = load_sets(place)
    home = places_of_sets(place)[0]
    file = set_file(home)
    folder = file.parent
    recipe = folder / "recipe.yaml"
    settings = _mapping(recipe, read_yaml) if recipe.exists() else {}
    return SetPart(
        name=str(place),
        condensed=found[0],
        several=len(found),
        file_bytes=file.stat().st_size,
        frames=_frames(folder / "checkpoints", found[0]),
        recipe=text_of(recipe) if settings else None,
        settings=settings,
        facts=_mapping(folder / "run.json", read_json),
        metrics=_lines(folder / "metrics.jsonl"),
        over_time=_over_time(folder / "accuracy.json"),
    )


def _mapping(file: Path, read: Any) -> dict[str, Any]:
    """What a file of facts holds; nothing where it is missing or damaged."""
    if not file.is_file():
        return {}
    try:
        content = read(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _lines(file: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        text = text_of(file)
    except (OSError, ValueError):
        return ()
    found = []
    for line in text.splitlines():
        try:
            one = json_of(line)
        except ValueError:
            continue  # the last one may be half written
        if isinstance(one, dict) and isinstance(one.get("iteration"), int):
            found.append(one)
    return tuple(found)


def _over_time(file: Path) -> tuple[Mapping[str, Any], ...]:
    rows = _mapping(file, read_json).get("results")
    kept = [
        row
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
        and isinstance(row.get("iteration"), int)
        and isinstance(row.get("mean"), int | float)
        and isinstance(row.get("std"), int | float)
    ]
    return tuple(sorted(kept, key=lambda row: row["iteration"]))


def _frames(folder: Path, last: CondensedSet) -> tuple[tuple[int, CondensedSet], ...]:
    """The sets among the checkpoints, by iteration; the finished one ends them."""
    frames = []
    for file in sorted(folder.glob("[0-9]*.safetensors")) if folder.is_dir() else []:
        if file.stem.isdigit() and int(file.stem) < last.about.iterations:
            try:
                frames.append((int(file.stem), CondensedSet.load(file)))
            except ValueError:
                continue  # a damaged picture of the past is no reason to show nothing
    return (*frames, (last.about.iterations, last))
