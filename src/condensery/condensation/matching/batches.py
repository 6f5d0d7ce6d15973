"""Which real images a step compares with: drawn at random, or those that stand for their class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from condensery.config.schema import RunConfig
from condensery.data import LabelledSet
from condensery.methods.guide import Guide
from condensery.methods.task import Task

from .draws import draw_rows

#: Rounds of k-means for a batch, which is soon another one.
_ROUNDS = 10


class RealBatches(Protocol):
    """A source of real batches."""

    def rows(self, iteration: int, step: int, number: int, classes: range) -> Sequence[Tensor]:
        """Positions of each class's batch in the training split.

        Args:
            iteration: outer iteration.
            step: pixel step within it.
            number: pixel steps done in the run.
            classes: whose.
        """


class RandomBatches:
    """Random images without replacement, other ones in every step."""

    def __init__(self, task: Task, train: LabelledSet, n: int) -> None:
        self.seed, self.train, self.n = task.seed, train, n

    def rows(self, iteration: int, step: int, number: int, classes: range) -> Sequence[Tensor]:
        """Drawn by iteration, step and class."""
        return draw_rows(self.train, self.n, self.seed, "real-batch", iteration, step, classes)


class CentroidBatches:
    """Images nearest to the centroids of a random part of their class (DREAM, section 3.2).

    They stay for some steps. Each batch follows from the seed, which of them it is, and the class:
    so a resumed run has the same ones, and ranks need to exchange nothing. DREAM clusters what the
    matching network sees; here it is a fixed network (:class:`Guide`).
    """

    def __init__(self, guide: Guide, n: int, *, renewed: int, of: int) -> None:
        self.guide, self.n, self.renewed, self.of = guide, n, renewed, of
        self._held: tuple[int, dict[int, Tensor]] = (-1, {})

    def rows(self, iteration: int, step: int, number: int, classes: range) -> Sequence[Tensor]:
        """Those of these steps, clustered where they are new."""
        which = number // self.renewed
        if self._held[0] != which:
            self._held = which, {}
        held = self._held[1]
        for c in classes:
            if c not in held:
                held[c] = self.guide.nearest(
                    c, self.n, "real-batch-centroids", which, of=self.of, rounds=_ROUNDS
                )
        return [held[c] for c in classes]


def batches_of(config: RunConfig, task: Task, train: LabelledSet) -> RealBatches:
    """The source that a configuration names."""
    if config.real_batches == "random":
        return RandomBatches(task, train, config.real_batch)
    return CentroidBatches(
        Guide.of(task, train),
        config.real_batch,
        renewed=config.real_batches_renewed,
        of=config.real_batches_of,
    )
