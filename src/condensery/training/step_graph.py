"""Training steps recorded as CUDA graphs, for networks of one architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Interface

import torch
from torch import Tensor, nn

from condensery.runtime.graphs import Replay, record

from .momentum_sgd import MomentumSGD
from .protocol import Protocol

Loss = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]


class Learning(Interface):
    """A network that is being trained."""

    network: nn.Module
    optimizer: MomentumSGD


class StepGraph:
    """The SGD steps of a trainer: one graph for each size of a mini-batch.

    A graph reads and writes fixed places. The network that is trained lives in them while it is,
    so that nothing is copied between its steps; the next network's first step moves it out.

    Args:
        loss: of a network's weights, images and targets.
        network: one of the architecture; not changed.
        protocol: momentum and weight decay; rates are given step by step.
    """

    def __init__(self, loss: Loss, network: nn.Module, protocol: Protocol) -> None:
        self.loss = loss
        self.names = [name for name, _ in network.named_parameters()]
        self.weights = [w.detach().clone().requires_grad_() for w in network.parameters()]
        self.momenta = [torch.zeros_like(w) for w in self.weights] if protocol.momentum else []
        self.rate = torch.zeros((), device=self.weights[0].device)
        self._rate = 0.0
        self.optimizer = torch.optim.SGD(
            self.weights,
            lr=self.rate,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
            fused=True,
        )
        for weight, momentum in zip(self.weights, self.momenta, strict=False):
            self.optimizer.state[weight]["momentum_buffer"] = momentum
        self._owner: Learning | None = None
        self._steps: dict[tuple[object, ...], tuple[Replay, Tensor, Tensor]] = {}

    def step(self, course: Learning, images: Tensor, targets: Tensor, rate: float) -> None:
        """One step of a network.

        Args:
            course: the network's.
            images: its mini-batch, augmented.
            targets: N×4.
            rate: learning rate.
        """
        if self._owner is not course:
            self.release()
            self._take(course)
        if rate != self._rate:
            self.rate.fill_(rate)
            self._rate = rate
        last = images.is_contiguous(memory_format=torch.channels_last)
        key = (images.shape, images.dtype, last)
        if key not in self._steps:
            self._steps[key] = self._record(images, targets)
        replay, own_images, own_targets = self._steps[key]
        own_images.copy_(images)
        own_targets.copy_(targets)
        replay()

    @torch.no_grad()
    def release(self) -> None:
        """Move the network that was trained last out of the graph's places."""
        if self._owner is None:
            return
        state = self._owner.optimizer.state
        for weight in self._owner.network.parameters():
            weight.data = weight.data.clone()
            held = state[weight].get("momentum_buffer")
            if held is not None:
                state[weight]["momentum_buffer"] = held.clone()
        self._owner = None

    @torch.no_grad()
    def _take(self, course: Learning) -> None:
        state = course.optimizer.state
        momenta = iter(self.momenta)
        for own, weight in zip(self.weights, course.network.parameters(), strict=True):
            own.copy_(weight)
            weight.data = own.data
            momentum = next(momenta, None)
            if momentum is not None:
                held = state[weight].get("momentum_buffer")
                momentum.copy_(torch.zeros_like(momentum) if held is None else held)
                state[weight]["momentum_buffer"] = momentum
        self._owner = course

    def _record(self, images: Tensor, targets: Tensor) -> tuple[Replay, Tensor, Tensor]:
        own_images, own_targets = images.detach().clone(), targets.detach().clone()
        named = dict(zip(self.names, self.weights, strict=True))

        def work() -> None:
            with torch.enable_grad():
                slopes = torch.autograd.grad(
                    self.loss(named, own_images, own_targets), self.weights, materialize_grads=True
                )
            for weight, slope in zip(self.weights, slopes, strict=True):
                weight.grad = slope.contiguous()  # laid out as the weight is
            self.optimizer.step()
            for weight in self.weights:
                weight.grad = None

        held = [one.detach().clone() for one in (*self.weights, *self.momenta)]
        (replay,), _ = record(work)
        with torch.no_grad():  # recording took steps
            for place, one in zip((*self.weights, *self.momenta), held, strict=True):
                place.copy_(one)
        return replay, own_images, own_targets
