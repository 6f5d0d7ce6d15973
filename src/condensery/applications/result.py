"""Curves of continual learning: numbers, JSON, CSV, tables and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condensery._version import __version__
from condensery.utils.escape import markdown, printable
from condensery.utils.plotting import Line, curves, drawing
from condensery.utils.text import size_text, table

from .tables import csv_of

#: Of a run: after each step, an accuracy in percent for each step so far.
Run = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Curve:
    """What one method came to, step by step."""

    method: str
    """Recipe, selection or set that filled the memory."""
    name: str
    """The same with what was cut of it."""
    strategy: str
    """How networks learned, with what was cut."""
    memory: int
    """Images of each class."""
    classes: tuple[int, ...]
    """Classes that are known after each step."""
    runs: tuple[Run, ...]
    """Orders × networks, orders first."""
    sizes: tuple[int, ...]
    """Test images of each step."""
    by_task: bool
    """Whether an accuracy is the mean over tasks, and not over test images."""
    seeds: int
    """Orders, or runs."""
    nets: int
    """Networks for each of them."""
    net: str
    """The network."""
    data: str
    """Data set, or data sets."""
    seed: int
    """Of the first order."""
    stored_bytes: int
    """Size of the memory after the last step."""
    plan: str
    """How networks were trained."""
    version: str = __version__
    """Of this package."""
    commit: str | None = None
    """Of this package's checkout."""

    @property
    def accuracies(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Accuracies in percent on all that was seen, runs × steps."""
        return np.array([[self._over(found) for found in run] for run in self.runs])

    def _over(self, found: tuple[float, ...]) -> float:
        weights = None if self.by_task else self.sizes[: len(found)]
        return float(np.average(found, weights=weights))

    @property
    def forgetting(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Points that were lost of what earlier steps taught, runs × steps; 0 after the first.

        The mean over earlier steps of their best accuracy until then minus the one now
        (Chaudhry et al., 2018).
        """
        out = np.zeros((len(self.runs), len(self.classes)))
        for r, run in enumerate(self.runs):
            for k in range(1, len(run)):
                lost = [max(run[m][j] for m in range(j, k)) - run[k][j] for j in range(k)]
                out[r, k] = np.mean(lost)
        return out

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found, lost = self.accuracies, self.forgetting
        steps = [
            {
                "classes": classes,
                **({"tasks": k + 1} if self.by_task else {}),
                "mean": float(found[:, k].mean()),
                "std": float(found[:, k].std()),
                "n": len(found),
                "accuracies": found[:, k].tolist(),
                "forgetting": float(lost[:, k].mean()),
            }
            for k, classes in enumerate(self.classes)
        ]
        return {
            "method": self.method,
            "name": self.name,
            "strategy": self.strategy,
            "memory": self.memory,
            "steps": steps,
            "mean": float(found.mean()),
            "std": float(found.mean(1).std()),
            "n": len(found),
            "seeds": self.seeds,
            "nets": self.nets,
            "net": self.net,
            "data": self.data,
            "seed": self.seed,
            "parts": [[list(step) for step in run] for run in self.runs],
            "stored_bytes": self.stored_bytes,
            "plan": self.plan,
            "version": self.version,
            "commit": self.commit,
        }


@dataclass(frozen=True)
class Continual:
    """The curves of several methods through the same steps."""

    curves: tuple[Curve, ...]
    """One for each method."""
    orders: list[list[list[str]]]
    """What was new at each step of each order: class names, or the task."""
    data: str
    """Name of the first data set."""
    by_task: bool
    """Whether steps are tasks."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"results": [one.as_dict() for one in self.curves], "orders": self.orders}

    def _rows(self, text: Any) -> tuple[list[str], list[list[str]]]:
        first = self.curves[0]
        unit = "task" if self.by_task else "classes"
        seen = [
            self.orders[0][k][0] if self.by_task else f"{classes} {unit}"
            for k, classes in enumerate(first.classes)
        ]
        head = ["memory", *seen, "mean", "forgetting", "size"]
        rows = []
        for one in self.curves:
            found = one.accuracies
            cells = [f"{f.mean():.1f} ± {f.std():.1f}" for f in found.T]
            lost = f"{one.forgetting[:, -1].mean():.1f}"
            mean = f"{found.mean():.1f}"
            rows.append([text(one.name), *cells, mean, lost, size_text(one.stored_bytes)])
        return [text(name) for name in head], rows

    @property
    def note(self) -> str:
        """What the numbers mean."""
        one = self.curves[0]
        return (
            f"{one.data}: accuracy in percent over all {self._over}, last epoch, mean ± std of n="
            f"{len(one.runs)} ({one.seeds} {'runs' if self.by_task else 'orders'} × {one.nets} "
            f"networks), {one.memory} images of each class, {one.strategy}, {one.net}, seed "
            f"{one.seed}; forgetting in points, after the last step; {one.plan}"
        )

    def text(self) -> str:
        """The table for a screen."""
        head, rows = self._rows(str)
        return f"{table(head, rows)}\n{printable(self.note)}"

    def markdown(self) -> str:
        """The table in Markdown."""
        head, rows = self._rows(markdown)
        return f"{table(head, rows, markdown=True)}\n\n{markdown(self.note)}\n"

    def csv(self) -> str:
        """A line for each method and step, with unrounded numbers."""
        names = ["method", "strategy", "memory", "step", "classes", "n", "mean", "std"]
        names += ["forgetting", "data", "net", "seed"]
        lines = []
        for one in self.curves:
            held = one.as_dict()
            steps = enumerate(held["steps"])
            lines += [{**held, **step, "method": one.name, "step": k + 1} for k, step in steps]
        return csv_of(names, lines)

    def picture(self, path: Path) -> None:
        """Draw the curves, with bands of one standard deviation.

        Raises:
            UsageError: where matplotlib is not installed.
        """
        with drawing(path, 5.5, 3.8) as axes:
            curves(axes, list(map(self._line, self.curves)), self._over, "accuracy, %")
            axes.set_xticks(self._line(self.curves[0]).x)
            if self.by_task:
                axes.set_xticklabels([names[0] for names in self.orders[0]])
            axes.set_title(f"{self.curves[0].data}, {self.curves[0].strategy}")

    @property
    def _over(self) -> str:
        return "tasks so far" if self.by_task else "classes seen"

    def _line(self, one: Curve) -> Line:
        found = one.accuracies
        at = range(1, len(one.classes) + 1) if self.by_task else one.classes
        return Line(one.name, tuple(at), tuple(found.mean(0)), tuple(found.std(0)))
