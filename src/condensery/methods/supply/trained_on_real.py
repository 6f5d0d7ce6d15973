"""Networks that learn from the real set while the synthetic one is learned (IDC, algorithm 1)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import nn

from condensery import nets
from condensery.errors import UsageError
from condensery.methods.pools.store import Pool
from condensery.methods.task import Task
from condensery.training.protocol import Protocol

from .band import Band, band_notes, check_limits, known_pool
from .base import Context
from .learner import Learner, check_learning, protocol_of
from .random_networks import freeze_batch_norm, still


@dataclass(kw_only=True)
class TrainedOnReal:
    """A network that takes some steps on real images after each pixel step (IDC, algorithm 1).

    Each outer iteration starts from a fresh random network, trained for some epochs where that is
    asked, or from one of a pool, and ends after M pixel steps.
    """

    net: str = "convnet3"
    """The network, with options, such as ``convnet3:width=64``; with ``path`` the pool's."""
    norm: Literal["none", "batch", "layer", "instance", "group"] | None = None
    """Its normalisation; the network's own by default."""
    steps: int = 100
    """Pixel steps per network (M)."""
    images: int = 2000
    """Real images that the network learns from after each pixel step, in batches of ``batch``."""
    pretrain: int = 0
    """Epochs on the real set before the first pixel step."""
    rate: float = 0.01
    """Learning rate of the network."""
    momentum: float = 0.9
    """Momentum of the network's SGD."""
    weight_decay: float = 5e-4
    """Weight decay of the network's SGD."""
    batch: int = 64
    """Real images per step of the network."""
    augmentation: Literal["none", "batch_op", "image_op", "sequence", "photos"] = "sequence"
    """``sequence``: every op of the strategy, parameters for each image; ``batch_op``: one
    op per mini-batch; ``image_op``: one op per image; ``photos``: as larger images are tested."""
    strategy: str = "color_crop"
    """The ops; flip goes where data may not be flipped."""
    cutmix: float = 0.5
    """Probability of CutMix per mini-batch."""
    freeze_with: int = 16
    """Real images per class whose statistics batch norm keeps during a pixel step."""
    path: str | None = None
    """A pool whose networks each outer iteration starts from, in place of random ones."""
    above: float = 0.0
    """Least accuracy of a pool's snapshot on held-out images, in percent."""
    below: float = 100.0
    """Accuracies of a pool from here on are left out; at 100 none is."""
    first: int | None = None
    """How many of the pool's snapshots are used, in its order; filled in, so that a pool that
    grows stays the same one for this run."""
    fingerprint: str | None = None
    """Of these snapshots; filled in, and checked when a run is resumed or repeated."""
    module: str | None = None
    """Import path of the pool's network, where it is not one of this package."""
    _learner: Learner = field(init=False, repr=False)
    _band: Band | None = field(init=False, repr=False, default=None)
    _ready: bool = field(init=False, repr=False, default=False)
    _done: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        least = {"steps": 1, "images": 0, "pretrain": 0, "batch": 1, "freeze_with": 1}
        check_learning(self, least)
        check_limits(self.above, self.below)
        if not 0 <= self.cutmix <= 1:
            raise UsageError(f"supply.cutmix is a probability, 0 … 1, got {self.cutmix}")

    @property
    def spec(self) -> str:
        """The network's full name."""
        return nets.with_norm(self.net, self.norm) if self.norm else self.net

    def settled(self, ipc: int) -> TrainedOnReal:
        """A copy that knows which pool it is, where it starts from one."""
        if self.path is None:
            return self
        first, found = known_pool(self.path, self.first, self.fingerprint)
        net = str(Pool.read(Path(self.path)).settings["net"])  # networks are the pool's
        return dataclasses.replace(self, first=first, fingerprint=found, net=net, norm=None)

    def notes(self, ipc: int) -> list[str]:
        """What is drawn from, where networks come out of a pool."""
        return (
            [] if self.path is None else band_notes(self.path, self.above, self.below, self.first)
        )

    def start(self, task: Task) -> None:
        """Raise if the network cannot be built for the task, or the pool does not fit."""
        spec = self.spec
        if self.path is not None:
            self.first, self.fingerprint = known_pool(self.path, self.first, self.fingerprint)
            self._band = Band(self.path, self.above, self.below, self.first, self.module, task)
            spec = self._band.spec
        nets.try_out(spec, task.shape, task.classes)
        self._learner = Learner(spec, task, self._protocol)

    def effort(self, synthetic: int) -> tuple[float, float]:
        """Pixel steps, and the real images between them; pretraining is left out."""
        return float(self.steps), float((self.steps - 1) * self.images)

    def new(self, iteration: int) -> nn.Module:
        """The network that this iteration starts with."""
        self._ready = False
        if self._band is None:
            return self._learner.new(iteration)
        return self._learner.new(iteration, self._band.network(self._band.draw(iteration)))

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Pretrain a new network; freeze batch statistics for the pixel step."""
        if not self._ready and self.pretrain:
            course = self._learner.course(context, network)
            course.real_epochs(context.real, range(self.pretrain), (context.iteration, 0))
            self._count("pretrained", self.pretrain)
        self._ready = True
        freeze_batch_norm(still(network), context, self.freeze_with)

    def advance(self, network: nn.Module, context: Context) -> nn.Module | None:
        """Some steps on real images, unless this was the last pixel step."""
        if context.step + 1 >= self.steps:
            self._learner.drop()
            return None
        if self.images:
            course = self._learner.course(context, network)
            course.some(context.real, self.images, (context.iteration, context.step))
            self._count("images", self.images)
        return network

    @property
    def _protocol(self) -> Protocol:
        return protocol_of(self, self.cutmix)

    def _count(self, what: str, more: int) -> None:
        self._done[what] = self._done.get(what, 0) + more

    def report(self) -> dict[str, Any]:
        """Real images learned from since the last report, and epochs of pretraining."""
        done, self._done = self._done, {}
        return done

    def state(self) -> dict[str, Any]:
        """The network in use and its momentum; nothing between outer iterations."""
        return {"done": dict(self._done), "ready": self._ready, **self._learner.state()}

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Restore :meth:`state`."""
        self._done = dict(state["done"])
        self._ready = bool(state["ready"])
        return self._learner.load_state(state)
