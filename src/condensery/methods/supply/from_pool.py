"""Networks out of a pool that was trained before (DM, table 4)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from condensery import nets
from condensery.config.later import LATER
from condensery.errors import UsageError
from condensery.methods.task import Task

from .band import Band, band_notes, check_limits, known_pool
from .base import Context
from .random_networks import freeze_batch_norm, still


@dataclass(kw_only=True)
class FromPool:
    """A trained network of a pool for every outer iteration, drawn at random and never changed.

    DM's table 4: all of the pool, or an accuracy band of it. Pools are made by
    ``condensery pool``.
    """

    path: str = ""
    """The pool's folder."""
    above: float = 0.0
    """Least accuracy of a snapshot on held-out images, in percent."""
    below: float = 100.0
    """Accuracies from here on are left out; at 100 none is."""
    steps: int = 1
    """Pixel steps per network."""
    freeze_with: int = 16
    """Real images per class whose statistics batch norm keeps during a pixel step; 0 leaves batch
    norm to the batches, all classes together."""
    first: int | None = None
    """How many of the pool's snapshots are used, in its order; filled in, so that a pool that
    grows stays the same one for this run."""
    fingerprint: str | None = None
    """Of these snapshots; filled in, and checked when a run is resumed or repeated."""
    module: str | None = None
    """Import path of the pool's network, where it is not one of this package."""
    ahead: float = field(default=0.0, metadata=LATER)
    """Epochs by which the network that tells classes may be ahead of the one that has the features:
    a random snapshot of the same run up to so much later (TGDD's θ′). 0: the same network."""
    blend: bool = field(default=False, metadata=LATER)
    """Whether the features are those of a random point between the run's start and the snapshot
    (DANCE): θ = λ·θ₀ + (1−λ)·θ_j with λ ~ U(0, 1). The pool needs snapshots of epoch 0."""
    _band: Band = field(init=False, repr=False)
    _iteration: int | None = field(init=False, repr=False, default=None)
    _drawn: list[int] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("freeze_with", 0)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"supply.{name} must be at least {least}, got {getattr(self, name)}"
                )
        check_limits(self.above, self.below)
        if not 0 <= self.ahead < math.inf:
            raise UsageError(f"supply.ahead must be epochs of at least 0, got {self.ahead:g}")

    def settled(self, ipc: int) -> FromPool:
        """A copy that knows which pool it is.

        Raises:
            UsageError: without a pool.
            DataError: when it is not the one that is already named.
        """
        first, found = known_pool(self.path, self.first, self.fingerprint)
        return dataclasses.replace(self, first=first, fingerprint=found)

    def notes(self, ipc: int) -> list[str]:
        """What is drawn from."""
        return band_notes(self.path, self.above, self.below, self.first)

    def start(self, task: Task) -> None:
        """Open the pool; raise if it does not fit the task."""
        self.first, self.fingerprint = known_pool(self.path, self.first, self.fingerprint)
        self._band = Band(self.path, self.above, self.below, self.first, self.module, task)

    def guide(self) -> nn.Module:
        """The snapshot that was trained furthest, to choose images that stand for their class."""
        known = self._band.snapshots
        return self._band.network(max(range(len(known)), key=lambda k: known[k].epoch))

    def effort(self, synthetic: int) -> tuple[float, float]:
        """Pixel steps, and no training."""
        return float(self.steps), 0.0

    def new(self, iteration: int) -> nn.Module:
        """The network drawn for this iteration."""
        self._iteration = iteration
        chosen = self._band.draw(iteration)
        self._drawn.append(chosen)
        network = self._band.network(chosen)
        if not (self.ahead or self.blend):
            return network
        judge = self._band.later(iteration, chosen, self.ahead) if self.ahead else chosen
        if judge == chosen and not self.blend:
            return network
        shown = self._band.blended(iteration, chosen) if self.blend else network
        return nets.Judged(shown, network if judge == chosen else self._band.network(judge))

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Freeze batch statistics, unless they are left to the batches."""
        if self.freeze_with:
            parts = network.children() if isinstance(network, nets.Judged) else (network,)
            for one in parts:
                freeze_batch_norm(still(one), context, self.freeze_with)

    def advance(self, network: nn.Module, context: Context) -> nn.Module | None:
        """The same network until its steps are done."""
        if context.step + 1 < self.steps:
            return network
        self._iteration = None
        return None

    def report(self) -> dict[str, Any]:
        """The mean accuracy of the networks drawn since the last report."""
        drawn, self._drawn = self._drawn, []
        if not drawn:
            return {}
        found = [self._band.snapshots[number].accuracy for number in drawn]
        known = [accuracy for accuracy in found if accuracy is not None]
        mean = {"accuracy": round(sum(known) / len(known), 2)} if known else {}
        return {"networks": len(drawn), **mean}

    def state(self) -> dict[str, Any]:
        """The iteration, from which the network follows."""
        return {"iteration": self._iteration, "drawn": list(self._drawn)}

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Restore :meth:`state`."""
        self._iteration = state["iteration"]
        network = None if self._iteration is None else self.new(self._iteration)
        self._drawn = list(state["drawn"])
        return network
