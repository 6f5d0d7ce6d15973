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
from condensery.runtime.distributed import Ranks, share
from condensery.runtime.randomness import fork_rng
from condensery.training.stacked import StackedNetworks
from condensery.training.trainer import Course, Split, Subset, Tensors, Trainer

from .cell import Cell, Job, Measured, OnEpoch
from .confusion import confusion_of
from .processes import can_be_shared, measure_together

#: Seconds between two reports of the epochs of a network.
_EVERY = 0.5


class Evaluator:
    """Trains and tests the networks of a cell, alone or several in a call, in any order.

    Args:
        cell: whose networks they are.
        on_epoch: called now and then while a network is trained.
    """

    def __init__(self, cell: Cell, on_epoch: OnEpoch | None = None) -> None:
        self.cell = cell
        self._on_epoch = on_epoch
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

    def measure(self, set_index: int, network_index: int) -> Measured:
        """Train one fresh network on one of the row's sets and test it.

        A function of the cell, the set and the network alone: of their contents and numbers.

        Args:
            set_index: which of the row's sets.
            network_index: which network, from 0.
        """
        began = time.perf_counter()
        self._tell_epochs((set_index, network_index))
        with self.cell.plan.applied():
            network, source = self._new(set_index, network_index), self._source(set_index)
            how = self._how(set_index)
            self.trainer.train(network, source, network_index, **how)
            found = self._tested(network)
        return dataclasses.replace(found, seconds=time.perf_counter() - began)

    def measure_several(self, set_index: int, network_indices: Sequence[int]) -> list[Measured]:
        """:meth:`measure` for several networks on one set, which one call trains.

        Their numbers are those of :meth:`measure` but for the order of float sums.

        Args:
            set_index: which of the row's sets.
            network_indices: which networks.
        """
        if self.cell.plan.networks == 1:
            return [self.measure(set_index, index) for index in network_indices]
        began = time.perf_counter()
        self._tell_epochs((set_index, network_indices[0]))
        with self.cell.plan.applied():
            networks = [self._new(set_index, index) for index in network_indices]
            stacked = StackedNetworks(self.trainer, networks)
            stacked.train(self._source(set_index), network_indices, **self._how(set_index))
            found = [self._tested(one) for one in networks]
        each = (time.perf_counter() - began) / len(network_indices)
        return [dataclasses.replace(one, seconds=each) for one in found]

    def _how(self, set_index: int) -> dict[str, Any]:
        """What a training is told beside its network and its data."""
        cell = self.cell
        return {"set_index": set_index, "schedule": cell.schedule, "steps": cell.steps}

    def _tested(self, network: nn.Module) -> Measured:
        """Accuracies of a network, whose time is still to be said."""
        course, parts = Course(self.trainer, network), self.cell.parts
        if self.cell.confusion:
            counts = confusion_of(network, self.test, self.classes, self.cell.plan.chunk)
            hits = sum(line[c] for c, line in enumerate(counts))
            return Measured(100.0 * hits / len(self.test), 0.0, (), counts)
        if not parts:
            return Measured(100.0 * course.accuracy(self.test), 0.0)
        rows = torch.arange(len(self.test), device=self.test.index_device).split(list(parts))
        each = [course.accuracy(Subset(self.test.data, part, self.test.dtype)) for part in rows]
        right = sum(share * len(part) for share, part in zip(each, rows, strict=True))
        found = tuple(100.0 * share for share in each)
        return Measured(100.0 * right / len(self.test), 0.0, found)

    def begin(self) -> tuple[Course, Split | Tensors]:
        """The first network, about to be trained, and what it is trained on."""
        return Course(self.trainer, self._new(0, 0)), self._source(0)

    def _tell_epochs(self, job: Job) -> None:
        """Pass on the epochs of a network, not all of them where they are short."""
        if (tell := self._on_epoch) is None:
            return
        last = time.monotonic()

        def after(epochs: int) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= _EVERY:
                last = now
                tell(job, epochs)

        self.trainer.after_epoch = after

    def _new(self, set_index: int, network_index: int) -> nn.Module:
        cell, plan = self.cell, self.cell.plan
        with fork_rng(cell.seed, "evaluation-network", network_index, group=set_index):
            network = zoo.build(cell.net, self.shape, self.classes)
        return network.to(device=plan.device, dtype=plan.torch_dtype)

    def _source(self, set_index: int) -> Split | Tensors:
        """A set on the device; the last one stays there."""
        if self._held is None or self._held[0] != set_index:
            self._held = set_index, self._on_device(set_index)
        return self._held[1]

    def _on_device(self, set_index: int) -> Split | Tensors:
        source, plan = self.cell.source(set_index), self.cell.plan
        if isinstance(source, LabelledSet):
            return Split(source.to(torch.device(plan.device)), plan.torch_dtype)
        images = source.images.to(plan.device, plan.torch_dtype)
        return Tensors(images, source.labels.to(plan.device))


def measure_all(
    cell: Cell, jobs: Sequence[Job], on_epoch: OnEpoch | None = None
) -> Iterator[tuple[Job, Measured]]:
    """Train and test some networks of a cell, in the plan's processes, or here.

    Their numbers do not depend on which of the two it is, given the plan's threads.
    """
    if cell.plan.processes > 1 and len(jobs) > 1 and can_be_shared(cell):
        yield from measure_together(cell, jobs, on_epoch)
        return
    evaluator = Evaluator(cell, on_epoch) if jobs else None
    for set_index, indices in _groups(jobs, cell.plan.networks):
        assert evaluator is not None
        found = evaluator.measure_several(set_index, indices)
        for network_index, one in zip(indices, found, strict=True):
            yield (set_index, network_index), one


def measure_shared(
    cell: Cell, jobs: Sequence[Job], ranks: Ranks, on_epoch: OnEpoch | None = None
) -> Iterator[tuple[Job, Measured]]:
    """The same, each rank training a part of the networks; every rank gets all of them.

    Ranks tell each other what they have after every network, so that all that is finished can be
    kept when one of them ends.
    """
    if ranks.alone:
        yield from measure_all(cell, jobs, on_epoch)
        return
    own = [jobs[place] for place in share(len(jobs), ranks.rank, ranks.world)]
    mine = measure_all(cell, own, on_epoch)
    for _ in share(len(jobs), ranks.world - 1, ranks.world):  # the last rank has the most
        one = next(mine, None)
        told = None if one is None else [*one[0], one[1].as_dict()]
        for found in ranks.gather_objects(told):
            if found is not None:
                set_index, network_index, values = found
                yield (set_index, network_index), Measured.of(values)


def _groups(jobs: Sequence[Job], most: int) -> Iterator[tuple[int, list[int]]]:
    """Sets, and networks on them that one call trains."""
    for set_index, found in itertools.groupby(jobs, key=itemgetter(0)):
        indices = [network_index for _, network_index in found]
        for first in range(0, len(indices), most):
            yield set_index, indices[first : first + most]
