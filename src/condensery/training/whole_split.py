"""The whole training split as a row of the table, under a short schedule of its own.

A protocol's hundreds of epochs are meant for small sets; on a whole training split they would take
hours per network. So ``whole`` trains fewer epochs at a rate that rises and falls once, says so in
its protocol's name, and keeps its accuracies in the user's cache. Its constants can be typed as a
protocol's: ``whole+epochs=100+batch=256+rate=0.01+drops=[0.5]``; with ``drops`` the rate is
constant between them, as the papers' are.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.data import cache_folder
from condensery.errors import UsageError

from .protocol import Protocol, change_of, checked, unchanged

#: Epochs are chosen so that about this many images are seen, within the bounds below.
_IMAGES = 300_000
_FEWEST, _MOST = 3, 30
#: Small sets are seen more often, so that a network is trained at all.
_LEAST_STEPS = 350
_BATCH = 128
_PEAK = 0.05
_WARM_UP = 0.2
#: Constants of a protocol that this schedule takes the place of.
OWN = ("epochs", "batch", "rate", "drops", "drop_factor")
#: Those that a protocol for sets may not change silently; its epochs are known to be for sets.
_REFUSED = OWN[1:]


@dataclass(frozen=True)
class WholeSchedule:
    """A protocol for the whole split, with its learning rate by step."""

    protocol: Protocol
    """The protocol, named ``whole(epochs=…)`` after its schedule."""
    steps: int
    """Steps of the whole training."""

    def __call__(self, step: int) -> float:
        """Learning rate of a step: up to the peak in the first fifth, then down to zero.

        With drops it is the protocol's rate of the step's epoch.
        """
        if self.protocol.drops:
            return self.protocol.rate_at(step * self.protocol.epochs // self.steps)
        done = (step + 1) / self.steps
        rise = done / _WARM_UP
        return self.protocol.rate * min(rise, (1 - done) / (1 - _WARM_UP))


def whole_schedule(
    base: Protocol,
    images: int,
    epochs: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> WholeSchedule:
    """The schedule for a training split: few epochs, the rest as a protocol has it.

    Args:
        base: the protocol that has the rest.
        images: of the split.
        epochs: of the training; its own choice when not given.
        given: other constants of the schedule that were typed.
    """
    own: dict[str, Any] = {"batch": _BATCH, "rate": _PEAK, "drops": [], **(given or {})}
    steps = math.ceil(images / own["batch"])
    usual = min(_MOST, max(_FEWEST, math.ceil(_IMAGES / images)))
    count = epochs or max(usual, math.ceil(_LEAST_STEPS / steps))
    typed = "".join(f",{name}={value}" for name, value in sorted((given or {}).items()))
    name = f"whole(epochs={count}{typed})+{unchanged(base.name, *OWN)}"
    protocol = dataclasses.replace(base, name=name, epochs=count, **own)
    return WholeSchedule(protocol, count * steps)


def shortened(schedule: WholeSchedule, epochs: int) -> WholeSchedule:
    """A schedule with other epochs, rising and falling over them; its name says so."""
    held = schedule.protocol
    name = re.sub(r"\(epochs=\d+", f"(epochs={epochs}", held.name, count=1)
    steps = schedule.steps // held.epochs * epochs
    return WholeSchedule(dataclasses.replace(held, name=name, epochs=epochs), steps)


def typed_constants(text: str) -> dict[str, Any]:
    """Constants of ``whole+epochs=100+rate=0.01``, what follows ``whole``.

    Raises:
        UsageError: for one that does not exist, is not this schedule's, or has a wrong value.

    >>> typed_constants("+epochs=100+drops=[0.5]")
    {'epochs': 100, 'drops': [0.5]}
    """
    given = dict(change_of(f"whole{text}", part) for part in text.split("+")[1:])
    for name in given:
        if name not in OWN:
            raise UsageError(
                f"whole: {name} is not of its schedule ({', '.join(OWN)}), but of the protocol; "
                f"change it there, such as --protocol dc+{name}={given[name]}"
            )
    if "drop_factor" in given and "drops" not in given:
        raise UsageError("whole: drop_factor needs drops, such as whole+drops=[0.5]")
    found = checked(given)
    return {name: getattr(found, name) for name in given}


def check_applies(asked: str, given: Mapping[str, Any]) -> None:
    """Raise if a protocol that was typed changes what the whole split has of its own.

    Args:
        asked: the protocol, such as ``dc+rate=0.1``.
        given: constants of the schedule that were typed for the whole split.

    Raises:
        UsageError: naming the change.
    """
    for part in asked.split("+")[1:]:
        name = part.partition("=")[0]
        if name in _REFUSED and name not in given:
            raise UsageError(
                f"{part} of --protocol {asked} does not apply to the whole training split, which "
                f"has a schedule of its own; write whole+{part} to train it with that as well"
            )


def cache() -> Path:
    """Where the accuracies of whole splits are kept for every evaluation of this user."""
    return cache_folder() / "whole"
