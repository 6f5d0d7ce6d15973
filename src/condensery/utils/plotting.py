"""Pictures of numbers, with matplotlib where it is installed: what all drawings share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.errors import UsageError

from .extras import needed
from .files import check_writable, whole_file

#: Colours that colour-blind people tell apart (Okabe and Ito, 2008), readable on light and dark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Beside them, so that a grey print tells curves apart, too.
MARKERS = ("o", "s", "^", "D", "v", "P")
#: Kinds of files that drawings are written to.
KINDS = (".png", ".svg", ".pdf")
#: Points of a curve up to which each is marked.
_MARKED = 30
#: Letters of a label; matplotlib does not break lines.
_LETTERS = 40


@dataclass(frozen=True)
class Line:
    """A curve: points, and their spread where there is one."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class Point:
    """A value with its spread, in a row of its own."""

    name: str
    value: float
    spread: float = 0.0
    series: str = ""
    """Points of one series have one colour; a row may hold one of each."""


def pyplot() -> Any:
    """``matplotlib.pyplot``, drawing to files and to no screen.

    Raises:
        UsageError: where it is not installed, with the line that installs it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own, about fonts and what it depends on
        needed("matplotlib", "plots", "drawing").use("Agg")
        return needed("matplotlib.pyplot", "plots", "drawing")


def check_drawing(path: str | None, flag: str) -> None:
    """Find out before any work whether a drawing can be written; None is no drawing.

    Raises:
        UsageError: for another kind of file, a place that cannot be written, or no matplotlib.
    """
    if path is None:
        return
    if Path(path).suffix.lower() not in KINDS:
        raise UsageError(f"{flag} must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {path}")
    pyplot()
    check_writable(Path(path), flag)


@contextmanager
def drawing(path: Path, width: float, height: float, **grid: Any) -> Iterator[Any]:
    """The axes of a drawing, which is written when the block ends.

    Args:
        path: of the file; its ending says what kind it is.
        width: in inches.
        height: in inches.
        **grid: what ``matplotlib.pyplot.subplots`` takes, for several axes.

    Raises:
        UsageError: where matplotlib is not installed.
    """
    plot = pyplot()
    with plot.rc_context(style()):
        figure, axes = plot.subplots(figsize=(width, height), layout="constrained", **grid)
        try:
            yield axes
            with whole_file(path) as temporary, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of letters that the font lacks, and of long ones
                figure.savefig(temporary, format=path.suffix[1:].lower() or "png", dpi=150)
        finally:
            plot.close(figure)


def curves(axes: Any, lines: Sequence[Line], x: str, y: str) -> None:
    """Curves with bands of their spread, named axes, and a legend where there are several.

    Args:
        axes: where to.
        lines: the curves, of finite numbers.
        x: what the horizontal axis shows, with its unit.
        y: what the vertical axis shows, with its unit.
    """
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        dashes = ("-", "--", ":")[number // len(COLOURS) % 3]
        marker = MARKERS[number % len(MARKERS)] if len(line.x) <= _MARKED else None
        how = {"color": colour, "marker": marker, "markersize": 4, "linestyle": dashes}
        axes.plot(line.x, line.y, label=shortened(line.name), **how)
        if line.spread:
            low = [at - s for at, s in zip(line.y, line.spread, strict=True)]
            high = [at + s for at, s in zip(line.y, line.spread, strict=True)]
            axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if len(lines) > 1:
        axes.legend(frameon=False)


def points(axes: Any, rows: Sequence[Point], x: str, names: Sequence[str] = ()) -> None:
    """A row for each name, the first on top, with its values and their spread.

    Args:
        axes: where to.
        rows: the values; those of one name share a row.
        x: what the axis shows, with its unit.
        names: all rows, where some have no value here; by default those that have one.
    """
    names = list(names) or list(dict.fromkeys(row.name for row in rows))
    series = list(dict.fromkeys(row.series for row in rows))
    for number, one in enumerate(series):
        held = [row for row in rows if row.series == one]
        # Beside each other in their row, so that none hides another.
        aside = 0.18 * (number - (len(series) - 1) / 2)
        axes.errorbar(
            [row.value for row in held],
            [-names.index(row.name) - aside for row in held],
            xerr=[row.spread for row in held],
            fmt=MARKERS[number % len(MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            capsize=3,
            label=one,
        )
    places = [-place for place in range(len(names))]
    axes.set_yticks(places, [shortened(name) for name in names])
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.set_xlabel(x)
    if len(series) > 1:
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(series))


def points_height(rows: Sequence[Point]) -> float:
    """Inches that :func:`points` needs."""
    return 1.0 + 0.32 * len({row.name for row in rows})


def points_width(rows: Sequence[Point]) -> float:
    """Inches that :func:`points` needs beside the axes, for its names."""
    return 0.4 + 0.075 * max(len(shortened(row.name)) for row in rows)


def finite(line: Line) -> Line:
    """The points of a curve that can be drawn."""
    spread = line.spread or (0.0,) * len(line.x)
    kept = [
        point
        for point in zip(line.x, line.y, spread, strict=True)
        if all(math.isfinite(value) for value in point)
    ]
    x, y, s = (tuple(point[i] for point in kept) for i in range(3))
    return Line(line.name, x, y, s if line.spread else ())


def style(ink: str = "#1c1d1f") -> dict[str, Any]:
    """Settings of matplotlib for every drawing.

    Args:
        ink: colour of words and axes.
    """
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(names, ink),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.titlesize": 10,
        "grid.alpha": 0.25,
        "grid.color": ink,
        "font.size": 9,
        "svg.fonttype": "none",  # words stay words
        "text.parse_math": False,  # a $ in a name is a $
    }


def shortened(name: str) -> str:
    """A label that leaves room for what it labels; the end of a name tells most."""
    return name if len(name) <= _LETTERS else f"…{name[-_LETTERS + 1 :]}"
