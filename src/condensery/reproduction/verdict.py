"""Ours beside theirs: when a published accuracy counts as reproduced.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .experiment import Experiment
from .published import Published

Word = Literal["within", "above", "below"]
Basis = Literal["their std", "our std", "their rounding"]

#: Differences of decimal fractions are exact to about this.
_EXACT = 1e-9


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much of an experiment is run; what is None is the paper's."""

    scale: float = 1.0
    """What the outer iterations are multiplied by, with the iterations at which rates drop."""
    sets: int | None = None
    """Condensed or selected sets."""
    nets: int | None = None
    """Networks a set."""
    epochs: int | None = None
    """Epochs of every network."""
    data: str | None = None
    """Another data set in the published one's place."""
    layout: Literal["NCHW", "NHWC"] | None = None
    """Order of the axes of that one's arrays."""
    value_range: str | None = None
    """Black and white of that one's arrays of floating numbers."""
    seed: int = 0
    """Where every draw derives from."""

    @property
    def reading(self) -> dict[str, Any]:
        """How the data are read, as :func:`condensery.load` takes it."""
        said = {"layout": self.layout, "value_range": self.value_range}
        return {name: value for name, value in said.items() if value is not None}

    def sets_of(self, experiment: Experiment) -> int:
        """How many sets are made."""
        if experiment.kind == "whole":
            return 1
        return experiment.sets if self.sets is None else self.sets

    def nets_of(self, experiment: Experiment) -> int:
        """How many networks are trained on each."""
        return experiment.nets if self.nets is None else self.nets

    def scale_of(self, experiment: Experiment) -> float:
        """What a schedule is multiplied by; what is selected has none."""
        return self.scale if experiment.kind == "condense" else 1.0

    def departures(self, experiment: Experiment) -> tuple[str, ...]:
        """In what a run is not the paper's: nothing that departs is called reproduced."""
        sets, nets = self.sets_of(experiment), self.nets_of(experiment)
        scale = self.scale_of(experiment)
        said = {
            f"on {self.data}": self.data not in (None, experiment.data),
            "our schedule for the whole data": experiment.kind == "whole",
            f"at scale {scale:g}": scale != 1,
            _of(sets, experiment.sets, "sets"): sets != experiment.sets,
            _of(nets, experiment.nets, "networks"): nets != experiment.nets,
            f"epochs={self.epochs}": self.epochs is not None,
        }
        return tuple(words for words, holds in said.items() if holds)


def _of(ours: int, theirs: int, what: str) -> str:
    return f"{ours} of {theirs} {what}" if ours < theirs else f"{ours} {what}, not {theirs}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How our mean lies to the published one."""

    word: Word
    """``within`` the tolerance, ``above`` or ``below`` it."""
    difference: float
    """Ours − theirs, in points."""
    tolerance: float
    """What they may differ by."""
    basis: Basis
    """Where the tolerance is from."""
    departures: tuple[str, ...] = ()
    """In what the run was not the paper's."""

    @property
    def short(self) -> str:
        """``reproduced`` only without any departure; otherwise what was found.

        >>> Verdict(word="within", difference=0.1, tolerance=0.5, basis="their std").short
        'reproduced'
        """
        if self.word != "within":
            return self.word
        if not self.departures:
            return "reproduced"
        return "within rounding" if self.basis == "their rounding" else "within 1 std"

    @property
    def text(self) -> str:
        """The verdict and all that it depends on."""
        basis = [] if self.basis == "their std" else [f"by {self.basis}"]
        more = [*basis, *self.departures]
        return f"{self.short} ({', '.join(more)})" if more else self.short


def verdict(row: Published, accuracies: Sequence[float], departures: Sequence[str] = ()) -> Verdict:
    """Compare our accuracies with a published one.

    The means may differ by the published standard deviation, which is over networks and sets as
    ours is. Where none is printed ours takes its place (ddof 0, two networks or more), and where
    there is but one network, half a unit of the last printed digit. That half unit is the least in
    every case: 99.6 ± 0.0 may be anything from 99.55.

    Args:
        row: a published accuracy.
        accuracies: ours, over all sets and networks, in percent.
        departures: in what our run was not the paper's.
    """
    mean = sum(accuracies) / len(accuracies)
    half = 0.5 * 10.0**-row.decimals
    basis: Basis = "their std"
    tolerance = row.std
    if tolerance is None:
        variance = sum((a - mean) ** 2 for a in accuracies) / len(accuracies)
        basis, tolerance = "our std", variance**0.5
    if tolerance < half:
        basis, tolerance = "their rounding", half
    difference = mean - row.mean
    word: Word = "within"
    if abs(difference) > tolerance + _EXACT:
        word = "above" if difference > 0 else "below"
    return Verdict(
        word=word,
        difference=difference,
        tolerance=tolerance,
        basis=basis,
        departures=tuple(departures),
    )
