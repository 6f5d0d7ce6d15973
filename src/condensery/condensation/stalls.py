"""Threads that wait for each other, because other work has their processors."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from condensery.utils.text import plural

#: Steps that are looked at together, and how many times as long as a quick one a slow one takes.
_STEPS, _TIMES = 24, 2.0
#: A slow step that does more work keeps the processors as busy as a quick one; one that waits has
#: less than this share of their time.
_LESS = 0.75


class Stalls:
    """Watches how long steps take, and tells once when other work makes them wait.

    Threads that share one step wait for the slowest of them. Where that one has lost its processor
    to somebody else, a step takes several times as long as the same step with a single thread.

    Args:
        threads: of the run; a single one waits for nobody.
        clock: seconds that pass.
        used: seconds that processors have worked for this process.
    """

    def __init__(
        self,
        threads: int,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self.threads = threads
        self._clock, self._used = clock, used
        self._times: deque[tuple[float, float]] = deque(maxlen=_STEPS + 1)
        self._told = threads < 2

    def step(self) -> str | None:
        """One more step is done; what to tell the user, the first time that steps swing widely."""
        if self._told:
            return None
        self._times.append((self._clock(), self._used()))
        if len(self._times) <= _STEPS:
            return None
        steps = sorted((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(self._times))
        quick, slow = steps[: _STEPS // 3], steps[-(_STEPS // 3) :]
        usual, long = (statistics.median(wall for wall, _ in part) for part in (quick, slow))
        if usual <= 0 or long < _TIMES * usual or _busy(slow) > _LESS * _busy(quick):
            return None
        self._told = True
        return (
            f"steps take between {usual:.2g} and {long:.2g} s: the machine seems busy with other "
            f"work, and {plural(self.threads, 'thread')} wait for each other; a run with --threads "
            "1 may be faster (in a new --out, since a run keeps its plan)"
        )


def _busy(steps: list[tuple[float, float]]) -> float:
    """Processors that were at work, on average."""
    return sum(used for _, used in steps) / max(1e-9, sum(wall for wall, _ in steps))
