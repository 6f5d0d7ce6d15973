"""Tables of a page, and the intervals in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .names import shown
from .sources import ResultPart


@dataclass(frozen=True)
class Table:
    """Cells as text; ``numeric`` columns are aligned right."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int]
    note: str = ""


def table_of(part: ResultPart) -> Table:
    """The table of a file of results."""
    made = {
        "accuracies": _accuracies,
        "continual": _continual,
        "adapt": _adapted,
        "search": _searched,
    }
    return made[part.kind](part)


def interval(
    sets: Sequence[Sequence[float]], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Student's interval of a mean accuracy, or None for fewer than two values.

    Several sets are one value each, their mean, since networks on one set share its luck; a single
    set has the values of its networks, and the interval is that set's alone.
    """
    from scipy.stats import t

    values = [sum(one) / len(one) for one in sets] if len(sets) > 1 else list(sets[0])
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * std / math.sqrt(len(values))
    return mean - half, mean + half


def _accuracies(part: ResultPart) -> Table:
    head = [
        "set",
        "method",
        "data",
        "IPC",
        "network",
        "protocol",
        "n",
        "accuracy, %",
        "95 % interval",
    ]
    compared = any(row.get("difference") is not None for row in part.rows)
    if compared:
        head += [f"difference to {shown(str(part.about.get('reference')))}", "p, corrected"]
    rows = []
    for row in part.rows:
        cells = [*_words(row, "set", "recipe", "data", "ipc", "net", "protocol"), _n(row)]
        cells += [_spread(row), _interval(row)]
        if compared:
            cells += [_difference(row), _number(row.get("p_corrected"), 3)]
        rows.append(tuple(cells))
    tested = part.about.get("tested_on")
    note = (
        "mean ± std (ddof 0) over all networks, n = sets × networks. The interval is of the mean: "
        "over sets where there are several, else over the networks of that one set."
    )
    if any(row.get("these_sets_only") for row in part.rows):
        note += (
            " †: a row has one set, so the difference was tested on networks; it speaks of these "
            "sets only, not of the methods that made them."
        )
    if isinstance(tested, int):
        note += f" Tested on {tested} images, of which one is worth {100 / tested:.2g} points."
    return Table(
        f"Accuracies ({part.name})", tuple(head), tuple(rows), frozenset(range(6, len(head))), note
    )


def _continual(part: ResultPart) -> Table:
    steps = max(len(row["steps"]) for row in part.rows)
    head = ("method", "strategy", "memory", *(f"step {k + 1}" for k in range(steps)), "mean")
    rows = []
    for row in part.rows:
        seen = [_spread(step) if isinstance(step, Mapping) else "" for step in row["steps"]]
        seen += [""] * (steps - len(seen))
        cells = [*_words(row, "method", "strategy", "memory"), *seen, _number(row.get("mean"), 1)]
        rows.append(tuple(cells))
    note = "accuracy, %, over everything seen so far, after each step; mean ± std over runs."
    numeric = frozenset(range(2, len(head)))
    return Table(f"Continual learning ({part.name})", head, tuple(rows), numeric, note)


def _adapted(part: ResultPart) -> Table:
    rows = [(*_words(row, "method", "ipc"), _n(row), _spread(row)) for row in part.rows]
    return Table(
        f"Domain adaptation ({part.name})",
        ("method", "IPC", "n", "accuracy, %"),
        tuple(rows),
        frozenset((1, 2, 3)),
        "accuracy on the target's test split; none: not adapted; whole: on all of the target.",
    )


def _searched(part: ResultPart) -> Table:
    names = ("best_accuracy", "spearman_top", "spearman_all", "seconds", "images")
    rows = [
        (
            *_words(row, "proxy", "networks", "best"),
            *(_number(row.get(name), 0 if name in ("seconds", "images") else 2) for name in names),
        )
        for row in part.rows
    ]
    return Table(
        f"Architecture search ({part.name})",
        (
            "proxy",
            "networks",
            "best",
            "its accuracy, %",
            "ρ of the top",
            "ρ of all",
            "seconds",
            "images",
        ),
        tuple(rows),
        frozenset((1, 3, 4, 5, 6, 7)),
        "ρ: Spearman's rank correlation with accuracies after training on the whole split.",
    )


def _words(row: Mapping[str, Any], *names: str) -> list[str]:
    return ["–" if row.get(name) is None else shown(str(row[name])) for name in names]


def _n(row: Mapping[str, Any]) -> str:
    sets = row.get("sets")
    if isinstance(sets, list) and len(sets) > 1 and isinstance(sets[0], list):
        return f"{len(sets)}×{len(sets[0])}"
    return str(row.get("n", "–"))


def _spread(row: Mapping[str, Any]) -> str:
    mean, std = row.get("mean"), row.get("std")
    if not isinstance(mean, int | float):
        return "–"
    return f"{mean:.1f} ± {std:.1f}" if isinstance(std, int | float) else f"{mean:.1f}"


def _interval(row: Mapping[str, Any]) -> str:
    sets = row.get("sets")
    numbers = isinstance(sets, list) and all(
        isinstance(one, list) and one and all(isinstance(x, int | float) for x in one)
        for one in sets
    )
    found = interval(sets) if numbers and sets else None
    return "–" if found is None else f"{found[0]:.1f} to {found[1]:.1f}"


def _difference(row: Mapping[str, Any]) -> str:
    found, between = row.get("difference"), row.get("interval")
    if not isinstance(found, int | float):
        return "–"
    mark = " †" if row.get("these_sets_only") else ""
    if isinstance(between, list) and len(between) == 2 and None not in between:
        return f"{found:+.1f} ({between[0]:+.1f} to {between[1]:+.1f}){mark}"
    return f"{found:+.1f}{mark}"


def _number(value: Any, digits: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:.{digits}f}"
