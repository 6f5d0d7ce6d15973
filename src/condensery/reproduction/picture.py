"""A drawing of published numbers and ours beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from condensery.utils.plotting import Point, drawing, points, points_height, points_width

from .published import Published

#: A published row, and mean and standard deviation of ours.
Pair = tuple[Published, float, float]


def draw_pairs(pairs: Sequence[Pair], path: Path) -> None:
    """A line for each published row: the printed number and ours, with their spread.

    Args:
        pairs: the rows; those of several tables are told apart by their address.
        path: of the picture, PNG, SVG or PDF.

    Raises:
        UsageError: where matplotlib is not installed.
    """
    one_table = len({row.place for row, _, _ in pairs}) == 1
    found = []
    for row, mean, std in pairs:
        name = row.name if one_table else row.address
        found.append(Point(name, row.mean, row.std or 0.0, "published"))
        found.append(Point(name, mean, std, "ours"))
    with drawing(path, 4.5 + points_width(found), points_height(found)) as axes:
        points(axes, found, "accuracy, % (mean ± std)")
        if one_table:
            axes.figure.suptitle(pairs[0][0].place, fontsize=10)
