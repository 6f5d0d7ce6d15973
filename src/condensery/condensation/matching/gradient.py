"""A step's comparison of the branches: the loss, and its gradient, as classes come in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from condensery.augment.draws import to_device
from condensery.errors import UsageError
from condensery.methods.objectives import Objective
from condensery.methods.task import Step
from condensery.runtime.distributed import Ranks, share

from .calls import View
from .layout import Batch


class Real(Protocol):
    """The real branch of a step."""

    def statistics(self, classes: range) -> Tensor:
        """Those of some classes, k×…"""

    def observed(self) -> Tensor | None:
        """A row of each image of the classes that were requested, where they are observed."""


@dataclass
class Block:
    """A block of classes of the synthetic branch, from stored numbers to the calls' inputs."""

    stored: Tensor
    """The block's slice of the stored tensor, a leaf."""
    images: Tensor
    """What the formation and the augmentation made of it."""
    pieces: list[Batch]
    """The calls; their images are leaves, so that they can be pulled back one by one."""
    view: View
    """The network."""
    classes: int
    """How many they are."""
    rows: slice
    """Where the gradient of this slice goes among those of this rank."""
    graph: Tensor | None = None
    """The statistic with its graph, where that is kept."""

    def statistic(self, *, keep: bool) -> Tensor:
        """The block's statistics, without graph; with ``keep`` one is held for the pull back."""
        with torch.set_grad_enabled(keep):
            found = self.view.statistic(self.pieces)[: self.classes]
        self.graph = found if keep else None
        return found.detach()

    def pull_back(self, slope: Tensor) -> Tensor:
        """From a slope at the statistics to the stored slice; the graph is used up."""
        if self.graph is not None:
            self.graph.backward(slope)
            self.graph = None
        else:
            for piece in self.pieces:
                self.view.statistic([piece])[: len(slope)].backward(slope)
        slopes = [p.images.grad for p in self.pieces if p.images.grad is not None]
        self.images.backward(torch.cat(slopes)[: len(self.images)])
        assert self.stored.grad is not None
        return self.stored.grad


@dataclass
class StepGradient:
    """One step's comparison: its loss and its gradient as they come together."""

    objective: Objective
    moment: Step
    real: Real
    gradient: Tensor
    """To this rank's stored tensor; blocks fill their rows."""
    classes: range
    """Those that are compared here; the members of blocks are counted from the first of them."""
    ranks: Ranks
    """Where the others are compared."""

    def __post_init__(self) -> None:
        self.loss = torch.zeros((), dtype=self.gradient.dtype, device=self.gradient.device)

    def alone(self, block: Block, classes: range) -> None:
        """Classes that nothing ties to the others."""
        # One piece: its graph is kept. Several: a first pass gives the statistics, a second one
        # pulls back piece by piece, so that memory does not grow with the number of images.
        found = block.statistic(keep=len(block.pieces) == 1)
        slope = self._slope(
            self.real.statistics(classes), found, self.objective.levels(self.moment)[0]
        )
        self._fill(block, slope)

    def tied(self, blocks: list[Block], classes: list[range]) -> None:
        """An objective whose comparison needs all classes at once."""
        keep = len(blocks) == 1 and len(blocks[0].pieces) == 1
        found = torch.cat([block.statistic(keep=keep) for block in blocks])
        real = self.real.statistics(range(classes[0].start, classes[-1].stop))
        self.moment = replace(self.moment, observed=self._all_observed(self.real.observed()))
        every = len(self.moment.real)
        # Every rank compares all classes, and pulls the slope of its own back.
        slope = self._slope(
            self.ranks.gather_classes(real, every),
            self.ranks.gather_classes(found, every),
            1.0,
            counts=self.ranks.first,
        )[self.classes.start : self.classes.stop]
        for block, members in zip(blocks, classes, strict=True):
            self._fill(block, slope[members.start : members.stop])

    def _all_observed(self, own: Tensor | None) -> Tensor | None:
        """The rows of all ranks' real images."""
        if own is None:
            return None
        sizes, world = self.moment.real, self.ranks.world
        parts = [share(len(sizes), rank, world) for rank in range(world)]
        return self.ranks.gather(own, [sum(sizes[part.start : part.stop]) for part in parts])

    def pooled(
        self, blocks: list[Block], classes: list[range], *, graphs: bool, memory: float
    ) -> None:
        """Each class, and the mean over classes, from the same class statistics (GM, equation 6).

        Ranks exchange the means alone.

        Args:
            blocks: all of them.
            classes: those of each block.
            graphs: whether the graphs of all blocks may be held.
            memory: bytes that the held statistics, k×P, may take; beyond it they are made again.
        """
        each, together = self.objective.levels(self.moment)
        own = slice(self.classes.start, self.classes.stop)
        real_shares = _shares(self.moment.real, self.gradient)[own]
        shares = _shares(self.moment.synthetic, self.gradient)[own]
        held: list[tuple[Tensor, Tensor]] = []
        means: tuple[Tensor, Tensor] | None = None
        for block, members in zip(blocks, classes, strict=True):
            real = self.real.statistics(members)
            found = block.statistic(keep=graphs and len(block.pieces) == 1)
            fits = 2 * len(self.classes) * found[0].nbytes <= memory
            # Without statistics to reuse, a class's graph would be made again anyway.
            if each and not fits:
                graphs, block.graph = False, None
            part = slice(members.start, members.stop)
            sums = (real_shares[None, part] @ real, shares[None, part] @ found)
            means = sums if means is None else (means[0] + sums[0], means[1] + sums[1])
            if each and fits:
                held.append((real, found))
        assert means is not None
        self.ranks.all_reduce_sum(*means)
        mean_slope = self._slope(*means, together, counts=self.ranks.first)
        for place, (block, members) in enumerate(zip(blocks, classes, strict=True)):
            slope = shares[members.start : members.stop, None] * mean_slope
            if each:
                if held:
                    real, found = held[place]
                else:
                    real = self.real.statistics(members)
                    found = block.statistic(keep=len(block.pieces) == 1)
                slope = slope + self._slope(real, found, each)
            self._fill(block, slope)

    def _slope(
        self, real: Tensor, synthetic: Tensor, weight: float, *, counts: bool = True
    ) -> Tensor:
        """The slope of a comparison at the synthetic statistics.

        Its value joins the loss, unless another rank counts it.
        """
        leaf = synthetic.detach().requires_grad_()
        with torch.enable_grad():
            loss = weight * self.objective.compare(real, leaf, self.moment)
        if loss.dim() or not loss.requires_grad:
            raise UsageError(
                "an objective's compare must return a scalar that depends on the synthetic "
                f"statistics; it returned {'×'.join(map(str, loss.shape)) or 'a constant'}"
            )
        if counts:
            self.loss += loss.detach()
        (slope,) = torch.autograd.grad(loss, leaf)
        return slope

    def _fill(self, block: Block, slope: Tensor) -> None:
        self.gradient[block.rows] = block.pull_back(slope)


def _shares(sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Each class's share of all images."""
    counts = torch.tensor(sizes, dtype=like.dtype)
    return to_device(counts / counts.sum(), like.device)
