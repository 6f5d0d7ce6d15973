"""Curves of a page, as SVG within it that takes the page's own colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condensery.errors import UsageError
from condensery.utils.plotting import (
    Line,
    Point,
    curves,
    finite,
    points,
    points_height,
    pyplot,
    style,
)

#: Stands for the page's text colour, until the drawing is in the page.
_INK = "#010203"


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
    lines = [kept for line in lines if len((kept := finite(line)).x) > 1]
    if not lines:
        return None
    plot = pyplot()
    with plot.rc_context(_style(title)):
        figure, axes = plot.subplots(figsize=(6.4, 3.2), layout="constrained")
        curves(axes, lines, x, y)
        if log and all(value > 0 for line in lines for value in line.y):
            axes.set_yscale("log")
            # Words instead of formulas, which an SVG in a page does not set.
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        svg = _svg(plot, figure)
    ends = "; ".join(f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines)
    return Chart(title, svg, f"{title}: {y} over {x}. {ends}.")


def bars(title: str, rows: Sequence[Point], x: str) -> Chart | None:
    """A point with its spread for each row, the first on top; None where there is one row."""
    rows = [row for row in rows if math.isfinite(row.value) and math.isfinite(row.spread)]
    if len(rows) < 2:
        return None
    plot = pyplot()
    with plot.rc_context(_style(title)):
        figure, axes = plot.subplots(figsize=(6.4, points_height(rows)), layout="constrained")
        points(axes, rows, x)
        svg = _svg(plot, figure)
    told = "; ".join(f"{row.name} {row.value:.1f} ± {row.spread:.1f}" for row in rows)
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


def _style(title: str) -> dict[str, Any]:
    clear = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    return {
        **style(_INK),
        **dict.fromkeys(clear, "none"),
        "svg.hashsalt": title,  # the same drawing is the same bytes
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
