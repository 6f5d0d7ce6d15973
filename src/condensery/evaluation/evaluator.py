"""Trains and tests the networks of a cell: here, several in one call, or in processes."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import nn

from condensery import nets as zoo
from condensery.data.labelled import LabelledSet
from condensery.runtime.randomness import fork_rng
from condensery.training.stacked import Crowd
from condensery.training.trainer import Course, Split, Tensors, Trainer

from .cell import Cell, Job, Measured
from .processes import can_be_shared, measure_together


class Bench:
    """Trains and tests the networks of a cell, alone or several in a call, in any order."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        first = cell.source(0)
        narrow = cell.plan.torch_update_dtype
        self.trainer = Trainer(
            cell.training,
            cell.plan,
            flip=cell.data.flip,
            seed=cell.seed,
            dtype=None if narrow == cell.plan.torch_dtype else narrow,
            mean=first.mean,
            std=first.std,
        )
        test = cell.data.test.to(torch.device(cell.plan.device))
        # Networks expect the normalisation that they were trained with.
        test = dataclasses.replace(test, mean=first.mean, std=first.std)
        self.test = Split(test, cell.plan.torch_dtype)
        self.shape, self.classes = test.shape, test.classes
        self._held: tuple[int, Split | Tensors] | None = None

    def measure(self, number: int, network: int) -> Measured:
        """Train one fresh network on one of the row's sets and test it.

        A function of the cell, the set and the network alone: of their contents and numbers.

        Args:
            number: of the set in its row.
            network: of the network, 0 ≤ network.
        """
        began = time.perf_counter()
        with self.cell.plan.applied():
            built, source = self._new(number, network), self._source(number)
            how: dict[str, Any] = {"group": number, "schedule": self.cell.schedule}
            self.trainer.train(built, source, network, **how)
            found = 100.0 * Course(self.trainer, built).accuracy(self.test)
        return Measured(found, time.perf_counter() - began)

    def measure_several(self, number: int, networks: Sequence[int]) -> list[Measured]:
        """:meth:`measure` for several networks on one set, which one call trains.

        Their numbers are those of :meth:`measure` but for the order of float sums.

        Args:
            number: of the set in its row.
            networks: their numbers.
        """
        if self.cell.plan.networks == 1:
            return [self.measure(number, network) for network in networks]
        began = time.perf_counter()
        with self.cell.plan.applied():
            built = [self._new(number, network) for network in networks]
            how: dict[str, Any] = {"group": number, "schedule": self.cell.schedule}
            Crowd(self.trainer, built).train(self._source(number), networks, **how)
            found = [100.0 * Course(self.trainer, one).accuracy(self.test) for one in built]
        each = (time.perf_counter() - began) / len(networks)
        return [Measured(accuracy, each) for accuracy in found]

    def _new(self, number: int, network: int) -> nn.Module:
        cell, plan = self.cell, self.cell.plan
        with fork_rng(cell.seed, "evaluation-network", network, group=number):
            built = zoo.build(cell.net, self.shape, self.classes)
        return built.to(device=plan.device, dtype=plan.torch_dtype)

    def _source(self, number: int) -> Split | Tensors:
        """A set on the device; the last one stays there."""
        if self._held is None or self._held[0] != number:
            self._held = number, self._on_device(number)
        return self._held[1]

    def _on_device(self, number: int) -> Split | Tensors:
        source, plan = self.cell.source(number), self.cell.plan
        if isinstance(source, LabelledSet):
            return Split(source.to(torch.device(plan.device)), plan.torch_dtype)
        images = source.images.to(plan.device, plan.torch_dtype)
        return Tensors(images, source.labels.to(plan.device))


def measure_all(cell: Cell, jobs: Sequence[Job]) -> Iterator[tuple[Job, Measured]]:
    """Train and test some networks of a cell, in the plan's processes, or here.

    Their numbers do not depend on which of the two it is, given the plan's threads.
    """
    if cell.plan.processes > 1 and len(jobs) > 1 and can_be_shared(cell):
        yield from measure_together(cell, jobs)
        return
    bench = Bench(cell) if jobs else None
    for number, networks in _crowds(jobs, cell.plan.networks):
        assert bench is not None
        for network, one in zip(networks, bench.measure_several(number, networks), strict=True):
            yield (number, network), one


def _crowds(jobs: Sequence[Job], most: int) -> Iterator[tuple[int, list[int]]]:
    """Sets, and networks on them that one call trains."""
    for number, found in itertools.groupby(jobs, key=itemgetter(0)):
        networks = [network for _, network in found]
        for first in range(0, len(networks), most):
            yield number, networks[first : first + most]
