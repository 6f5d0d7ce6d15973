"""Drawings of accuracies: of a comparison's rows, and of a run's sets while they were learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condensery.utils.plotting import (
    Line,
    Point,
    curves,
    drawing,
    points,
    points_height,
    points_width,
)

from .compared import Compared
from .result import spread


def draw_comparison(
    rows: Sequence[Compared], reference: str | None, tested_on: int, path: Path
) -> None:
    """The means with the spread that the table prints; beside them the tested differences.

    Args:
        rows: of a comparison.
        reference: name of the row that the others are compared with.
        tested_on: images of the test split.
        path: of the picture, PNG, SVG or PDF.

    Raises:
        UsageError: where matplotlib is not installed.
    """
    means = [
        Point(
            row.result.set,
            row.result.mean,
            spread(row.result, tested_on) if row.result.n > 1 else 0.0,
            _series(row, rows),
        )
        for row in rows
    ]
    beside = [
        Point(row.result.set, row.difference.difference, _half(row), _series(row, rows))
        for row in rows
        if row.difference is not None
    ]
    names = list(dict.fromkeys(one.name for one in means))
    wide = 2 if beside else 1
    width = points_width(means) + 3.6 * wide
    with drawing(path, width, points_height(means), ncols=wide, sharey=True, squeeze=False) as grid:
        left, *right = grid[0]
        points(left, means, "accuracy, % (mean ± std)")
        for axes in right:
            axes.axvline(0, color="grey", linewidth=1)
            told = f"points above {reference} (95 % interval)"
            points(axes, beside, told, names)
        first = rows[0].result
        left.figure.suptitle(f"test split of {first.data}, {_common(rows)}", fontsize=10)


def draw_curves(found: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Accuracy over outer iterations, with bands of one standard deviation, a curve for each run.

    Args:
        found: what ``accuracy.json`` holds of each run.
        path: of the picture, PNG, SVG or PDF.

    Raises:
        UsageError: where matplotlib is not installed.
    """
    lines = [
        Line(name, *(tuple(float(row[of]) for row in rows) for of in ("iteration", "mean", "std")))
        for name, rows in found.items()
    ]
    first = next(iter(found.values()))[0]
    with drawing(path, 5.5, 3.8) as axes:
        curves(axes, lines, "outer iterations", "accuracy, % (mean ± std)")
        axes.set_title(f"{first['data']}: {first['net']}, {first['protocol']}, n = {first['n']}")


def _half(row: Compared) -> float:
    between = row.difference.interval if row.difference is not None else None
    return 0.0 if between is None else (between[1] - between[0]) / 2


def _series(row: Compared, rows: Sequence[Compared]) -> str:
    """What tells a row from others of its name: network and protocol, where there are several."""
    nets = {one.result.net for one in rows}
    asked = {one.asked for one in rows}
    words = [row.result.net] if len(nets) > 1 else []
    return ", ".join([*words, row.asked] if len(asked) > 1 else words)


def _common(rows: Sequence[Compared]) -> str:
    """What all rows have in common: network, protocol, and networks of each."""
    found = [{row.result.net for row in rows}, {row.asked for row in rows}]
    words = [next(iter(one)) for one in found if len(one) == 1]
    numbers = sorted({row.result.n for row in rows})
    told = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return ", ".join([*words, f"n = {told}"])
