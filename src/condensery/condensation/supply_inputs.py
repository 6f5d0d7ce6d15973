"""What a supply gets to work with: the synthetic set, samples of the real one, and training."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from condensery.data import LabelledSet
from condensery.methods.formation import Formation
from condensery.methods.supply import Context
from condensery.methods.task import Task
from condensery.runtime.distributed import Ranks
from condensery.runtime.plan import Plan
from condensery.training.protocol import Protocol
from condensery.training.trainer import Course, Split, Subset, Trainer

from .matching.draws import draw_mixed, draw_rows
from .parameters import StoredParameters


class SupplyInputs:
    """Makes the :class:`Context` of a step.

    Args:
        task: the work.
        train: the real training split.
        plan: how networks are trained.
        formation: decodes the stored tensors.
        parameters: have them.
        flip: whether augmentation may flip images horizontally.
        ranks: those that share the run.
    """

    def __init__(
        self,
        task: Task,
        train: LabelledSet,
        plan: Plan,
        formation: Formation,
        parameters: StoredParameters,
        *,
        flip: bool,
        ranks: Ranks,
    ) -> None:
        self.task, self.train, self.plan = task, train, plan
        self.formation, self.parameters = formation, parameters
        self.flip, self.ranks = flip, ranks
        self._split = Split(train, plan.torch_dtype)
        self._trainers: dict[str, Trainer] = {}

    def at(self, iteration: int, step: int) -> Context:
        """What the supply may look at in a step.

        Args:
            iteration: outer iteration, counted from 0.
            step: step in it, counted from 0.
        """
        at = iteration, step
        return Context(
            iteration,
            step,
            synthetic=self._synthetic,
            query=partial(self._query, at),
            statistics=partial(self._each, at, purpose="batch-statistics"),
            mixed=partial(self._mixed, at),
            real=self._split,
            course=self._course,
        )

    def _synthetic(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            decoded = self.formation.decode(self.parameters.of_all())
        labels = torch.arange(len(decoded), device=decoded.device)
        return decoded.flatten(0, 1), labels.repeat_interleave(decoded.shape[1])

    def _query(self, at: tuple[int, int], a_class: int, number: int | None) -> Subset:
        if number is None:  # one for all steps of the network
            return self._each((at[0], 0), a_class, "query-network")
        return self._each(at, a_class, f"query-{number}" if number else "query")

    def _each(self, at: tuple[int, int], a_class: int, purpose: str) -> Subset:
        rows = draw_rows(self.train, a_class, self.task.seed, purpose, *at)
        return Subset(self.train, torch.cat(rows), self.task.dtype)

    def _mixed(self, at: tuple[int, int], n: int) -> tuple[Tensor, Tensor]:
        rows = draw_mixed(self.train, n, self.task.seed, "validation", *at)
        return self.train.normalised(rows, dtype=self.task.dtype), self.train.labels_at(rows)

    def _course(self, network: nn.Module, how: Protocol) -> Course:
        """Start training a network; trainers are kept, because they compile."""
        dtype = self.plan.torch_update_dtype
        trainer = self._trainers.setdefault(
            repr(how),
            Trainer(
                how,
                self.plan,
                flip=self.flip,
                seed=self.task.seed,
                purpose="update",
                dtype=None if dtype == self.task.dtype else dtype,
                mean=self.train.mean,
                std=self.train.std,
                ranks=self.ranks,
            ),
        )
        return Course(trainer, network)
