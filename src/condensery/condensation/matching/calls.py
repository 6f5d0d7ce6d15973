"""Calls of an objective's statistic through any network, with the weights as arguments."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from condensery.errors import UsageError
from condensery.methods.objectives import Objective
from condensery.methods.objectives.gradients import written_out
from condensery.nets import mixes_examples
from condensery.runtime.compile import compiled
from condensery.runtime.graphs import Graphed
from condensery.runtime.plan import Plan

from .layout import Batch

Weights = dict[str, Tensor]
Call = Callable[[Weights, Tensor, Tensor, Tensor], Tensor]
Observation = Callable[[Weights, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class _Statistic(nn.Module):
    """An objective's statistic as a module, so that its weights can be passed as arguments."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, images: Tensor, labels: Tensor, share: Tensor) -> Tensor:
        """The statistics of k classes."""
        return self.objective.statistic(self.network, images, labels, share)


class _RealStatistic(_Statistic):
    """The statistic of real images, where an objective asks less of them."""

    def forward(self, images: Tensor, labels: Tensor, share: Tensor) -> Tensor:
        """The statistics of k classes."""
        found: Tensor = self.objective.real_statistic(  # type: ignore[attr-defined]
            self.network, images, labels, share
        )
        return found


class _Observation(_Statistic):
    """The same of an objective that also gives a row of each image."""

    def forward(  # type: ignore[override]
        self, images: Tensor, labels: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The statistics of k classes, and N rows."""
        return self.objective.observe(self.network, images, labels, share)  # type: ignore[attr-defined, no-any-return]


@dataclass(frozen=True)
class View:
    """One network, ready for matching."""

    call: Call
    real_call: Call
    """The same for the real branch, which may be asked less."""
    observation: Observation | None
    """The real branch of an objective that observes images one by one."""
    weights: Weights
    """For the synthetic branch."""
    real_weights: Weights
    """For the real branch."""
    real_dtype: torch.dtype
    """Of the images of the real branch."""
    channels_last: bool
    """Whether images are laid out with channels last."""
    whole: bool
    """Whether a branch is one call, because the network mixes examples."""
    fixed: bool
    """Whether every call must have the same shape."""

    def statistic(self, pieces: list[Batch]) -> Tensor:
        """The statistics of a synthetic block: those of its pieces, whose shares make a mean."""
        return self._summed(self.call, self.weights, pieces)

    def real(self, pieces: list[Batch]) -> tuple[Tensor, Tensor | None]:
        """The statistics of a real block, and a row of each image where they are observed."""
        if self.observation is None:
            return self._summed(self.real_call, self.real_weights, pieces), None
        rows: list[Tensor] = []

        def call(weights: Weights, images: Tensor, labels: Tensor, share: Tensor) -> Tensor:
            assert self.observation is not None
            found, each = self.observation(weights, images, labels, share)
            rows.append(each)
            return found

        total = self._summed(call, self.real_weights, pieces)
        return total, torch.cat(rows)

    def _summed(self, call: Call, weights: Weights, pieces: list[Batch]) -> Tensor:
        first, *rest = pieces
        total = call(weights, first.images, first.labels, first.share)
        for piece in rest:
            total = total + call(weights, piece.images, piece.labels, piece.share)
        if len(total) != len(first.share) or total.dim() < 2:
            raise UsageError(
                f"an objective's statistic must have a row for each of the {len(first.share)} "
                f"classes, k×…; it has the shape {'×'.join(map(str, total.shape))}. Its argument "
                "weights is k×N: multiply by it"
            )
        return total


class Calls:
    """Makes views of networks; those of one architecture share a compiled function."""

    def __init__(self, plan: Plan, objective: Objective) -> None:
        self.plan = plan
        self.objective = objective
        self._known: dict[tuple[object, ...], Any] = {}

    def view(self, network: nn.Module) -> View:
        """A network with its weights laid out and typed as the plan says."""
        plan = self.plan
        whole = mixes_examples(network)
        fast = (plan.compile or plan.graphs) and not whole and self.objective.compiles(network)
        # Eager instance norm has a slow path for channels-last maps on CPUs.
        eager_cpu = not fast and plan.device == "cpu" and plan.compile
        last = plan.channels_last and not whole and not eager_cpu
        weights = _tensors(network, plan.torch_dtype, last)
        real_dtype = plan.torch_dtype if whole else plan.torch_real_dtype
        same = real_dtype == plan.torch_dtype
        real_weights = weights if same else _tensors(network, real_dtype, last)
        call: Call = self._call(network, fast, _Statistic)
        real_call = call
        if hasattr(self.objective, "real_statistic"):
            real_call = self._call(network, fast, _RealStatistic)
        observes = bool(getattr(self.objective, "observes", False))
        observation = self._call(network, fast, _Observation) if observes else None
        return View(
            call,
            real_call,
            observation,
            weights,
            real_weights,
            real_dtype,
            last,
            whole,
            fixed=fast,
        )

    def _call(self, network: nn.Module, fast: bool, what: type[_Statistic]) -> Any:
        key = (fast, what, *_architecture(network))
        if key not in self._known:
            # A copy, because a supply may keep using the network, in another mode.
            template = what(copy.deepcopy(network), self.objective)

            def call(weights: Weights, images: Tensor, labels: Tensor, share: Tensor) -> Any:
                return functional_call(template, weights, (images, labels, share))

            self._known[key] = self._fast(call) if fast else call
        return self._known[key]

    def _fast(self, call: Call) -> Any:
        """A call of fixed shape, compiled or recorded or both."""
        if self.plan.compile:
            function: Any = compiled(call)
        else:

            def function(*inputs: Any) -> Any:
                with written_out():
                    return call(*inputs)

        return Graphed(function) if self.plan.graphs else function


def _architecture(network: nn.Module) -> tuple[object, ...]:
    """What two networks must share to be run by one function with their weights exchanged."""
    modules = ((name, type(m), m.training) for name, m in network.named_modules())
    tensors = ((name, p.shape) for name, p in network.named_parameters())
    return (*modules, *tensors)


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
