"""What a search found: ranks, their correlations, tables and a picture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condensery._version import __version__
from condensery.utils.escape import markdown, printable
from condensery.utils.plotting import COLOURS, drawing
from condensery.utils.text import table, time_text

from .tables import csv_of

#: The best part of a proxy's networks, whose ranks are compared by themselves (DM, section 3.6).
TOP = 0.05
#: Fewer networks have no correlation that says anything.
_FEWEST = 3


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where all are equal."""
    from scipy import stats

    if len(ours) < _FEWEST:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inputs that are all equal
        found = float(stats.spearmanr(ours, theirs).statistic)
    return None if math.isnan(found) else found


@dataclass(frozen=True)
class Found:
    """The networks of a space on one proxy."""

    proxy: str
    """Recipe, selection or set; ``early_stopping``, ``whole``."""
    name: str
    """The same with what was cut of it."""
    images: int
    """Images that are stored for it."""
    accuracies: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    """For each network, accuracies in percent on validation and test images, one per repeat."""
    seconds: float
    """Training and testing."""
    protocol: str
    """How networks were trained, with what was cut."""

    @property
    def validation(self) -> list[float]:
        """Mean validation accuracies, network by network."""
        return [float(np.mean(held)) for held, _ in self.accuracies]

    @property
    def test(self) -> list[float]:
        """Mean test accuracies, network by network."""
        return [float(np.mean(real)) for _, real in self.accuracies]

    @property
    def best(self) -> int:
        """The network with the best validation accuracy, the first one of several."""
        return int(np.argmax(self.validation))

    def top(self) -> list[int]:
        """The networks of the best part by validation accuracy."""
        count = round(TOP * len(self.accuracies))
        return [int(i) for i in np.argsort([-v for v in self.validation], kind="stable")[:count]]


@dataclass(frozen=True)
class Search:
    """The table of a search."""

    rows: tuple[Found, ...]
    """Proxies, and ``whole`` last."""
    networks: tuple[str, ...]
    """What was searched."""
    facts: dict[str, Any]
    """What all rows share, for JSON."""

    @property
    def whole(self) -> Found:
        """What proxies are measured against."""
        return self.rows[-1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"results": [self._row(one) for one in self.rows], "networks": list(self.networks)}

    def _row(self, one: Found) -> dict[str, Any]:
        truth, top = self.whole.test, one.top()
        proxy = one is not self.whole
        reached = self.whole.accuracies[one.best][1]
        return {
            "proxy": one.proxy,
            "name": one.name,
            "networks": len(self.networks),
            "best": self.networks[one.best],
            "best_accuracy": float(np.mean(reached)),
            "best_std": float(np.std(reached)),
            "spearman_top": spearman([one.test[i] for i in top], [truth[i] for i in top])
            if proxy
            else None,
            "spearman_all": spearman(one.test, truth) if proxy else None,
            "seconds": one.seconds,
            "images": one.images,
            "n": len(reached),
            "protocol": one.protocol,
            "validation": one.validation,
            "test": one.test,
            **self.facts,
            "version": __version__,
        }

    def _cells(self, text: Callable[[object], str]) -> tuple[list[str], list[list[str]]]:
        rows = []
        for one in map(self._row, self.rows):
            rho = [
                "-" if one[f"spearman_{k}"] is None else f"{one[f'spearman_{k}']:.2f}"
                for k in ("top", "all")
            ]
            accuracy = f"{one['best_accuracy']:.1f}"
            rows.append(
                [
                    text(one["name"]),
                    text(one["best"]),
                    accuracy,
                    *rho,
                    time_text(one["seconds"]),
                    str(one["images"]),
                ]
            )
        head = ["proxy", "best network", "accuracy %", "ρ top 5 %", "ρ all", "time", "images"]
        return head, rows

    @property
    def note(self) -> str:
        """What the numbers mean."""
        held, n = self.facts, len(self.networks)
        part = f"{n} of {held['space']} networks" if n < held["space"] else f"{n} networks"
        return (
            f"{held['data']}: {part}, {held['repeats']} trainings each; a tenth of the training "
            "split chooses; accuracy: test accuracy of the chosen network under "
            f"{self.whole.protocol}; ρ: Spearman's, of test accuracies on the proxy "
            f"({self.rows[0].protocol}) and on the whole split; seed {held['seed']}"
        )

    def text(self) -> str:
        """The table for a screen."""
        return f"{table(*self._cells(str))}\n{printable(self.note)}"

    def markdown(self) -> str:
        """The table in Markdown."""
        return f"{table(*self._cells(markdown), markdown=True)}\n\n{markdown(self.note)}\n"

    def csv(self) -> str:
        """A line for each proxy and network, with unrounded numbers."""
        names = ["proxy", "name", "network", "validation", "test", "whole_test", "n"]
        lines = []
        for one in self.rows:
            each = zip(self.networks, one.validation, one.test, self.whole.test, strict=True)
            told = {"proxy": one.proxy, "name": one.name, "n": self.facts["repeats"]}
            for net, held, real, truth in each:
                found = {"network": net, "validation": held, "test": real, "whole_test": truth}
                lines.append({**told, **found})
        return csv_of(names, lines)

    def picture(self, path: Path) -> None:
        """Draw each proxy's test accuracies against those of the whole split.

        Raises:
            UsageError: where matplotlib is not installed.
        """
        shown = self.rows[:-1]
        with drawing(path, 3.2 * len(shown), 3.2, ncols=len(shown), squeeze=False) as grid:
            for axes, one in zip(grid[0], shown, strict=True):
                axes.scatter(one.test, self.whole.test, s=12, color=COLOURS[0])
                best = one.best
                axes.scatter(
                    [one.test[best]], [self.whole.test[best]], s=60, marker="*", color=COLOURS[1]
                )
                rho = self._row(one)["spearman_all"]
                told = "-" if rho is None else f"{rho:.2f}"
                axes.set_title(f"{one.name}, ρ = {told}")
                axes.set_xlabel("test accuracy on the proxy, %")
            grid[0][0].set_ylabel("on the whole split, %")
