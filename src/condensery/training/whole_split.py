"""The whole training split as a row of the table, under a short schedule of its own.

A protocol's hundreds of epochs are meant for small sets; on a whole training split they would take
hours per network. So ``whole`` trains fewer epochs at a rate that rises and falls once, says so in
its protocol's name, and keeps its accuracies in the user's cache.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from condensery.data import cache_folder

from .protocol import Protocol, unchanged

#: Epochs are chosen so that about this many images are seen, within the bounds below.
_IMAGES = 300_000
_FEWEST, _MOST = 3, 30
#: Small sets are seen more often, so that a network is trained at all.
_LEAST_STEPS = 350
_BATCH = 128
_PEAK = 0.05
_WARM_UP = 0.2
#: Constants of a protocol that this schedule takes the place of.
_OWN = ("epochs", "batch", "rate", "drops", "drop_factor")


@dataclass(frozen=True)
class WholeSchedule:
    """A protocol for the whole split, with its learning rate by step."""

    protocol: Protocol
    """The protocol, named ``whole(epochs=…)`` after its schedule."""
    steps: int
    """Steps of the whole training."""

    def __call__(self, step: int) -> float:
        """Learning rate of a step: up to the peak in the first fifth, then down to zero."""
        done = (step + 1) / self.steps
        rise = done / _WARM_UP
        return self.protocol.rate * min(rise, (1 - done) / (1 - _WARM_UP))


def whole_schedule(base: Protocol, images: int, epochs: int | None = None) -> WholeSchedule:
    """The schedule for a training split: few epochs, the rest as a protocol has it."""
    steps = math.ceil(images / _BATCH)
    usual = min(_MOST, max(_FEWEST, math.ceil(_IMAGES / images)))
    count = epochs or max(usual, math.ceil(_LEAST_STEPS / steps))
    name = f"whole(epochs={count})+{unchanged(base.name, *_OWN)}"
    protocol = dataclasses.replace(base, name=name, epochs=count, batch=_BATCH, rate=_PEAK)
    return WholeSchedule(protocol, count * steps)


def cache() -> Path:
    """Where the accuracies of whole splits are kept for every evaluation of this user."""
    return cache_folder() / "whole"
