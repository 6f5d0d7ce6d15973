"""One matching step, run as the plan says: the gradient of the objective to the stored tensor."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from condensery.data import LabelledSet
from condensery.methods.augmentation import Augmentation
from condensery.methods.formation import Formation
from condensery.methods.objectives import Objective
from condensery.methods.task import Step, Task
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.kernels import fused
from condensery.runtime.plan import Plan

from .batches import RandomBatches, RealBatches
from .calls import Calls, View
from .draws import StepDraws, augment_classes, draw_step
from .gradient import Block, StepGradient
from .layout import Batch, Layout, filled, share_matrix, unfilled

#: Synthetic calls hold a graph and are followed by their backward pass: a larger chunk pays.
_SYNTHETIC_CHUNKS = 2
#: Numbers that a graph keeps for an image, in outputs of the network's layers. Measured with saved
#: tensors of autograd's second derivative: 1.3 for ConvNet-3, 1.1 for ResNet18.
_GRAPH_OUTPUTS = 2


class Matcher:
    """Computes the loss of one step and its gradient to the stored tensor.

    Chunks, precision, layout and compiling are the plan's business and live here: objectives,
    formations and supplies do not know about them. So do ranks: each computes its own classes'
    gradient, and what ties classes is exchanged. Only where a network mixes examples does every
    rank look at all of them.
    """

    def __init__(
        self,
        plan: Plan,
        task: Task,
        train: LabelledSet,
        *,
        objective: Objective,
        formation: Formation,
        augmentation: Augmentation,
        real_batch: int,
        synthetic_batch: int | None = None,
        ranks: Ranks = ALONE,
        batches: RealBatches | None = None,
    ) -> None:
        self.plan = plan
        self.task = task
        self.train = train
        self.objective = objective
        self.formation = formation
        self.augmentation = augmentation
        self.real_batch = real_batch
        self.batches = batches or RandomBatches(task, train, real_batch)
        self.synthetic_batch = synthetic_batch
        self.ranks = ranks
        self.own = ranks.owned(task.classes)
        self.repeats = False
        """Whether the last step was done by every rank, because its network mixes examples."""
        self._calls = Calls(plan, objective)
        self._shares: dict[tuple[tuple[int, ...], tuple[int, ...]], Tensor] = {}
        self._graph_bytes: float | None = None

    def gradient(
        self, network: nn.Module, stored: Tensor, iteration: int, step: int, number: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Loss (a scalar on the device, never read here) and its gradient to ``stored``.

        Losses, and the gradients of what a formation learns, are shares that add up over ranks.

        Args:
            network: the matching network.
            stored: the stored tensors of this rank's classes.
            iteration: outer iteration, an address of the draws.
            step: pixel step within it, an address of the draws.
            number: pixel steps done in the run.
        """
        decoded = self.formation.decoded(stored.shape[1])
        taken = decoded if self.synthetic_batch is None else min(decoded, self.synthetic_batch)
        view = self._calls.view(network)
        self.repeats = view.whole and not self.ranks.alone
        classes = range(self.task.classes) if view.whole else self.own
        rows = self.batches.rows(iteration, step, number, classes)
        place = iteration, step, classes, rows
        draws = draw_step(self.train, self.augmentation, self.task, self.real_batch, *place)
        if taken < decoded:
            draws = draws.with_synthetic(self.task, decoded, taken, iteration, step)
        sizes = [taken] * len(classes)
        real_sizes = tuple(min(n, self.real_batch) for n in self.train.counts)
        every = (taken,) * self.task.classes
        moment = Step(network, iteration, step, number, real_sizes, every)
        real = _Real(self, view, draws)
        layout = self.layout(view, sizes, _SYNTHETIC_CHUNKS, self._graphs_that_fit(network))
        ranks = ALONE if view.whole else self.ranks
        out = StepGradient(self.objective, moment, real, torch.empty_like(stored), classes, ranks)
        members = list(layout.blocks)
        blocks = (self._block(view, stored, draws, layout, block) for block in members)
        if not self.objective.separable:
            out.tied(list(blocks), members)
        elif self.objective.levels(moment)[1] > 0:
            graphs = sum(sizes) <= self._graphs_that_fit(network)
            memory = self.plan.memory_gb * 2**30
            out.pooled(list(blocks), members, graphs=graphs, memory=memory)
        else:
            for block, some in zip(blocks, members, strict=True):
                out.alone(block, some)
        counts = self.ranks.first or not self.repeats
        return out.loss if counts else torch.zeros_like(out.loss), out.gradient

    def alone(self, view: View) -> bool:
        """Whether calls take one class: a loop over classes wins on CPUs, a batch on GPUs.

        Where autograd takes the gradients, a batch would cost a pass for each of its classes.
        """
        return self.objective.single and not (self.plan.together and view.fixed)

    def divides(self, network: nn.Module) -> bool:
        """Whether classes are matched one by one, so that some of them tell the time of all."""
        view = self._calls.view(network)
        return self.objective.separable and not view.whole and self.alone(view)

    def of_classes(self, classes: range) -> Matcher:
        """The matcher of some classes alone, to be measured; its ``stored`` has these classes.

        Only where a network :meth:`divides`.
        """
        part = copy.copy(self)
        part.own = classes
        return part

    def layout(self, view: View, sizes: list[int], chunks: int, most: int | None = None) -> Layout:
        """How a branch's classes are divided into calls, by chunks and by images."""
        if view.whole:
            return Layout.whole(sizes)
        limit = None if self.plan.chunk is None else self.plan.chunk * chunks
        if limit is not None and most is not None:
            limit = min(limit, most)
        return Layout.of(
            sizes,
            limit,
            splittable=self.objective.additive,
            fixed=view.fixed,
            single=self.alone(view),
            equal=self.objective.single and not self.alone(view),
        )

    def batch(
        self,
        view: View,
        images: Tensor,
        labels: Tensor,
        sizes: list[int],
        room: list[int],
        dtype: torch.dtype,
    ) -> Batch:
        """Some classes' images in their places, laid out and typed for calls, with their shares."""
        layout = torch.channels_last if view.channels_last else torch.preserve_format
        key = (tuple(sizes), tuple(room))
        if key not in self._shares:
            share = share_matrix(sizes, self.plan.torch_dtype, images.device, room)
            self._shares[key] = share
        images = filled(images, sizes, room).to(dtype=dtype, memory_format=layout)
        return Batch(images, filled(labels, sizes, room), self._shares[key])

    def _block(
        self, view: View, stored: Tensor, draws: StepDraws, layout: Layout, block: range
    ) -> Block:
        own = slice(None) if self.repeats else slice(block.start, block.stop)
        part = stored[own].detach().requires_grad_()
        sizes = layout.sizes_of(block)
        rows = None if draws.synthetic is None else draws.synthetic[block.start : block.stop]
        made = self._among_all(part, rows) if self.repeats else self.formation.decode(part, rows)
        images = augment_classes(
            self.augmentation, made.flatten(0, 1), sizes, [draws.augmentation[c] for c in block]
        )
        first = draws.classes.start
        labels = torch.arange(first + block.start, first + block.stop, device=stored.device)
        labels = labels.repeat_interleave(sizes[0], output_size=sum(sizes))
        batch = self.batch(view, images.detach(), labels, sizes, sizes, self.plan.torch_dtype)
        pieces = [
            replace(piece, images=piece.images.detach().requires_grad_())
            for piece in layout.pieces(batch)
        ]
        return Block(part, images, pieces, view, len(block), own)

    def _among_all(self, part: Tensor, rows: Tensor | None) -> Tensor:
        """Training images of all classes; those of this rank's stored part have a graph."""
        with torch.no_grad():
            whole = self.ranks.gather_classes(part, self.task.classes)
            made = self.formation.decode(whole, rows)
        first, last = self.own.start, self.own.stop
        mine = self.formation.decode(part, None if rows is None else rows[first:last])
        return torch.cat([made[:first], mine, made[last:]])

    def _graphs_that_fit(self, network: nn.Module) -> int:
        """Images whose graphs may be held together."""
        if self._graph_bytes is None:
            outputs = _outputs(network, self.task)
            self._graph_bytes = outputs * self.task.dtype.itemsize * _GRAPH_OUTPUTS
        return max(1, int(self.plan.memory_gb * 2**30 / self._graph_bytes))


class _Real:
    """Statistics of the real batches: all at once where calls take many classes, else as asked."""

    def __init__(self, matcher: Matcher, view: View, draws: StepDraws) -> None:
        self.matcher = matcher
        self.view = view
        self.draws = draws
        self.layout = matcher.layout(view, [len(rows) for rows in draws.rows], 1)
        self._all: Tensor | None = None
        self._each: dict[int, Tensor] = {}

    @torch.no_grad()
    def statistics(self, classes: range) -> Tensor:
        """The statistics of some classes, k×…"""
        if self.matcher.alone(self.view) and not self.view.whole:
            return torch.cat([self._compute(range(c, c + 1)) for c in classes])
        if self._all is None:
            self._all = torch.cat([self._compute(block) for block in self.layout.blocks])
        return self._all[classes.start : classes.stop]

    def observed(self) -> Tensor | None:
        """A row of each real image, class after class, where the objective observes them."""
        if not self._each:
            return None
        return torch.cat([self._each.pop(first) for first in sorted(self._each)])

    def _compute(self, block: range) -> Tensor:
        matcher, train = self.matcher, self.matcher.train
        sizes = [len(self.draws.rows[c]) for c in block]
        rows = torch.cat([self.draws.rows[c] for c in block])
        images = augment_classes(
            matcher.augmentation,
            train.normalised(rows, dtype=matcher.plan.torch_dtype),
            sizes,
            [self.draws.augmentation[c] for c in block],
        )
        labels, room = train.labels_at(rows), self.layout.sizes_of(block)
        batch = matcher.batch(self.view, images, labels, sizes, room, self.view.real_dtype)
        found, each = self.view.real(self.layout.pieces(batch))
        if each is not None:
            self._each[block.start] = unfilled(each, sizes, room)
        return found[: len(block)]


@torch.no_grad()
def _outputs(network: nn.Module, task: Task) -> int:
    """Numbers that the layers of a network put out for one image."""
    network = copy.deepcopy(network).eval()  # nothing is to learn from this image
    total = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if not any(m.children())]
    weight = next(network.parameters())
    try:
        with fused(False):  # whose layers are called one by one
            network(torch.zeros(1, *task.shape, dtype=weight.dtype, device=weight.device))
    finally:
        for hook in hooks:
            hook.remove()
    return max(total, math.prod(task.shape))
