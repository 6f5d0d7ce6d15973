"""One matching step, run as the plan says: the gradient of the objective to the stored tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from condensery.augment import Augmentation
from condensery.data import LabelledSet
from condensery.nets import mixes_examples
from condensery.task import Task

from .batches import StepDraws, augment_classes, draw_step
from .compiled import compiled
from .layout import Batch, Layout, share_matrix
from .plan import Plan

if TYPE_CHECKING:
    # Interfaces of the rooms above, for types alone: imports run down.
    from condensery.formation import Formation
    from condensery.objectives import Objective

Weights = dict[str, Tensor]
Call = Callable[[Weights, Tensor, Tensor, Tensor], Tensor]

#: Synthetic calls hold a graph and are followed by their backward pass: a larger chunk pays.
_SYNTHETIC_CHUNKS = 2


class _Statistic(nn.Module):
    """An objective's statistic as a module, so that its weights can be passed as arguments."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, images: Tensor, labels: Tensor, share: Tensor) -> Tensor:
        """The statistics of k classes."""
        return self.objective.statistic(self.network, images, labels, share)


@dataclass(frozen=True)
class _Block:
    """A block of classes of the synthetic branch, from stored numbers to the calls' inputs."""

    stored: Tensor
    """The block's slice of the stored tensor, a leaf."""
    images: Tensor
    """What the formation and the augmentation made of it."""
    pieces: list[Batch]
    """The calls; their images are leaves, so that they can be pulled back one by one."""

    def pull_back(self) -> None:
        """From the calls' inputs through augmentation and formation to the stored slice."""
        slopes = [p.images.grad for p in self.pieces if p.images.grad is not None]
        self.images.backward(torch.cat(slopes)[: len(self.images)])


class Matcher:
    """Computes the loss of one step and its gradient to the stored tensor.

    Chunks, precision, layout and compiling are the plan's business and live here: objectives,
    formations and supplies do not know about them.
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
    ) -> None:
        self.plan = plan
        self.task = task
        self.train = train
        self.objective = objective
        self.formation = formation
        self.augmentation = augmentation
        self.real_batch = real_batch
        self._template: _Statistic | None = None
        self._compiled: Call | None = None
        self._shares: dict[tuple[int, ...], Tensor] = {}

    def gradient(
        self, network: nn.Module, stored: Tensor, iteration: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Loss (a scalar on the device, never read here) and its gradient to ``stored``."""
        draws = draw_step(
            self.train, self.augmentation, self.task, self.real_batch, iteration, step
        )
        plan = self.plan
        # Batch statistics mix the examples of a call, so then each branch is one plain call.
        whole = mixes_examples(network)
        call = self._call(network, fast=plan.compile and not whole)
        last = plan.channels_last and not whole
        weights = _tensors(network, plan.torch_dtype, last)
        real_dtype = plan.torch_dtype if whole else plan.torch_real_dtype
        real_weights = (
            weights if real_dtype == plan.torch_dtype else _tensors(network, real_dtype, last)
        )
        with torch.no_grad():
            real = self._real(call, real_weights, draws, whole, real_dtype)
        return self._synthetic(call, weights, stored, draws, real, whole)

    def _call(self, network: nn.Module, *, fast: bool) -> Call:
        if self._template is None:
            self._template = _Statistic(network, self.objective)
        template = self._template

        def call(weights: Weights, images: Tensor, labels: Tensor, share: Tensor) -> Tensor:
            return functional_call(template, weights, (images, labels, share))  # type: ignore[no-any-return]

        if not fast:
            return call
        if self._compiled is None:
            self._compiled = compiled(call)
        return self._compiled

    def _layout(self, sizes: list[int], chunks: int, whole: bool) -> Layout:
        if whole:
            return Layout.whole(sizes)
        limit = None if self.plan.chunk is None else self.plan.chunk * chunks
        return Layout.of(sizes, limit, splittable=self.objective.additive, fixed=self.plan.compile)

    def _real(
        self, call: Call, weights: Weights, draws: StepDraws, whole: bool, dtype: torch.dtype
    ) -> Tensor:
        """Statistics of every class's real batch, classes × …"""
        layout = self._layout([len(rows) for rows in draws.rows], 1, whole)
        out = []
        for block in layout.blocks:
            sizes = layout.sizes_of(block)
            rows = torch.cat([draws.rows[c] for c in block])
            images = augment_classes(
                self.augmentation,
                self.train.normalised(rows, dtype=self.plan.torch_dtype),
                sizes,
                [draws.augmentation[c] for c in block],
            )
            batch = self._batch(images, self.train.labels[rows], sizes, dtype, whole)
            out.append(_summed(call, weights, layout.pieces(batch))[: len(block)])
        return torch.cat(out)

    def _batch(
        self, images: Tensor, labels: Tensor, sizes: list[int], dtype: torch.dtype, whole: bool
    ) -> Batch:
        last = self.plan.channels_last and not whole
        layout = torch.channels_last if last else torch.preserve_format
        key = tuple(sizes)
        if key not in self._shares:
            self._shares[key] = share_matrix(sizes, self.plan.torch_dtype, images.device)
        share = self._shares[key]
        return Batch(images.to(dtype=dtype, memory_format=layout), labels, share)

    def _synthetic(
        self,
        call: Call,
        weights: Weights,
        stored: Tensor,
        draws: StepDraws,
        real: Tensor,
        whole: bool,
    ) -> tuple[Tensor, Tensor]:
        """Compare, and pull the gradient back, a block of classes at a time where that is equal."""
        with torch.no_grad():
            decoded = self.formation.decode(stored[:1]).shape[1]
        layout = self._layout([decoded] * len(stored), _SYNTHETIC_CHUNKS, whole)
        gradient = torch.empty_like(stored)
        loss = torch.zeros((), dtype=real.dtype, device=real.device)
        groups = [[b] for b in layout.blocks] if self.objective.separable else [list(layout.blocks)]
        for group in groups:
            blocks = [self._block(stored, draws, layout, block, whole) for block in group]
            rows = slice(group[0].start, group[-1].stop)
            loss += self._pull_back(call, weights, blocks, real[rows])
            gradient[rows] = torch.cat([b.stored.grad for b in blocks if b.stored.grad is not None])
        return loss, gradient

    def _block(
        self, stored: Tensor, draws: StepDraws, layout: Layout, block: range, whole: bool
    ) -> _Block:
        part = stored[block.start : block.stop].detach().requires_grad_()
        sizes = layout.sizes_of(block)
        decoded = self.formation.decode(part).flatten(0, 1)
        images = augment_classes(
            self.augmentation, decoded, sizes, [draws.augmentation[c] for c in block]
        )
        labels = torch.arange(block.start, block.stop, device=stored.device)
        labels = labels.repeat_interleave(sizes[0], output_size=sum(sizes))
        batch = self._batch(images.detach(), labels, sizes, self.plan.torch_dtype, whole)
        pieces = [
            replace(piece, images=piece.images.detach().requires_grad_())
            for piece in layout.pieces(batch)
        ]
        return _Block(part, images, pieces)

    def _pull_back(
        self, call: Call, weights: Weights, blocks: list[_Block], real: Tensor
    ) -> Tensor:
        """The loss of some blocks; their stored slices get their gradients.

        One piece a block: its graph is kept. Several: a first pass without graph gives the
        statistics, a second one pulls the gradient back piece by piece, so that memory does not
        grow with the number of images.
        """
        keep = len(blocks) == 1 and len(blocks[0].pieces) == 1
        with torch.set_grad_enabled(keep):
            found = [_summed(call, weights, b.pieces)[: len(b.stored)] for b in blocks]
        statistics = torch.cat([f.detach() for f in found]).requires_grad_()
        loss = self.objective.compare(real, statistics)
        (slopes,) = torch.autograd.grad(loss, statistics)
        parts = slopes.split([len(b.stored) for b in blocks])
        for block, slope, statistic in zip(blocks, parts, found, strict=True):
            if keep:
                statistic.backward(slope)
            else:
                for piece in block.pieces:
                    out = call(weights, piece.images, piece.labels, piece.share)
                    out[: len(slope)].backward(slope)
            block.pull_back()
        return loss.detach()


def _summed(call: Call, weights: Weights, pieces: list[Batch]) -> Tensor:
    """The statistics of a block: those of its pieces, whose shares make the sum a mean."""
    first, *rest = pieces
    total = call(weights, first.images, first.labels, first.share)
    for piece in rest:
        total = total + call(weights, piece.images, piece.labels, piece.share)
    return total


def _tensors(network: nn.Module, dtype: torch.dtype, channels_last: bool) -> Weights:
    """A network's weights and buffers under the names they have inside :class:`_Statistic`."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {f"network.{name}": _cast(value, dtype, channels_last) for name, value in named.items()}


def _cast(value: Tensor, dtype: torch.dtype, channels_last: bool) -> Tensor:
    if not value.is_floating_point():
        return value
    last = channels_last and value.dim() == 4
    layout = torch.channels_last if last else torch.preserve_format
    return value.detach().to(dtype=dtype, memory_format=layout)
