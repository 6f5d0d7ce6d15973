"""Detecting divergence: NaN or inf, and a loss that runs away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condensery.errors import DivergedError
from condensery.runtime.distributed import Ranks

#: A loss is far above its start from this factor on …
_FAR = 10.0
#: … when this many reports in a row, at least, were so.
_LONG = 5
#: Reports that make the start.
_START = 3


@dataclass(frozen=True)
class Break:
    """Where a run produced NaN or inf."""

    step: int
    """The pixel step, counted from 1."""
    iteration: int
    """Its outer iteration, counted from 1."""
    classes: tuple[int, ...]
    """The classes whose pixels are not finite; empty when only the loss is not."""


class FirstBreak:
    """Remembers the first step that is not finite, on the device and without waiting for it.

    Args:
        like: the stored tensor, C×….
    """

    def __init__(self, like: Tensor) -> None:
        self._at = torch.full((2,), -1, dtype=torch.long, device=like.device)
        self._classes = torch.zeros(len(like), dtype=torch.bool, device=like.device)

    def look(self, step: int, iteration: int, loss: Tensor, stored: Tensor) -> None:
        """Look at the state after a pixel step."""
        bad = ~torch.isfinite(stored).flatten(1).all(1)
        first = (self._at[0] < 0) & (bad.any() | ~torch.isfinite(loss))
        self._at[0].copy_(torch.where(first, step, self._at[0]))
        self._at[1].copy_(torch.where(first, iteration, self._at[1]))
        self._classes.copy_(torch.where(first, bad, self._classes))

    def found(self) -> Break | None:
        """The first step that was not finite; reads from the device."""
        step, iteration = self._at.tolist()
        if step < 0:
            return None
        classes = self._classes.nonzero().flatten().tolist()
        return Break(int(step), int(iteration), tuple(int(c) for c in classes))


def first_break(found: Break | None, own: range, classes: int, ranks: Ranks) -> Break | None:
    """The first of the breaks that ranks have found in their own classes.

    Args:
        found: this rank's.
        own: its classes, which ``found`` counts from the first of them.
        classes: how many there are in all.
        ranks: those that share them.
    """
    if ranks.alone:
        return found
    never = 2**62
    mine = (never, never) if found is None else (found.step, found.iteration)
    step, iteration = (-number for number in ranks.all_reduce_max(*(-number for number in mine)))
    if step == never:
        return None
    here = torch.zeros(len(own), dtype=torch.uint8)
    if found is not None and found.step == step:
        here[list(found.classes)] = 1
    bad = ranks.gather_classes(here, classes).nonzero().flatten().tolist()
    return Break(step, iteration, tuple(int(c) for c in bad))


def diverged(
    found: Break | None, iteration: int, rates: Mapping[str, float], class_names: Sequence[str]
) -> DivergedError:
    """The error of a run that produced NaN or inf: where, in which classes, and the remedy.

    Args:
        found: the first such step, where it is known.
        iteration: outer iterations done.
        rates: learning rates by the names of their settings.
        class_names: of all classes.
    """
    lower = " or ".join(f"--{name} (it is {rate:g})" for name, rate in rates.items())
    if found is None:
        where = f"iteration {iteration}"
    else:
        where = f"step {found.step} (iteration {found.iteration})"
        where += f", first in {_named(found.classes, class_names)}" if found.classes else ""
    return DivergedError(f"the loss or the pixels became NaN or inf at {where}; lower {lower}")


def _named(classes: Sequence[int], class_names: Sequence[str]) -> str:
    names = [f"'{class_names[c]}'" for c in classes[:3]]
    more = f" and {len(classes) - 3} more" if len(classes) > 3 else ""
    what = "class" if len(classes) == 1 else "classes"
    return f"{what} {', '.join(names)}{more}"


class Drift:
    """Notices once that the reported loss stays far above its start.

    Args:
        start: the first losses, where they are known from an earlier part of the run.
    """

    def __init__(self, start: Sequence[float] | None = None) -> None:
        self.start: list[float] = list(start or [])
        self._high = 0
        self._told = False

    def add(self, loss: float) -> str | None:
        """Take a report's loss; a sentence when it is time to warn."""
        if len(self.start) < _START:
            self.start.append(loss)
            return None
        mean = sum(self.start) / len(self.start)
        self._high = self._high + 1 if loss > _FAR * mean else 0
        if self._told or self._high < _LONG:
            return None
        self._told = True
        return (
            f"the loss has been more than {_FAR:g} times its start ({mean:.4g}) for {self._high} "
            f"reports, and is {loss:.4g} now: this run may be diverging; a lower --optimizer.rate "
            "is the usual remedy"
        )
