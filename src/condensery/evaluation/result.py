"""The accuracies of a set under one protocol, and a table of them."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from condensery._version import __version__
from condensery.errors import UsageError
from condensery.utils.screen import fitting_table, wrapped
from condensery.utils.text import size_text, time_text

from .confusion import Counts

#: Below this many test images the draw of the test split tells on an accuracy.
SMALL_TEST = 1000


def result_table(results: list[Result], tested_on: int) -> str:
    """Accuracies for people: every number with its n and protocol, as wide as the terminal."""
    cells = {
        "set": [one.set for one in results],
        "ipc": ["all" if one.ipc is None else str(one.ipc) for one in results],
        "network": [one.net for one in results],
        "protocol": [one.protocol for one in results],
        "n": [str(one.n) for one in results],
        "accuracy %": [accuracy_text(one, tested_on) for one in results],
        "size": [size_text(one.stored_bytes) for one in results],
        "time": [time_text(one.seconds) for one in results],
    }
    drawn = fitting_table(cells, keyed=["protocol", "network"], optional=["time", "size", "ipc"])
    first = results[0]
    notes = [
        f"test split of {first.data} ({tested_on} images), last epoch, n = sets × networks, mean ± "
        f"std, seed {first.seed}; {first.plan}",
        *small_test_notes(tested_on),
    ]
    return "\n".join([drawn, *wrapped(notes)])


def accuracy_text(result: Result, tested_on: int) -> str:
    """The mean, with its spread; of a small test split with the error of drawing its images."""
    if result.n == 1 and tested_on >= SMALL_TEST:
        return f"{result.mean:.1f}"
    return f"{result.mean:.1f} ± {spread(result, tested_on):.1f}"


def spread(result: Result, tested_on: int) -> float:
    """The standard deviation over networks, in percentage points.

    Where fewer than a thousand images are tested on, the standard error of a share of so many
    images is added to it in squares: √(std² + p(1 − p)/N). Other images would have given another
    number, however alike the networks are.
    """
    if tested_on >= SMALL_TEST:
        return result.std
    share = result.mean / 100
    return math.hypot(result.std, 100 * math.sqrt(share * (1 - share) / tested_on))


def small_test_notes(tested_on: int) -> list[str]:
    """What a user should know of a small test split, on a line; nothing for others."""
    if tested_on >= SMALL_TEST:
        return []
    return [
        f"few test images: one is worth {100 / tested_on:.2g} points, and ± holds the error of "
        f"drawing {tested_on} images beside the spread of the networks (--json has the std alone)"
    ]


def frame(rows: list[dict[str, Any]]) -> Any:
    """A data frame of plain values, a line for each.

    Raises:
        UsageError: where pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise UsageError("a data frame needs pandas; install it with pip install pandas") from error
    return pandas.DataFrame(rows)


@dataclass(frozen=True, repr=False)
class Result:
    """The accuracies of one set, or of several sets of one kind, under one protocol."""

    set: str
    """The set as it was named, ``whole`` for the whole training split."""
    recipe: str
    """What made it."""
    ipc: int | None
    """Its budget; None for the whole training split."""
    data: str
    """Data set whose test split was used."""
    net: str
    """Network that was trained and tested."""
    protocol: str
    """Protocol, with what was changed in it."""
    sets: tuple[tuple[float, ...], ...]
    """Accuracies in percent, set by set, one per network: of the last epoch."""
    seed: int
    """Seed of networks, shuffling and augmentation."""
    stored_bytes: int
    """Size of what was trained on."""
    seconds: float
    """Time it took."""
    plan: str
    """How it was run."""
    version: str = __version__
    """Of this package."""
    commit: str | None = None
    """Of this package's checkout, None for a release."""
    confusion: Counts = ()
    """Row c: of the test images of class c, how many were taken for each class, over all networks;
    empty where it was not asked for."""

    def __repr__(self) -> str:
        """One line: the accuracy, with what it needs beside it."""
        found = f"{self.mean:.1f} ± {self.std:.1f} %, n={self.n}"
        return f"Result({self.set!r} on {self.data!r}: {found}, {self.net}, {self.protocol})"

    @property
    def accuracies(self) -> tuple[float, ...]:
        """All accuracies, over sets and networks."""
        return tuple(a for one in self.sets for a in one)

    @property
    def n(self) -> int:
        """Number of networks, over all sets."""
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy in percent."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Standard deviation over all networks, ddof 0, as the papers print it."""
        return float(np.std(self.accuracies))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "set": self.set,
            "recipe": self.recipe,
            "ipc": self.ipc,
            "data": self.data,
            "net": self.net,
            "protocol": self.protocol,
            "n": self.n,
            "mean": self.mean,
            "std": self.std,
            "accuracies": list(self.accuracies),
            "sets": [list(one) for one in self.sets],
            "seed": self.seed,
            "stored_bytes": self.stored_bytes,
            "seconds": self.seconds,
            "plan": self.plan,
            "version": self.version,
            "commit": self.commit,
            **({"confusion": [list(line) for line in self.confusion]} if self.confusion else {}),
        }
