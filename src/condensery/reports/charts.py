"""Curves of a page, as SVG within it that takes the page's own colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condensery.errors import UsageError
from condensery.utils.plotting import pyplot

#: Colours that colour-blind people tell apart (Okabe and Ito, 2008), readable on light and dark.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
#: Stands for the page's text colour, until the drawing is in the page.
_INK = "#010203"


@dataclass(frozen=True)
class Line:
    """A curve: points, and their spread where there is one."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A drawing, and the words for those who do not see it."""

    title: str
    svg: str
    alt: str


def available() -> str | None:
    """Why there can be no curves; None where there can."""
    try:
        pyplot()
    except UsageError:
        return "curves need matplotlib; install condensery[plots]"
    return None


def chart(title: str, lines: Sequence[Line], x: str, y: str, *, log: bool = False) -> Chart | None:
    """Curves over a common axis; None where no curve has two points.

    Args:
        title: of the drawing.
        lines: the curves.
        x: what the horizontal axis shows, with its unit.
        y: what the vertical axis shows, with its unit.
        log: whether the vertical axis is logarithmic, where all values are positive.
    """
    lines = [kept for line in lines if len((kept := _finite(line)).x) > 1]
    if not lines:
        return None
    plot = pyplot()
    with plot.rc_context(_style(title)):
        figure, axes = plot.subplots(figsize=(6.4, 3.2), layout="constrained")
        for number, line in enumerate(lines):
            _draw(axes, line, number)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if log and all(value > 0 for line in lines for value in line.y):
            axes.set_yscale("log")
            # Words instead of formulas, which an SVG in a page does not set.
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        if len(lines) > 1:
            axes.legend(frameon=False)
        svg = _svg(plot, figure)
    ends = "; ".join(f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines)
    return Chart(title, svg, f"{title}: {y} over {x}. {ends}.")


def bars(title: str, rows: Sequence[tuple[str, float, float]], x: str) -> Chart | None:
    """A point with its spread for each row, the first on top; None where there is one row."""
    rows = [row for row in rows if math.isfinite(row[1]) and math.isfinite(row[2])]
    if len(rows) < 2:
        return None
    plot = pyplot()
    with plot.rc_context(_style(title)):
        figure, axes = plot.subplots(figsize=(6.4, 0.8 + 0.32 * len(rows)), layout="constrained")
        for place, (_, mean, spread) in enumerate(rows):
            colour = COLOURS[0]
            axes.errorbar(mean, -place, xerr=spread, fmt="o", color=colour, capsize=3)
        axes.set_yticks([-place for place in range(len(rows))], [row[0] for row in rows])
        axes.set_xlabel(x)
        svg = _svg(plot, figure)
    told = "; ".join(f"{name} {mean:.1f} ± {spread:.1f}" for name, mean, spread in rows)
    return Chart(title, svg, f"{title}: {x}. {told}.")


def supply_lines(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    """Every number that the supply reported, over outer iterations."""
    names = dict.fromkeys(
        name
        for line in metrics
        if isinstance(line.get("supply"), dict)
        for name, value in line["supply"].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    found = {}
    for name in names:
        points = [
            (float(line["iteration"]), float(line["supply"][name]))
            for line in metrics
            if isinstance(line.get("supply"), dict)
            and isinstance(line["supply"].get(name), int | float)
        ]
        found[name] = Line(name, tuple(p[0] for p in points), tuple(p[1] for p in points))
    return found


def _finite(line: Line) -> Line:
    spread = line.spread or (0.0,) * len(line.x)
    kept = [
        point
        for point in zip(line.x, line.y, spread, strict=True)
        if all(math.isfinite(value) for value in point)
    ]
    x, y, s = (tuple(point[i] for point in kept) for i in range(3))
    return Line(line.name, x, y, s if line.spread else ())


def _draw(axes: Any, line: Line, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    marker = _MARKERS[number % len(_MARKERS)] if len(line.x) <= 30 else None
    axes.plot(line.x, line.y, color=colour, marker=marker, markersize=4, label=line.name)
    if line.spread:
        low = [y - s for y, s in zip(line.y, line.spread, strict=True)]
        high = [y + s for y, s in zip(line.y, line.spread, strict=True)]
        axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)


def _style(title: str) -> dict[str, Any]:
    names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(names, _INK),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "grid.color": _INK,
        "font.size": 9,
        "svg.fonttype": "none",  # words stay words
        "svg.hashsalt": title,  # the same drawing is the same bytes
        "text.parse_math": False,  # a $ in a name is a $
    }


def _svg(plot: Any, figure: Any) -> str:
    """The drawing without what only a file of its own needs, in the page's text colour."""
    held = io.StringIO()
    figure.savefig(held, format="svg", metadata={"Date": None})
    plot.close(figure)
    text = held.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) (?:width="[^"]*"|height="[^"]*")', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) (?:width="[^"]*"|height="[^"]*")', r"\1", text)
    text = re.sub(r' xmlns:xlink="[^"]*"', "", text).replace("xlink:href", "href")
    # Names that nothing refers to would be the same in every drawing of a page.
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    return text.replace(_INK, "currentColor")
