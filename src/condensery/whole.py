"""The whole training split as a row of the table, under a short schedule of its own.

A protocol's hundreds of epochs are meant for small sets; on a whole training split they would take
hours a network. So ``whole`` trains fewer epochs at a rate that rises and falls once, says so in
its protocol's name, and keeps its accuracies in the user's cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from ._version import __version__
from .data import Data, cache_folder
from .files import write_json
from .protocol import Protocol
from .provenance import commit

#: Epochs are chosen so that about this many images are seen, within the bounds below.
_IMAGES = 300_000
_FEWEST, _MOST = 3, 30
#: Small sets are seen more often, so that a network is trained at all.
_LEAST_STEPS = 350
_BATCH = 128
_PEAK = 0.05
_WARM_UP = 0.2


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
    """The schedule for a training split: a protocol's augmentation, and few epochs."""
    steps = math.ceil(images / _BATCH)
    usual = min(_MOST, max(_FEWEST, math.ceil(_IMAGES / images)))
    count = epochs or max(usual, math.ceil(_LEAST_STEPS / steps))
    protocol = dataclasses.replace(
        base, name=f"whole(epochs={count})+{base.name}", epochs=count, batch=_BATCH, rate=_PEAK
    )
    return WholeSchedule(protocol, count * steps)


def _file(data: Data, net: str, schedule: WholeSchedule, seed: int, plan: str) -> Path:
    facts = [
        data.train.fingerprint,
        data.test.fingerprint,
        list(data.train.mean),
        list(data.train.std),
        data.flip,
        net,
        dataclasses.asdict(schedule.protocol),
        seed,
        # A number is only what this code, run this way, gave.
        plan,
        __version__,
        commit(),
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "whole" / f"{data.train.name}-{digest[:24]}.json"


#: Accuracies, one a network in order, and the seconds that they took.
Known = tuple[list[float], float]


def cached(data: Data, net: str, schedule: WholeSchedule, seed: int, plan: str) -> Known:
    """What is already known."""
    try:
        known = json.loads(_file(data, net, schedule, seed, plan).read_text(encoding="utf-8"))
        return [float(a) for a in known["accuracies"]], float(known["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return [], 0.0


def remember(
    data: Data, net: str, schedule: WholeSchedule, seed: int, plan: str, known: Known
) -> None:
    """Keep accuracies for next time; a cache that cannot be written is done without."""
    content = {"accuracies": known[0], "seconds": known[1]}
    try:
        write_json(_file(data, net, schedule, seed, plan), content)
    except (OSError, ValueError):
        return
