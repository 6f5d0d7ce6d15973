"""Network calls recorded as CUDA graphs: one launch in place of hundreds.

A small network on a large GPU spends its time on launching kernels. A CUDA graph records the
kernels of a call once, for fixed shapes and fixed places in memory, and replays them in one launch:
inputs are copied to these places, results are copied out of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

Replay = Callable[[], None]
Weights = dict[str, Tensor]

#: Runs before recording, so that libraries choose their kernels and take their memory.
_WARM_UPS = 3
#: Shapes that one call is recorded for; more are run as they are.
_SHAPES = 32


def record(*works: Callable[[], Any]) -> tuple[list[Replay], list[Any]]:
    """Record some work, in parts that are replayed in their order.

    Args:
        works: parts without arguments, that read and write the same tensors each time and never
            wait for the device. A later part may use what an earlier one left, such as a backward
            pass what its forward pass saved.

    Returns:
        what replays each part, and what each part returned: tensors that a replay overwrites.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            for work in works:
                work()
    torch.cuda.current_stream().wait_stream(stream)
    pool = torch.cuda.graph_pool_handle()
    replays: list[Replay] = []
    results: list[Any] = []
    for work in works:
        graph = torch.cuda.CUDAGraph()
        # Other threads may copy to the device meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            results.append(work())
        replays.append(graph.replay)
    return replays, results


class Graphed:
    """A statistic's call, replayed from a graph of each of its shapes.

    Args:
        call: takes weights, images, labels and shares, and gives tensors; it is differentiable
            with respect to the images alone.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self._recorded: dict[tuple[object, ...], _Recorded | None] = {}

    def __call__(self, weights: Weights, images: Tensor, labels: Tensor, share: Tensor) -> Any:
        """What the call gives, in tensors of its own."""
        slopes = torch.is_grad_enabled() and images.requires_grad
        narrow = next(iter(weights.values())).dtype
        last = images.is_contiguous(memory_format=torch.channels_last)
        key = (slopes, narrow, images.dtype, last, images.shape, labels.shape, share.shape)
        inputs = (weights, images, labels, share)
        if key not in self._recorded:
            self._recorded[key] = self._record(inputs, slopes)
        recorded = self._recorded[key]
        if recorded is None:
            return self.call(*inputs)
        if slopes:
            return _Replayed.apply(images, recorded, weights, labels, share)  # type: ignore[no-untyped-call]
        recorded.forward(*inputs)
        found = recorded.out
        return found.clone() if isinstance(found, Tensor) else tuple(one.clone() for one in found)

    def _record(self, inputs: tuple[Any, ...], slopes: bool) -> _Recorded | None:
        if len(self._recorded) >= _SHAPES:
            return None
        try:
            return _Recorded(self.call, *inputs, slopes=slopes)
        except RuntimeError:  # code that waits for the device cannot be recorded; it can be run
            torch.cuda.synchronize()
            return None


class _Recorded:
    """A call for one shape, with the places of its inputs and results."""

    def __init__(
        self,
        call: Callable[..., Any],
        weights: Weights,
        images: Tensor,
        labels: Tensor,
        share: Tensor,
        *,
        slopes: bool,
    ) -> None:
        self.weights = {name: w.detach().clone() for name, w in weights.items()}
        self.images = images.detach().clone().requires_grad_(slopes)
        self.labels, self.share = labels.clone(), share.clone()
        self.runs = 0
        """Forward passes done: what a backward pass finds is the last one's."""
        self.slope: Tensor | None = None
        held: list[Tensor] = []

        def forward() -> Any:
            with torch.set_grad_enabled(slopes):
                found = call(self.weights, self.images, self.labels, self.share)
            held[:] = [found] if slopes else []
            return found

        def backward() -> Tensor:
            (found,) = held
            if self.slope is None:
                self.slope = torch.zeros_like(found)
            (back,) = torch.autograd.grad(found, self.images, self.slope)
            held.clear()
            return back

        works: list[Callable[[], Any]] = [forward, backward] if slopes else [forward]
        self._replays, results = record(*works)
        found = results[0]
        self.out = found.detach() if isinstance(found, Tensor) else found
        self.back = cast(Tensor, results[-1])

    @torch.no_grad()
    def forward(self, weights: Weights, images: Tensor, labels: Tensor, share: Tensor) -> None:
        """Take the inputs, and replay; :attr:`out` is the result."""
        torch._foreach_copy_(list(self.weights.values()), list(weights.values()))
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.share.copy_(share)
        self._replays[0]()
        self.runs += 1

    @torch.no_grad()
    def backward(self, slope: Tensor) -> Tensor:
        """The slope at the images of the last forward pass, in a tensor of its own."""
        assert self.slope is not None
        self.slope.copy_(slope)
        self._replays[1]()
        return self.back.clone()


class _Replayed(torch.autograd.Function):
    """A recorded call with its recorded backward pass."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, recorded: _Recorded, weights: Weights, labels: Tensor, share: Any
    ) -> Tensor:
        recorded.forward(weights, images, labels, share)
        ctx.recorded, ctx.run = recorded, recorded.runs
        ctx.inputs = (weights, images.detach(), labels, share)
        return cast(Tensor, recorded.out.clone())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        recorded: _Recorded = ctx.recorded
        if recorded.runs != ctx.run:  # another call's forward pass came between
            recorded.forward(*ctx.inputs)
        return recorded.backward(grads[0]), None, None, None, None
