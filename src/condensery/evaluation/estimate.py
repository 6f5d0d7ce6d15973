"""What the networks of a table will take, from a few of their training steps."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from condensery.runtime.randomness import stream
from condensery.training.datasets import Subset, TrainingSet
from condensery.training.trainer import Course

from .cell import Cell
from .evaluator import Evaluator

#: Steps that are measured after a first one, fewer where they take long; and test images.
_STEPS, _PATIENCE, _TESTED = 5, 2.0, 512


@dataclass(frozen=True)
class Cost:
    """What one network of a cell takes by itself, in seconds."""

    training: float
    """All of its epochs."""
    testing: float
    """The test split."""

    @property
    def seconds(self) -> float:
        """Both."""
        return self.training + self.testing


def costs_of(cells: Sequence[Cell]) -> list[Cost]:
    """The cost of a network of each cell, measured with uncompiled steps; nothing is kept.

    Compiled networks take less: it is an upper bound, on a machine that is as busy as now.
    """
    known: dict[object, tuple[float, float]] = {}
    costs = []
    for cell in cells:
        size = min(cell.training.batch, cell.sizes[0])
        training = dataclasses.replace(cell.training, name="", epochs=1)
        alike = (cell.net, size, repr(training), cell.plan.device, cell.row.whole)
        if alike not in known:
            known[alike] = _measured(cell)
        step, image = known[alike]
        steps = -(-cell.sizes[0] // cell.training.batch) * cell.training.epochs
        costs.append(Cost(steps * step, len(cell.data.test) * image))
    return costs


def _measured(cell: Cell) -> tuple[float, float]:
    """Seconds of a training step, and of a test image."""
    plan = dataclasses.replace(
        cell.plan, compile=False, channels_last=False, graphs=False, together=False, processes=1
    )
    evaluator = Evaluator(dataclasses.replace(cell, plan=plan))
    took: list[float] = []
    with plan.applied():
        course, data = evaluator.begin()
        with course.dropout("estimate", 0):
            for seconds in _timed(course, data):
                took.append(seconds)
                if len(took) > _STEPS or (len(took) > 1 and sum(took) > _PATIENCE):
                    break
        test = evaluator.test.data
        rows = torch.arange(min(_TESTED, len(test)), device=test.index_device)
        began = time.perf_counter()
        course.accuracy(Subset(test, rows, plan.torch_dtype))
        tested = time.perf_counter() - began
    return min(took[1:] or took), tested / len(rows)


def _timed(course: Course, data: TrainingSet) -> Iterator[float]:
    """Seconds of one step after another, over as many epochs as it takes."""
    epoch = 0
    while True:
        steps = course.steps(data, stream(0, "estimate", epoch), 0)
        began = time.perf_counter()
        for _ in steps:
            if course.trainer.plan.device != "cpu":
                torch.cuda.synchronize()
            now = time.perf_counter()
            yield now - began
            began = time.perf_counter()
        epoch += 1
