"""Charts of files of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from condensery.utils.plotting import Line, Point

from . import charts
from .charts import Chart
from .names import shown
from .sources import ResultPart


def steps(part: ResultPart) -> Chart | None:
    """Accuracy on everything seen, over the steps, a curve for each method."""
    lines = []
    for row in part.rows:
        held = [step for step in row["steps"] if isinstance(step, Mapping)]
        seen = tuple(float(step.get("classes", k + 1)) for k, step in enumerate(held))
        y = tuple(float(step.get("mean", "nan")) for step in held)
        spread = tuple(float(step.get("std", 0.0)) for step in held)
        lines.append(Line(str(row.get("method")), seen, y, spread))
    return charts.chart("Accuracy while classes arrive", lines, "classes seen", "accuracy, %")


def accuracies(part: ResultPart) -> list[Chart | None]:
    """Means with their spread, and curves over the budget where a method has several."""
    rows = [row for row in part.rows if isinstance(row.get("mean"), int | float)]
    named = [
        Point(_label(row, rows), float(row["mean"]), float(row.get("std") or 0.0)) for row in rows
    ]
    return [
        charts.bars("Accuracies, mean and standard deviation", named, "accuracy, %"),
        _budgets(rows),
    ]


def _label(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """What tells a row from the others: its name, and whatever differs."""
    words = [shown(str(row.get("set", row.get("method", row.get("proxy", "")))))]
    for name in ("ipc", "net", "protocol"):
        if row.get(name) is not None and len({str(other.get(name)) for other in rows}) > 1:
            words.append(str(row.get(name)))
    return ", ".join(words)


def _budgets(rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if isinstance(row.get("ipc"), int):
            name = str(row.get("recipe", row.get("method")))
            methods.setdefault(", ".join([name, str(row.get("net", ""))]).strip(", "), []).append(
                row
            )
    lines = []
    for name, found in methods.items():
        found.sort(key=lambda row: row["ipc"])
        if len({row["ipc"] for row in found}) == len(found):
            points = [(float(r["ipc"]), float(r["mean"]), float(r.get("std") or 0)) for r in found]
            x, y, spread = (tuple(p[i] for p in points) for i in range(3))
            lines.append(Line(name, x, y, spread))
    return charts.chart("Accuracy over the budget", lines, "images per class", "accuracy, %")
