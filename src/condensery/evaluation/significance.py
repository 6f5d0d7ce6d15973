"""Whether two rows of a table differ: Welch's test on independent units, Holm's correction.

A condensed set is drawn once and then many networks are trained on it. Networks on one set share
that set, so they say how far *this set* is from another, and nothing about how another set of the
same method would do. The unit of a claim about methods is therefore the set: its mean accuracy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: How sure an interval is.
CONFIDENCE = 0.95
#: Accuracies in percent that differ by less are the same: sums of floats end differently.
_SAME = 1e-9

Units = Literal["sets", "networks"]


@dataclass(frozen=True)
class Difference:
    """The difference of two rows' mean accuracies, in percentage points."""

    difference: float
    """The row minus its reference."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of this one difference, not corrected for others."""
    p: float | None = None
    """Of Welch's two-sided test; None where there is nothing to test with."""
    units: Units = "networks"
    """What was counted as independent: set means, or networks."""
    these_sets_only: bool = False
    """Whether it speaks of the sets at hand alone, a row having one set only."""
    why_not: str | None = None
    """Why there is no test."""


def difference(
    row: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]],
    *,
    row_whole: bool = False,
    reference_whole: bool = False,
) -> Difference:
    """Test two rows against each other (Welch 1947: unequal variances, unequal numbers).

    Set means are compared where both rows have several sets. The whole training split is not a
    draw: its networks are its units. Where a row has one set, networks are compared and the
    result speaks of these sets alone.

    Args:
        row: accuracies in percent, set by set.
        reference: accuracies of the row that it is compared with.
        row_whole: whether the row is the whole training split.
        reference_whole: whether the reference is.
    """
    alone = any(len(s) < 2 and not w for s, w in ((row, row_whole), (reference, reference_whole)))
    by_sets = not alone and not (row_whole and reference_whole)
    ours = _units(row, by_sets and not row_whole)
    theirs = _units(reference, by_sets and not reference_whole)
    units: Units = "sets" if by_sets else "networks"
    apart = float(np.mean(ours) - np.mean(theirs))
    why_not = _why_not(ours, theirs, units)
    if why_not:
        return Difference(apart, None, None, units, alone, why_not)
    interval, p = welch(ours, theirs)
    return Difference(apart, interval, p, units, alone)


def welch(ours: Sequence[float], theirs: Sequence[float]) -> tuple[tuple[float, float], float]:
    """95 % confidence interval of a difference of means, and the two-sided p-value."""
    from scipy import stats

    with warnings.catch_warnings():
        # One side without any spread is a case like others here.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(ours, theirs, equal_var=False)
        low, high = found.confidence_interval(CONFIDENCE)
    return (float(low), float(high)), float(found.pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979), in the order that they came in.

    The k-th smallest of m, counted from 0, is multiplied by m − k; none is below the one before
    it, nor above 1.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    out, least = [0.0] * len(values), 0.0
    for k, i in enumerate(order):
        least = max(least, min(1.0, (len(values) - k) * values[i]))
        out[i] = least
    return out


def _units(sets: Sequence[Sequence[float]], by_sets: bool) -> list[float]:
    if by_sets:
        return [math.fsum(one) / len(one) for one in sets]
    return [accuracy for one in sets for accuracy in one]


def _why_not(ours: Sequence[float], theirs: Sequence[float], units: Units) -> str | None:
    if min(len(ours), len(theirs)) < 2:
        return f"a test needs at least 2 {units} in each row"
    if max(np.std(ours), np.std(theirs)) < _SAME:
        return f"the {units} of a row are all equal"
    return None
