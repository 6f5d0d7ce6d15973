"""What an adaptation came to: rows, tables and a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condensery.utils.escape import markdown, printable
from condensery.utils.plotting import Line, curves, drawing
from condensery.utils.text import size_text, table

from .tables import csv_of, spread


@dataclass(frozen=True)
class Adapted:
    """A row: networks that were adapted by one means."""

    method: str
    """Recipe, selection or set; ``none`` and ``whole`` for the bounds."""
    name: str
    """The same with what was cut of it."""
    ipc: int | None
    """Images of each class; None for the bounds."""
    sets: tuple[tuple[float, ...], ...]
    """Accuracies in percent on the target's test split, set by set."""
    stored_bytes: int
    """Size of what is fine-tuned on; 0 for none."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """All of them."""
        return tuple(a for one in self.sets for a in one)


@dataclass(frozen=True)
class Adaptation:
    """The table."""

    rows: tuple[Adapted, ...]
    """Methods by budget, then ``none`` and ``whole``."""
    facts: dict[str, Any]
    """What all rows share, for JSON."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [
            {
                "method": one.method,
                "name": one.name,
                "ipc": one.ipc,
                "mean": float(np.mean(one.accuracies)),
                "std": float(np.std(one.accuracies)),
                "n": len(one.accuracies),
                "accuracies": list(one.accuracies),
                "sets": [list(found) for found in one.sets],
                "stored_bytes": one.stored_bytes,
                **self.facts,
            }
            for one in self.rows
        ]
        return {"results": rows}

    def _cells(self, text: Callable[[object], str]) -> tuple[list[str], list[list[str]]]:
        rows = [
            [
                text(one.name),
                {"none": "0", "whole": "all"}.get(one.method, str(one.ipc)),
                spread(one.accuracies),
                str(len(one.accuracies)),
                size_text(one.stored_bytes),
            ]
            for one in self.rows
        ]
        return ["fine-tuned on", "ipc", "accuracy %", "n", "size"], rows

    @property
    def note(self) -> str:
        """What the numbers mean."""
        held = self.facts
        return (
            f"{held['source']} → {held['target']}: test split of {held['target']}, {held['net']}, "
            f"{held['protocol']} after {held['source_protocol']}, mean ± std of n = sets × "
            f"networks, seed {held['seed']}; {held['plan']}"
        )

    def text(self) -> str:
        """The table for a screen."""
        return f"{table(*self._cells(str))}\n{printable(self.note)}"

    def markdown(self) -> str:
        """The table in Markdown."""
        return f"{table(*self._cells(markdown), markdown=True)}\n\n{markdown(self.note)}\n"

    def csv(self) -> str:
        """The table as comma-separated values, with unrounded numbers."""
        names = ["method", "name", "ipc", "n", "mean", "std", "source", "target", "net", "seed"]
        return csv_of(names, self.as_dict()["results"])

    def picture(self, path: Path) -> None:
        """Draw accuracy by budget, with bands of one standard deviation between the bounds.

        Raises:
            UsageError: where matplotlib is not installed.
        """
        lines = []
        for name in dict.fromkeys(one.name for one in self.rows if one.ipc is not None):
            held = [one for one in self.rows if one.name == name]
            mean, std = ([float(f(one.accuracies)) for one in held] for f in (np.mean, np.std))
            at = tuple(float(one.ipc or 0) for one in held)
            lines.append(Line(name, at, tuple(mean), tuple(std)))
        with drawing(path, 5.5, 3.8) as axes:
            curves(axes, lines, "images of each class", "accuracy, %")
            for one in self.rows:
                if one.ipc is None:
                    mean_ = np.mean(one.accuracies)
                    axes.axhline(mean_, linestyle="--", color="grey", linewidth=1)
                    axes.annotate(one.name, (axes.get_xlim()[0], mean_), fontsize=8)
            axes.set_xticks(sorted({x for line in lines for x in line.x}))
            axes.set_title(f"{self.facts['source']} to {self.facts['target']}")
