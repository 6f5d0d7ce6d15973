"""The accuracies of a set under one protocol, and a table of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from condensery._version import __version__
from condensery.utils.escape import printable
from condensery.utils.text import size_text, table, time_text


def result_table(results: list[Result], tested_on: int) -> str:
    """Accuracies for people: every number with its n and protocol."""
    rows = [
        [
            result.set,
            "all" if result.ipc is None else str(result.ipc),
            result.net,
            result.protocol,
            str(result.n),
            f"{result.mean:.1f} ± {result.std:.1f}" if result.n > 1 else f"{result.mean:.1f}",
            size_text(result.stored_bytes),
            time_text(result.seconds),
        ]
        for result in results
    ]
    head = ["set", "ipc", "network", "protocol", "n", "accuracy %", "size", "time"]
    first = results[0]
    return (
        f"{table(head, rows)}\n"
        f"test split of {printable(first.data)} ({tested_on} images), last epoch, n = sets × "
        f"networks, mean ± std, seed {first.seed}; {first.plan}"
    )


@dataclass(frozen=True)
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
        }
