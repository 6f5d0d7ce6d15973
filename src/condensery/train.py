"""Train one network on any set: tensors that live on the device, no loader, no host sync."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol as Interface

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import log_softmax, pad

from .augment import Strategy, augment_batch, augment_each, augment_idc, cutmix, parse_strategy
from .augment.draws import to_device
from .data import LabelledSet
from .engine import Plan
from .engine.compiled import compiled
from .nets import mixes_examples
from .protocol import Protocol
from .randomness import fork_rng, stream

Loss = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]


class TrainingSet(Interface):
    """What a network is trained on."""

    def __len__(self) -> int: ...

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows."""


@dataclass(frozen=True)
class Tensors:
    """A set of normalised images in memory, such as a decoded condensed set."""

    images: Tensor
    """N×C×H×W."""
    labels: Tensor
    """N."""

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows."""
        return self.images[rows], self.labels[rows]


@dataclass(frozen=True)
class Split:
    """A split of real data, normalised as it is taken."""

    data: LabelledSet
    """The split."""
    dtype: torch.dtype = torch.float32
    """Type of the images."""

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and labels of some rows."""
        return self.data.normalised(rows, dtype=self.dtype), self.data.labels[rows]


class Trainer:
    """Trains networks of one architecture, one after another, by one protocol.

    Args:
        protocol: the constants.
        plan: device, precision, pieces of a batch and whether to compile.
        flip: whether augmentation may flip left and right.
        seed: where shuffling and augmentation derive from.
    """

    def __init__(self, protocol: Protocol, plan: Plan, *, flip: bool, seed: int) -> None:
        self.protocol = protocol
        self.plan = plan
        self.seed = seed
        self.flip = flip
        self.strategy = _strategy(protocol, flip)
        self._template: nn.Module | None = None
        self._compiled: Loss | None = None

    @torch.enable_grad()
    def train(
        self,
        network: nn.Module,
        data: TrainingSet,
        number: int,
        *,
        schedule: Callable[[int], float] | None = None,
    ) -> nn.Module:
        """Train a network in place, to the last epoch.

        Args:
            network: on the plan's device; left in evaluation mode.
            data: what to train on.
            number: the network's number, which decides its shuffling and augmentation.
            schedule: learning rate by step, in place of the protocol's by epoch.
        """
        protocol = self.protocol
        network.train().requires_grad_(True)
        loss = self._loss(network)
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=protocol.rate,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
        )
        weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with fork_rng(self.seed, "dropout", number):
            self._epochs(network, data, number, schedule, loss, weights, optimizer)
        return network.eval()

    def _epochs(
        self,
        network: nn.Module,
        data: TrainingSet,
        number: int,
        schedule: Callable[[int], float] | None,
        loss: Loss,
        weights: dict[str, Tensor],
        optimizer: torch.optim.SGD,
    ) -> None:
        protocol, whole, step = self.protocol, mixing(network), 0
        for epoch in range(protocol.epochs):
            rng = stream(self.seed, "training", number, epoch)
            order = to_device(torch.from_numpy(rng.permutation(len(data))), self._device)
            for rows in _batches(order, protocol.batch, whole):
                rate = protocol.rate_at(epoch) if schedule is None else schedule(step)
                optimizer.param_groups[0]["lr"] = rate
                self._step(loss, weights, optimizer, data.take(rows), rng, whole)
                step += 1

    @property
    def _device(self) -> torch.device:
        return torch.device(self.plan.device)

    def _step(
        self,
        loss: Loss,
        weights: dict[str, Tensor],
        optimizer: torch.optim.SGD,
        batch: tuple[Tensor, Tensor],
        rng: np.random.Generator,
        whole: bool,
    ) -> None:
        """One SGD step; the batch goes through in pieces whose gradients add up."""
        images, targets = self._augmented(*batch, rng)
        optimizer.zero_grad(set_to_none=True)
        for piece, target in _pieces(images, targets, None if whole else self.plan.chunk):
            loss(weights, self._laid_out(piece, whole), target).backward()
        optimizer.step()

    def _augmented(
        self, images: Tensor, labels: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augmented images, and targets N×4: two labels and their shares of the mean loss."""
        kind = self.protocol.augmentation
        if kind == "batch_op" and self.strategy.ops:
            images = augment_batch(images, rng, self.strategy)
        elif kind == "image_op" and self.strategy.ops:
            images = augment_each(images, rng, self.strategy)
        elif kind == "idc":
            images = augment_idc(images, rng, self.flip)
        other, share = labels, 1.0
        if self.protocol.cutmix > 0:
            images, labels, other, share = cutmix(images, labels, rng, p=self.protocol.cutmix)
        n = len(images)
        columns = [labels.to(images.dtype), other.to(images.dtype)]  # exact: labels are small
        columns += [images.new_full((n,), share / n), images.new_full((n,), (1 - share) / n)]
        return images, torch.stack(columns, 1)

    def _laid_out(self, images: Tensor, whole: bool) -> Tensor:
        if self.plan.channels_last and not whole:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _loss(self, network: nn.Module) -> Loss:
        """The loss as a function of weights, so that a new network does not recompile."""
        if self._template is None:
            self._template = network
        template = self._template.train()

        def loss(weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
            logits = functional_call(template, weights, (images,))
            picked = log_softmax(logits, 1).gather(1, targets[:, :2].long())
            return -(picked * targets[:, 2:]).sum()

        if not self.plan.compile or mixing(network):
            return loss
        if self._compiled is None:
            self._compiled = compiled(loss)
        return self._compiled


def _batches(order: Tensor, size: int, whole: bool) -> list[Tensor]:
    """Mini-batches; batch norm cannot take one image alone, so it joins the batch before."""
    out = list(order.split(size))
    if whole and len(out) > 1 and len(out[-1]) == 1:
        out[-2:] = [torch.cat(out[-2:])]
    return out


def mixing(network: nn.Module) -> bool:
    """Whether a batch must go through the network whole."""
    return mixes_examples(network)


def _strategy(protocol: Protocol, flip: bool) -> Strategy:
    strategy = dataclasses.replace(parse_strategy(protocol.strategy), rotate=protocol.rotate)
    return strategy if flip else strategy.without("flip")


def _pieces(images: Tensor, targets: Tensor, chunk: int | None) -> list[tuple[Tensor, Tensor]]:
    """Pieces of one shape, evenly filled; what fills the last one has no share in the loss."""
    n = len(images)
    if chunk is None or n <= chunk:
        return [(images, targets)]
    count = -(-n // chunk)
    size = -(-n // count)
    missing = count * size - n
    if missing:
        images = pad(images, (0, 0) * 3 + (0, missing))
        targets = pad(targets, (0, 0, 0, missing))
    return list(zip(images.split(size), targets.split(size), strict=True))


@torch.no_grad()
def accuracy(network: nn.Module, data: LabelledSet, plan: Plan) -> float:
    """Share of a split that a network gets right, in percent; one host sync."""
    chunk = plan.chunk or 256
    right = torch.zeros((), dtype=torch.long, device=data.labels.device)
    for rows in torch.arange(len(data), device=data.labels.device).split(chunk):
        images = data.normalised(rows, dtype=plan.torch_dtype)
        right += (network(images).argmax(1) == data.labels[rows]).sum()
    return 100.0 * int(right) / len(data)
