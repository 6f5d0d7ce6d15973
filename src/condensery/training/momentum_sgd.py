"""SGD with momentum and weight decay, to the bit as ``torch.optim.SGD`` takes its steps.

Making an optimiser of torch imports its compiler, which costs every process two seconds of its
start. This one needs nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

#: What a group may have of its own, beside its parameters.
_SETTINGS = ("lr", "momentum", "weight_decay")
_BUFFER = "momentum_buffer"


class MomentumSGD:
    """Stochastic gradient descent: v ← μ·v + g + λ·w, w ← w − η·v; the first v is g + λ·w.

    Attributes:
        param_groups: parameters with their settings, which may be changed between steps.
        state: of each parameter that was moved with momentum, its ``momentum_buffer``.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[Mapping[str, Any]],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        """Names of arguments are torch's.

        Args:
            parameters: what is moved, or groups: mappings with ``params`` and settings of their
                own.
            lr: learning rate η.
            momentum: μ.
            weight_decay: λ.
        """
        usual = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        given = list(parameters)
        groups = [one for one in given if isinstance(one, Mapping)] or [{"params": given}]
        self.param_groups: list[dict[str, Any]] = [
            {**usual, **group, "params": list(group["params"])} for group in groups
        ]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients.

        Args:
            set_to_none: as torch has it; gradients are always removed.
        """
        for group in self.param_groups:
            for one in group["params"]:
                one.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        for group in self.param_groups:
            moved = [one for one in group["params"] if one.grad is not None]
            if not moved:
                continue
            rate, momentum, decay = (group[name] for name in _SETTINGS)
            slopes: list[Tensor] = [one.grad for one in moved]
            if decay:
                slopes = list(torch._foreach_add(slopes, moved, alpha=decay))
            if momentum:
                slopes = self._with_momentum(moved, slopes, momentum)
            torch._foreach_add_(moved, slopes, alpha=-rate)

    def _with_momentum(
        self, moved: list[Tensor], slopes: list[Tensor], momentum: float
    ) -> list[Tensor]:
        """What the parameters move along, which is remembered."""
        held = [self.state[one].get(_BUFFER) for one in moved]
        old = [(v, g) for v, g in zip(held, slopes, strict=True) if v is not None]
        if old:
            buffers, fresh = [v for v, _ in old], [g for _, g in old]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, fresh)
        for one, before, slope in zip(moved, held, slopes, strict=True):
            if before is None:
                self.state[one][_BUFFER] = slope.detach().clone()
        return [self.state[one][_BUFFER] for one in moved]
