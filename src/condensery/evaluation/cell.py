"""Cells of a table, and what their numbers depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from condensery._version import __version__
from condensery.data import Data, LabelledSet
from condensery.runtime.plan import Plan
from condensery.runtime.provenance import code, installed
from condensery.sets.candidate import Candidate
from condensery.training.protocol import Protocol as Training
from condensery.training.whole_split import WholeSchedule

from .confusion import Counts
from .rows import Row


@dataclass(frozen=True)
class Measured:
    """What one network came to."""

    accuracy: float
    """In percent, after the last epoch."""
    seconds: float
    """Training and testing."""
    parts: tuple[float, ...] = ()
    """Accuracies in percent on the parts of the test images, where the cell names any."""
    confusion: Counts = ()
    """Which classes it takes for which, where the cell asks for it."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if v or k not in ("parts", "confusion")}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Measured:
        """Back from plain values, such as JSON's."""
        parts = tuple(float(part) for part in values.get("parts") or ())
        confusion = tuple(tuple(map(int, line)) for line in values.get("confusion") or ())
        return cls(float(values["accuracy"]), float(values["seconds"]), parts, confusion)


@dataclass(frozen=True, eq=False)
class Cell:
    """A row through one network and protocol: everything that its accuracies depend on."""

    row: Row
    """What is trained on."""
    data: Data
    """What is tested on."""
    net: str
    """Network."""
    code: str | None
    """Hash of the network's source, where it is not this package's."""
    asked: str
    """Protocol as it was requested; rows that share it are compared."""
    training: Training
    """How networks are trained."""
    schedule: WholeSchedule | None
    """Learning rate by step, for the whole split."""
    plan: Plan
    """How it is run."""
    seed: int
    """Seed of initialisation, shuffling and augmentation."""
    parts: tuple[int, ...] = ()
    """Sizes of the parts of the test images, in their order, that get accuracies of their own."""
    confusion: bool = False
    """Whether networks also say which classes they take for which."""
    steps: int | None = None
    """Steps of the training in all, in place of the protocol's epochs."""

    def facts(self, set_index: int) -> dict[str, Any]:
        """All that the accuracies of one of the row's sets depend on, as JSON values."""
        train, row = self.data.train, self.row
        whole = {"train": train.fingerprint, "mean": list(train.mean), "std": list(train.std)}
        return {
            "trained_on": whole if row.whole else row.sets[set_index].content,
            "set_number": set_index,
            "test": self.data.test.fingerprint,
            "flip": self.data.flip,
            "net": self.net,
            "net_code": self.code,
            "training": dataclasses.asdict(self.training),
            "seed": self.seed,
            # A number is only what this code, run this way, gave.
            "plan": self.plan.describe(),
            "torch": installed("torch"),
            "version": __version__,
            "commit": code(),
            **({"parts": list(self.parts)} if self.parts else {}),
            **({"confusion": True} if self.confusion else {}),
            **({"steps": self.steps} if self.steps is not None else {}),
        }

    @property
    def sizes(self) -> list[int]:
        """Images of each of the row's sets."""
        return [len(self.source(number)) for number in range(self.row.count)]

    def source(self, set_index: int) -> Candidate | LabelledSet:
        """What networks of one of the row's sets are trained on."""
        return self.data.train if self.row.whole else self.row.sets[set_index]


def code_of(network: nn.Module) -> str | None:
    """Hash of the file that defines a third-party network; None for one of ours."""
    kind = type(network)
    if kind.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return None
    try:
        text = Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text).hexdigest()


#: Which set of a row, and which network on it.
Job = tuple[int, int]

#: Called while a network is trained: which one, and how many of its epochs are done.
OnEpoch = Callable[[Job, int], None]
