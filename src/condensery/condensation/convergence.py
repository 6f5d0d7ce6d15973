"""When to stop by itself: a rule on the matching loss alone.

DC (appendix A) calls K the largest number of outer iterations and stops earlier on convergence,
without a rule. This is ours. It sees the losses of the training data that matching yields anyway,
and no accuracy: a rule that looks at test images would choose the set by them.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor

#: A window is this share of the schedule, which is the time scale that the paper chose.
_WINDOW_SHARE = 0.05
#: The shortest window, in networks: fewer losses say little about their mean.
_SHORTEST = 10
#: And in pixel steps: where a network has many, a share of the schedule is longer than it need be.
_PIXEL_STEPS = 500
#: Over a window the mean loss has to fall by this share of itself …
_FALL = 0.05
#: … and by this many standard errors of the difference.
_ERRORS = 2.0


def window_of(schedule: int, steps: float = 1.0) -> int:
    """How many outer iterations, each with a network of its own, a window has.

    A twentieth of a recipe's whole schedule, but no more than 500 pixel steps need; at least ten.

    Args:
        schedule: outer iterations of the recipe.
        steps: pixel steps of one.

    >>> window_of(1000), window_of(20_000), window_of(50), window_of(2000, 100), window_of(1000, 10)
    (50, 1000, 10, 10, 50)
    """
    share = round(_WINDOW_SHARE * schedule)
    enough = math.ceil(_PIXEL_STEPS / steps) if steps > 1 else share
    return max(_SHORTEST, min(share, enough))


class Convergence:
    """Watches the loss of the outer iterations, window by window.

    The schedule has converged when the mean loss of a window is less than 5 % below that of the
    window before, or less than two standard errors below it.

    Args:
        window: outer iterations, at least 2; see :func:`window_of`.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._waiting: list[Tensor] = []
        self._before: list[float] = []

    def add(self, loss: Tensor) -> bool:
        """Take the mean loss of an outer iteration; whether the run has converged.

        Losses are read from the device once per window.
        """
        self._waiting.append(loss.detach().clone())
        if len(self._waiting) < self.window:
            return False
        now = [float(value) for value in torch.stack(self._waiting).cpu()]
        before, self._before = self._before, now
        self._waiting = []
        return bool(before) and _has_converged(before, now)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        waiting = [float(value) for value in self._waiting]
        return {"waiting": waiting, "before": list(self._before)}

    def load_state(self, state: dict[str, Any], like: Tensor) -> None:
        """Restore :meth:`state`; losses are typed and placed as ``like``."""
        self._waiting = [like.new_tensor(value) for value in state["waiting"]]
        self._before = [float(value) for value in state["before"]]


def _has_converged(before: list[float], now: list[float]) -> bool:
    first, second = statistics.fmean(before), statistics.fmean(now)
    variance = statistics.variance(before) + statistics.variance(now)
    error = math.sqrt(variance / len(now))
    return first - second < max(_FALL * abs(first), _ERRORS * error)
