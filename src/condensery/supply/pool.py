"""Networks out of a pool that was trained before (DM, table 4)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from condensery import nets
from condensery.augment.draws import to_device
from condensery.errors import DataError, UsageError
from condensery.pools import Pool, Snapshot
from condensery.randomness import fork_rng, stream
from condensery.task import Task

from .base import Context
from .networks import freeze_batch_norm, still


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
    """Pixel steps a network."""
    freeze_with: int = 16
    """Real images a class whose statistics batch norm keeps during a pixel step; 0 leaves batch
    norm to the batches, all classes together."""
    fingerprint: str | None = None
    """Of the pool; filled in, and checked when a run goes on or is repeated."""
    _task: Task = field(init=False, repr=False)
    _pool: Pool = field(init=False, repr=False)
    _band: list[Snapshot] = field(init=False, repr=False)
    _iteration: int | None = field(init=False, repr=False, default=None)
    _drawn: list[int] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.freeze_with < 0:
            raise UsageError(
                f"supply.steps must be at least 1, got {self.steps}, and supply.freeze_with not "
                f"negative, got {self.freeze_with}"
            )
        highest = 100 if self.below == 100 else math.nextafter(self.below, 0)  # 100 itself counts
        if not (0 <= self.above <= highest and self.below <= 100):
            raise UsageError(
                f"supply.above ({self.above:g}) and supply.below ({self.below:g}) are percent, "
                "0 … 100, the first below the second"
            )

    def settled(self, ipc: int) -> FromPool:
        """A copy that knows which pool it is.

        Raises:
            UsageError: without a pool.
            DataError: when it is not the one that is already named.
        """
        if not self.path:
            raise UsageError("supply.path is missing; name the folder of a pool of networks")
        found = Pool.read(Path(self.path)).fingerprint
        if self.fingerprint not in (None, found):
            raise DataError(
                f"the pool {self.path} has changed since this was configured: more networks, or "
                "others; leave supply.fingerprint out to take it as it is"
            )
        return dataclasses.replace(self, fingerprint=found)

    def notes(self, ipc: int) -> list[str]:
        """What is drawn from."""
        pool = Pool.read(Path(self.path))
        band = pool.within(self.above, self.below)
        if not band:
            return []
        accuracies = [one.accuracy for one in band]
        return [
            f"networks: {len(band)} of {len(pool.snapshots)} snapshots in {self.path}, "
            f"{pool.settings['net']} trained on {pool.settings['data']}, "
            f"{min(accuracies):.1f} … {max(accuracies):.1f} % on held-out images"
        ]

    def start(self, task: Task) -> None:
        """Open the pool and refuse one that does not fit the task."""
        self._task = task
        self._pool = Pool.read(Path(self.path))
        self.fingerprint = self.settled(task.ipc).fingerprint
        held = self._pool.settings
        if list(held["shape"]) != list(task.shape) or held["classes"] != task.classes:
            raise UsageError(
                f"the networks of {self.path} take images of {'×'.join(map(str, held['shape']))} "
                f"and know {held['classes']} classes; these data have "
                f"{'×'.join(map(str, task.shape))} and {task.classes}"
            )
        self._band = self._pool.within(self.above, self.below)
        if not self._band:
            bands = self._pool.bands()
            there = ", ".join(f"{n} in {band} %" for band, n in bands.items()) or "none at all"
            raise UsageError(
                f"no snapshot of {self.path} lies in supply.above {self.above:g} … supply.below "
                f"{self.below:g}; there are {there}"
            )

    def effort(self, synthetic: int) -> tuple[float, float]:
        """Pixel steps, and no training."""
        return float(self.steps), 0.0

    def new(self, iteration: int) -> nn.Module:
        """The network drawn for this iteration."""
        self._iteration = iteration
        rng = stream(self._task.seed, "pool-draw", iteration)
        chosen = int(rng.integers(len(self._band)))
        self._drawn.append(chosen)
        return self._network(self._band[chosen])

    def _network(self, snapshot: Snapshot) -> nn.Module:
        with fork_rng(0, "pool-load"):
            network = nets.build(self._pool.settings["net"], self._task.shape, self._task.classes)
        try:
            with torch.no_grad():
                network.load_state_dict(self._pool.weights(snapshot))
        except RuntimeError as error:
            raise DataError(
                f"{self._pool.path / snapshot.file} does not fit {self._pool.settings['net']}: "
                f"{' '.join(str(error).split())}"
            ) from error
        network = still(network.to(self._task.dtype).requires_grad_(False))
        placed: nn.Module = network._apply(lambda tensor: to_device(tensor, self._task.device))
        return placed

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Freeze batch statistics, unless they are left to the batches."""
        if self.freeze_with:
            freeze_batch_norm(still(network), context, self.freeze_with)

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
        mean = sum(self._band[number].accuracy for number in drawn) / len(drawn)
        return {"networks": len(drawn), "accuracy": round(mean, 2)}

    def state(self) -> dict[str, Any]:
        """The iteration, from which the network follows."""
        return {"iteration": self._iteration, "drawn": list(self._drawn)}

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Take :meth:`state` back."""
        self._iteration = state["iteration"]
        network = None if self._iteration is None else self.new(self._iteration)
        self._drawn = list(state["drawn"])
        return network
