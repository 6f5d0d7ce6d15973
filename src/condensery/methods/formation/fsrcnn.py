"""A learned upsampling in place of the bilinear one (IDC, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, prelu

from condensery.config.sgd import SGD
from condensery.data import LabelledSet
from condensery.errors import UsageError
from condensery.methods.task import Task
from condensery.runtime.randomness import stream

from .base import some_of
from .grid import tiles
from .multi import MultiFormation
from .resize import upsample

#: Sides of the kernels: first, middle, last (Dong et al., 2016).
_FIRST, _MIDDLE, _LAST = 5, 3, 9


@dataclass(kw_only=True)
class Fsrcnn:
    """Tiles that a small FSRCNN upsamples (Dong et al., ECCV 2016; IDC, appendix D, table 9).

    What the network makes is added to the bilinear upsampling, and its last layer starts at zero:
    it starts as multi-formation. The paper gives no sizes. Its weights are learned with the pixels,
    are stored in the set, and count in its bytes beyond the budget.
    """

    factor: int = 2
    """Tiles along an axis (f)."""
    channels: int = 8
    """Maps of the first and the last layers (d of FSRCNN)."""
    shrunk: int = 4
    """Maps between them (s of FSRCNN)."""
    rate: float = 0.001
    """Learning rate of the network's weights; their momentum is the pixels'."""
    space: Literal["unit", "normalised"] = "normalised"
    """``normalised``: pixels are stored as networks see them, and free; ``unit``: with black 0 and
    white 1, and kept there, which a pixel rate has to be meant for."""
    start_from: Literal["real", "noise", "kmeans"] = "real"
    """``real``: random training images of the class, packed into the tiles; ``noise``;
    ``kmeans``: those nearest to the centroids of k-means on the class (DREAM), packed."""
    _tiles: MultiFormation = field(init=False, repr=False)
    _weights: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("factor", 2), ("channels", 1), ("shrunk", 1)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"formation.{name} must be at least {least}, got {getattr(self, name)}"
                )
        SGD.of(self, "formation.")
        self._tiles = MultiFormation(
            factor=self.factor, space=self.space, start_from=self.start_from
        )

    def for_data(self, mean: Sequence[float], std: Sequence[float]) -> Fsrcnn:
        """A copy that knows the normalisation, with weights of its own."""
        out = Fsrcnn(
            factor=self.factor,
            channels=self.channels,
            shrunk=self.shrunk,
            rate=self.rate,
            space=self.space,
            start_from=self.start_from,
        )
        out._tiles = self._tiles.for_data(mean, std)
        out._weights = {name: weight.detach().clone() for name, weight in self._weights.items()}
        return out

    def decoded(self, stored: int) -> int:
        """f² training images to a stored one."""
        return self._tiles.decoded(stored)

    def start(self, task: Task, train: LabelledSet) -> Tensor:
        """Packed images, as multi-formation's; the network's weights are drawn as well."""
        stored = self._tiles.start(task, train)
        for number, (name, shape) in enumerate(self._shapes(task.shape[0]).items()):
            if name.endswith(".bias") or name == "last":
                weight = torch.zeros(shape)  # it starts as bilinear upsampling
            elif name.endswith(".slope"):
                weight = torch.full(shape, 0.25)
            else:
                drawn = stream(task.seed, "formation", number).standard_normal(shape)
                weight = torch.from_numpy(drawn * math.sqrt(2 / math.prod(shape[1:])))
            self._weights[name] = weight.to(device=task.device, dtype=task.dtype)
        for weight in self._weights.values():
            weight.requires_grad_(True)
        return stored

    def weights(self) -> dict[str, Tensor]:
        """What is learned beside the pixels."""
        return self._weights

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take weights from a set's file.

        Raises:
            ValueError: when they are not those of these sizes.
        """
        found = {name: tuple(weight.shape) for name, weight in weights.items()}
        if found != self._shapes(weights["last"].shape[1]):
            raise ValueError("the weights of its formation do not match its settings")
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            raise ValueError("the weights of its formation are not finite")
        self._weights = dict(weights)

    def _shapes(self, colours: int) -> dict[str, tuple[int, ...]]:
        """Of the kernels, their biases and the slopes of the activations."""
        wide, narrow = self.channels, self.shrunk
        kernels = {
            "first": (wide, colours, _FIRST, _FIRST),
            "shrink": (narrow, wide, 1, 1),
            "middle": (narrow, narrow, _MIDDLE, _MIDDLE),
            "expand": (wide, narrow, 1, 1),
            "last": (wide, colours, _LAST, _LAST),
        }
        out: dict[str, tuple[int, ...]] = {}
        for name, shape in kernels.items():
            outputs = colours if name == "last" else shape[0]
            out |= {name: shape, f"{name}.bias": (outputs,)}
            if name != "last":
                out[f"{name}.slope"] = (outputs,)
        return out

    def decode(self, stored: Tensor, rows: Tensor | None = None) -> Tensor:
        """Training images of some classes, normalised, k×s×C×H×W → k×s·f²×C×H×W."""
        self._tiles.check(*stored.shape[-2:])
        normal = self._tiles.normalised(stored)
        height, width = normal.shape[-2:]
        made = []
        for high, wide in tiles(height, width, self.factor, "area"):
            tile = normal[..., high, wide]
            more = self._network(tile.flatten(0, 1)).unflatten(0, tile.shape[:2])
            more = upsample(more, height, width) if more.shape[-2:] != (height, width) else more
            made.append(upsample(tile, height, width) + more)
        return some_of(torch.stack(made, 2).flatten(1, 2), rows)

    def _network(self, images: Tensor) -> Tensor:
        """FSRCNN: N×C×h×w → N×C×f·h×f·w."""
        weights = {name: weight.to(images.dtype) for name, weight in self._weights.items()}
        for name in ("first", "shrink", "middle", "expand"):
            kernel = weights[name]
            padding = kernel.shape[-1] // 2
            images = conv2d(images, kernel, weights[f"{name}.bias"], padding=padding)
            images = prelu(images, weights[f"{name}.slope"])
        return conv_transpose2d(
            images,
            weights["last"],
            weights["last.bias"],
            stride=self.factor,
            padding=_LAST // 2,
            output_padding=self.factor - 1,
        )

    def project(self, stored: Tensor) -> None:
        """Back between black and white, where stored pixels are colours."""
        self._tiles.project(stored)

    def state(self) -> dict[str, Any]:
        """The network's weights."""
        return {name: weight.detach().clone() for name, weight in self._weights.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state`, into the weights that are learned."""
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(state[name])
