"""Random networks drawn ahead of their use: the host draws while a GPU works."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor, nn

from condensery.augment.draws import to_device
from condensery.methods.task import Task
from condensery.runtime.randomness import private_generator

from .random_networks import random_network, still

#: Networks that are drawn before they are asked for.
_AHEAD = 3
#: Weights start at multiples of so many numbers, as fast kernels want.
_ALIGNED = 64


class RandomNetworks:
    """The random network of each outer iteration, as :func:`random_network` makes it.

    On a GPU, a thread draws the next networks' weights, from generators of its own, which give the
    same numbers; they go to the device in one copy, into one module that serves all iterations.
    Where the numbers are not the same, because a network starts in a way of its own, every network
    is built when it is asked for.

    Args:
        spec: the network.
        task: what it is for.
    """

    def __init__(self, spec: str, task: Task) -> None:
        self.spec = spec
        self.task = task
        self._network: nn.Module | None = None
        self._places: list[Tensor] = []
        self._flat = torch.empty(0)
        self._waiting: dict[int, Future[Tensor]] = {}
        self._drawer: ThreadPoolExecutor | None = None
        self._plain = task.device.type != "cuda"

    def new(self, iteration: int) -> nn.Module:
        """The network of an outer iteration; the one before is used up."""
        if self._plain:
            return random_network(self.spec, self.task, iteration)
        if self._network is None:
            return self._first(iteration)
        drawn = self._waiting.pop(iteration, None)
        values = self._drawn(iteration) if drawn is None else drawn.result()
        if drawn is None:
            self._waiting.clear()
        self._look_ahead(iteration)
        self._flat.copy_(values, non_blocking=True)
        for weight, place in zip(self._network.parameters(), self._places, strict=True):
            weight.data = place
            weight.grad = None
        return still(self._network.requires_grad_(False))

    def _first(self, iteration: int) -> nn.Module:
        """The first network, built; and whether the others can be drawn."""
        network = random_network(self.spec, self.task, iteration)
        held = [weight.detach() for weight in network.parameters()]
        if any(True for _ in network.buffers()) or not held:
            self._plain = True
            return network
        self._shapes = [weight.shape for weight in held]
        self._network = network
        values = self._drawn(iteration)
        self._flat = to_device(values, self.task.device)
        self._places = self._views(self._flat)
        if not all(torch.equal(a, b) for a, b in zip(held, self._places, strict=True)):
            self._plain, self._network = True, None
            return network
        self._drawer = ThreadPoolExecutor(1, thread_name_prefix="networks")
        self._look_ahead(iteration)
        return network

    def _look_ahead(self, iteration: int) -> None:
        assert self._drawer is not None
        for coming in range(iteration + 1, iteration + 1 + _AHEAD):
            if coming not in self._waiting:
                self._waiting[coming] = self._drawer.submit(self._drawn, coming)

    def _drawn(self, iteration: int) -> Tensor:
        """The weights of an iteration's network in one tensor, pinned."""
        assert self._network is not None
        generator = private_generator(self.task.seed, "network", iteration)
        total = sum(_room(shape) for shape in self._shapes)
        values = torch.zeros(total)
        views = self._views(values)
        named = dict(
            zip((name for name, _ in self._network.named_parameters()), views, strict=True)
        )
        for name, module in self._network.named_modules():
            _draw(module, name, named, generator)
        return values.to(self.task.dtype).pin_memory()

    def _views(self, flat: Tensor) -> list[Tensor]:
        out, first = [], 0
        for shape in self._shapes:
            out.append(flat[first : first + shape.numel()].view(shape))
            first += _room(shape)
        return out


def _room(shape: torch.Size) -> int:
    return -(-shape.numel() // _ALIGNED) * _ALIGNED


def _draw(
    module: nn.Module, name: str, named: dict[str, Tensor], generator: torch.Generator
) -> None:
    """What a layer's own initialisation draws; norms start as they are."""
    weight, bias = (named.get(f"{name}.{what}") for what in ("weight", "bias"))
    if isinstance(module, nn.Conv2d | nn.Linear):
        assert weight is not None
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        if bias is not None:
            bound = 1 / math.sqrt(weight[0].numel())
            bias.uniform_(-bound, bound, generator=generator)
        return
    if weight is not None:
        weight.fill_(1.0)
    if bias is not None:
        bias.zero_()
