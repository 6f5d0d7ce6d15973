"""A row of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .result import Result
from .significance import Difference


@dataclass(frozen=True)
class Compared:
    """One row of the table: a result, and what it is beside others of its network and protocol."""

    result: Result
    """Accuracies with n, mean and std."""
    asked: str
    """Protocol as it was requested; the result's says what was changed."""
    relative: float | None = None
    """Mean accuracy in percent of the whole training split's, where that is in the table."""
    difference: Difference | None = None
    """To the reference; None for the reference itself, and where there is none."""
    p_corrected: float | None = None
    """Corrected for the number of tests in the table (Holm)."""
    bound: str | None = None
    """How the whole training split was trained that ``relative`` is in percent of."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of :class:`Result`, and the comparison's."""
        held = self.difference
        return {
            **self.result.as_dict(),
            "relative": self.relative,
            "relative_to": self.bound,
            "difference": None if held is None else held.difference,
            "interval": None if held is None or held.interval is None else list(held.interval),
            "p": None if held is None else held.p,
            "p_corrected": self.p_corrected,
            "units": None if held is None else held.units,
            "these_sets_only": None if held is None else held.these_sets_only,
            "why_not_tested": None if held is None else held.why_not,
        }
