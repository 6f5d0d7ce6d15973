"""Networks and epochs that fit a time, and the part of a table that is ready when it is over."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from condensery.runtime.distributed import Ranks
from condensery.training import whole_split as whole

from .cell import Cell
from .estimate import Cost
from .result import Result

#: Fewer networks than this say little about the spread; fewer epochs, little about a set.
_FEW_NETWORKS, _FEW_EPOCHS = 3, 20
#: With fewer steps than this a network on the whole split is no bound, however few its images are.
_WHOLE_STEPS = 200
#: Part of the time that is planned for; the rest is for starting, and for what was not foreseen.
_PLANNED = 0.85
#: What epochs are cut to, times powers of ten: a busier machine mostly finds the same.
_ROUND = (1, 1.5, 2, 3, 5, 7)


@dataclass(frozen=True)
class Fitted:
    """A table cut to a time."""

    cells: list[Cell]
    """With their epochs."""
    n: int
    """Networks per set."""
    seconds: float
    """What it is expected to take."""


def expected(cells: Sequence[Cell], costs: Sequence[Cost], n: int) -> float:
    """Seconds of n networks per set, those of one cell side by side in the plan's processes."""
    total = 0.0
    for cell, cost in zip(cells, costs, strict=True):
        networks = cell.row.count * n
        total += networks * cost.seconds / max(1, min(cell.plan.processes, networks))
    return total


def fitted(
    cells: Sequence[Cell],
    costs: Sequence[Cost],
    n: int,
    minutes: float,
    *,
    keep_networks: bool = False,
    keep_epochs: bool = False,
) -> Fitted:
    """Fewer networks first, down to three; then fewer epochs.

    Args:
        cells: of the table.
        costs: of a network of each.
        n: networks per set that are wanted.
        minutes: there are.
        keep_networks: whether their number is what the user typed.
        keep_epochs: whether the epochs are; those of ``whole+epochs=N`` always are.
    """
    room = 60 * minutes * _PLANNED
    count = n
    while not keep_networks and count > _FEW_NETWORKS and expected(cells, costs, count) > room:
        count -= 1
    total = expected(cells, costs, count)
    if total <= room or keep_epochs:
        return Fitted(list(cells), count, total)
    tests = expected(cells, [Cost(0.0, cost.testing) for cost in costs], count)
    factor = max(0.0, room - tests) / max(1e-9, total - tests)
    shorter = [_shorter(cell, factor) for cell in cells]
    less = [
        Cost(cost.training * new.training.epochs / old.training.epochs, cost.testing)
        for cost, new, old in zip(costs, shorter, cells, strict=True)
    ]
    return Fitted(shorter, count, expected(shorter, less, count))


def _shorter(cell: Cell, factor: float) -> Cell:
    """A cell with a part of its epochs; its protocol says so."""
    epochs, row = cell.training.epochs, cell.row
    if row.whole_epochs:
        return cell
    fewest = _FEW_EPOCHS
    if cell.schedule is not None:  # a bound that was hardly trained bounds nothing
        fewest = math.ceil(_WHOLE_STEPS * epochs / cell.schedule.steps)
    return with_epochs(cell, min(epochs, max(fewest, _rounded(epochs * factor))))


def with_epochs(cell: Cell, count: int) -> Cell:
    """A cell with other epochs; its protocol says so."""
    if count == cell.training.epochs:
        return cell
    if cell.schedule is None:
        return dataclasses.replace(cell, training=cell.training.changed(epochs=count))
    schedule = whole.shortened(cell.schedule, count)
    return dataclasses.replace(cell, training=schedule.protocol, schedule=schedule)


def _rounded(epochs: float) -> int:
    """The largest round number that is no larger.

    >>> [_rounded(x) for x in (299.9, 40, 17, 1.2, 0)]
    [200, 30, 15, 1, 0]
    """
    tens = (1, 10, 100, 1000, 10_000, 100_000)
    return max((int(r * t) for t in tens for r in _ROUND if r * t <= epochs), default=0)


def in_time(
    cells: Sequence[Cell],
    n: int,
    minutes: float,
    run: Callable[[Cell, int], Result],
    ranks: Ranks,
    clock: Callable[[], float] = time.monotonic,
    *,
    tight: bool = False,
) -> list[Result | None]:
    """The results of a table that ends at a time: all rows with the same number of networks.

    Networks are trained in rounds, the first of every set first. A round that would not end in
    time is not begun; within the first one, neither is a row. A network that is being trained is
    finished.

    Args:
        cells: of the table.
        n: networks per set.
        minutes: there are.
        run: the result of so many networks of a cell; it keeps them from one round to the next.
        ranks: that share the work; the clocks of all of them count.
        clock: seconds that pass.
        tight: whether one network of every set is about all that there is time for; otherwise a
            round has one for each process.

    Returns:
        A result for each cell; None for one that was not begun.
    """
    began, limit = clock(), 60 * minutes
    step = max(1, *(cell.plan.processes for cell in cells))
    first = 1 if tight else step
    found: list[Result | None] = []
    for cell in cells:
        late = bool(found) and ranks.any(clock() - began >= limit)
        found.append(None if late else run(cell, min(first, n)))
    last = clock() - began
    for count in range(first + step, n + step, step):
        now = clock() - began
        if None in found or ranks.any(now + last > limit):
            break
        found = [run(cell, min(count, n)) for cell in cells]
        last = clock() - began - now
    return found
