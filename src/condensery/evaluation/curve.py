"""Accuracy over time: the sets that a run kept at chosen iterations, evaluated after the fact.

DM's figure 4. Nothing here feeds back into a run: it is finished before its sets are evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condensery.data import Data
from condensery.errors import UsageError
from condensery.sets.condensed import CondensedSet
from condensery.sets.places import FILE
from condensery.utils.files import write_json
from condensery.utils.reading import read_json

from .api import evaluate

#: The file in a run folder.
CURVE = "accuracy.json"


def parse_iterations(text: str | None) -> tuple[int, ...]:
    """``0,100,1000`` as numbers, ascending and each once.

    Raises:
        UsageError: for anything else.
    """
    if text is None:
        return ()
    if not re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", text):
        raise UsageError(
            f"--evaluate-at must be outer iterations separated by commas, such as 0,100,1000, got "
            f"{text!r}"
        )
    return tuple(sorted({int(one) for one in text.split(",")}))


def kept_at(folder: Path, iteration: int) -> Path | None:
    """The file of a run's set at an iteration, None where it was not kept."""
    early = folder / "checkpoints" / f"{iteration:06d}.safetensors"
    if early.exists():
        return early
    last = folder / FILE
    if last.exists() and CondensedSet.load(last).about.iterations == iteration:
        return last
    return None


def accuracy_curve(
    folder: Path, data: Data, iterations: Sequence[int], **how: Any
) -> list[dict[str, Any]]:
    """Evaluate the sets of a run at some iterations; what is known already is not done again.

    Args:
        folder: the run's.
        data: whose test split is used.
        iterations: outer iterations; those that were not kept are left out.
        how: what :func:`condensery.evaluate` takes, but ``n`` and ``nets`` as the command says.

    Returns:
        One mapping an iteration, as ``evaluate --json`` gives it and with ``iteration`` in front;
        also in the folder's ``accuracy.json``.
    """
    file = folder / CURVE
    known = _read(file)
    out = []
    for iteration in iterations:
        place = kept_at(folder, iteration)
        if place is None:
            continue
        found = next((row for row in known if _same(row, iteration, how)), None)
        if found is None:
            (result,) = evaluate(CondensedSet.load(place), data, **_renamed(how))
            row = {**result.as_dict(), "set": str(place.relative_to(folder))}
            found = {"iteration": iteration, "asked": _asked(how), **row}
            known = [row for row in known if not _same(row, iteration, how)] + [found]
            write_json(file, {"results": sorted(known, key=lambda row: int(row["iteration"]))})
        out.append(found)
    return out


def _renamed(how: Mapping[str, Any]) -> dict[str, Any]:
    """What ``accuracy.json`` calls ``n`` and ``nets``, in the words of Python."""
    names = {"n": "repeats", "nets": "network"}
    return {names.get(name, name): value for name, value in how.items()}


def _asked(how: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: how.get(name)
        for name in ("protocol", "n", "epochs", "seed", "nets", "plan", "threads")
    }


def _same(row: Mapping[str, Any], iteration: int, how: Mapping[str, Any]) -> bool:
    return row.get("iteration") == iteration and row.get("asked") == _asked(how)


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        held = read_json(file)
        return [dict(row) for row in held["results"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
