"""The part of a pool that a supply draws from."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from condensery import nets
from condensery.augment.draws import to_device
from condensery.errors import DataError, UsageError
from condensery.methods.pools.store import Pool, Snapshot
from condensery.methods.task import Task
from condensery.runtime.randomness import fork_rng, stream

from .random_networks import still


def check_limits(above: float, below: float) -> None:
    """Raise if a band can contain nothing.

    Raises:
        UsageError: naming the setting.
    """
    for name, value in (("above", above), ("below", below)):
        if not 0 <= value <= 100:
            raise UsageError(f"supply.{name} is an accuracy in percent, 0 … 100, got {value:g}")
    highest = 100 if below == 100 else math.nextafter(below, 0)  # 100 itself counts
    if above > highest:
        raise UsageError(
            f"supply.above ({above:g}) must lie below supply.below ({below:g}): a band is "
            "above ≤ accuracy < below"
        )


def known_pool(path: str, first: int | None, fingerprint: str | None) -> tuple[int, str]:
    """How many snapshots of the pool at a path are meant, and their fingerprint.

    A pool only grows at its end, so what was meant before stays what it was.

    Raises:
        UsageError: without a pool, or without finished networks in it.
        DataError: when its snapshots are not those that are known already.
    """
    if not path:
        raise UsageError("supply.path is missing; name the folder of a pool of networks")
    pool = Pool.read(Path(path))
    if not pool.snapshots:
        raise UsageError(f"the pool {path} has no finished network yet; run condensery pool again")
    count = len(pool.snapshots) if first is None else first
    if not 1 <= count <= len(pool.snapshots):
        raise UsageError(
            f"supply.first is {count}, and {path} has {len(pool.snapshots)} snapshots; give 1 … "
            f"{len(pool.snapshots)}"
        )
    found = pool.fingerprint(count)
    if fingerprint not in (None, found):
        raise DataError(
            f"{path} is not the pool this run was configured with; name that one with "
            "--supply.path, or accept this one with --supply.fingerprint null --supply.first null"
        )
    return count, found


def band_notes(path: str, above: float, below: float, first: int | None) -> list[str]:
    """What networks are drawn from, for the user."""
    pool = Pool.read(Path(path))
    found = pool.within(above, below, first)
    if not found:
        return []
    accuracies = [one.accuracy for one in found if one.accuracy is not None]
    measured = (
        f"{min(accuracies):.1f} … {max(accuracies):.1f} % on held-out images"
        if accuracies
        else "nothing held out"
    )
    return [
        f"networks: {len(found)} of {len(pool.snapshots)} snapshots in {path}, "
        f"{pool.settings['net']} trained on {pool.settings['data']}, {measured}"
    ]


class Band:
    """The snapshots of a pool within two accuracies, and a draw for each outer iteration.

    Args:
        path: the pool's folder.
        above: least accuracy in percent.
        below: accuracies from here on are left out; at 100 none is.
        first: how many of the pool's snapshots are used.
        module: import path of the pool's network, where it is one: a pool from someone else must
            not name code to run.
        task: what the networks are for.

    Raises:
        UsageError: for a pool that does not fit the task, or a band without snapshots.
    """

    def __init__(
        self,
        path: str,
        above: float,
        below: float,
        first: int | None,
        module: str | None,
        task: Task,
    ) -> None:
        self.task = task
        self.pool = Pool.read(Path(path))
        held = self.pool.settings
        self.spec = str(held["net"])
        if nets.is_import_path(self.spec) and module != self.spec:
            raise UsageError(
                f"the networks of {path} are {self.spec}, code from outside this package; if you "
                f"trust it, pass --supply.module {self.spec}"
            )
        self._check(path)
        self.snapshots = self.pool.within(above, below, first)
        if not self.snapshots and held.get("held_out") == 0:
            raise UsageError(
                f"the networks of {path} have no accuracies, because nothing was held out; leave "
                "out supply.above and supply.below"
            )
        if not self.snapshots:
            there = ", ".join(f"{n} in {band} %" for band, n in self.pool.bands().items())
            percent = "; both are percent" if below <= 1 else ""
            raise UsageError(
                f"no snapshot of {path} lies in supply.above {above:g} … supply.below "
                f"{below:g}{percent}. There are {there}: choose a band that holds some of them, or "
                "keep other snapshots with condensery pool --snapshots"
            )

    def _check(self, path: str) -> None:
        held, task = self.pool.settings, self.task
        if list(held["shape"]) != list(task.shape) or held["classes"] != task.classes:
            raise UsageError(
                f"the networks of {path} expect images of {'×'.join(map(str, held['shape']))} and "
                f"{held['classes']} classes; these data have {'×'.join(map(str, task.shape))} and "
                f"{task.classes}: make a pool on this data, read the same way (--size, --channels)"
            )
        if held["fingerprint"] != task.fingerprint:
            raise UsageError(
                f"the networks of {path} were trained on images other than those being condensed "
                f"(a set named {held['data']}), which may include test images; make a pool on this "
                "data"
            )

    def draw(self, iteration: int) -> int:
        """Number of an iteration's snapshot."""
        rng = stream(self.task.seed, "pool-draw", iteration)
        return int(rng.integers(len(self.snapshots)))

    def later(self, iteration: int, number: int, ahead: float) -> int:
        """A snapshot of the same network, at the same epoch or up to so many epochs later."""
        chosen = self.snapshots[number]
        candidates = [
            other
            for other, one in enumerate(self.snapshots)
            if one.network == chosen.network and 0 <= one.epoch - chosen.epoch <= ahead
        ]
        rng = stream(self.task.seed, "pool-judge", iteration)
        return candidates[int(rng.integers(len(candidates)))]

    def blended(self, iteration: int, number: int) -> nn.Module:
        """A point between a network's start and its snapshot, drawn uniformly (DANCE).

        Raises:
            UsageError: for a pool without the network's start.
        """
        chosen = self.snapshots[number]
        starts = [
            one for one in self.pool.snapshots if one.network == chosen.network and one.epoch == 0
        ]
        if not starts:
            raise UsageError(
                f"{self.pool.path} has no network of epoch 0, which supply.blend needs; make a "
                "pool with condensery pool --snapshots 0 …, or leave supply.blend out"
            )
        share = float(stream(self.task.seed, "pool-blend", iteration).random())
        network, start = self.network(number), self._built(starts[0])
        with torch.no_grad():
            for weight, first in zip(network.parameters(), start.parameters(), strict=True):
                weight.lerp_(first, share)
        return network

    def network(self, number: int) -> nn.Module:
        """A snapshot as a network, in the mode that matching uses."""
        return self._built(self.snapshots[number])

    def _built(self, snapshot: Snapshot) -> nn.Module:
        with fork_rng(0, "pool-load"):
            network = nets.build(self.spec, self.task.shape, self.task.classes)
        try:
            with torch.no_grad():
                network.load_state_dict(self.pool.weights(snapshot))
        except RuntimeError as error:
            words = " ".join(str(error).split())
            raise DataError(
                f"{self.pool.path / snapshot.file} does not fit {self.spec}: {words}"
            ) from error
        network = still(network.to(self.task.dtype).requires_grad_(False))
        placed: nn.Module = network._apply(lambda tensor: to_device(tensor, self.task.device))
        return placed
