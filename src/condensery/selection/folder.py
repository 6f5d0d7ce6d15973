"""Selections in folders: made, written, and recognised when they already exist."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from condensery.config.compare import first_difference
from condensery.config.recipes import read_yaml
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.plan import Plan, choose_plan
from condensery.runtime.provenance import commit, machine, versions
from condensery.sets.about import About
from condensery.sets.condensed import CondensedSet
from condensery.sets.picture import save_picture
from condensery.sets.places import FILE
from condensery.utils.facts import note_facts
from condensery.utils.files import write_text
from condensery.utils.locks import in_use
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, stop_requests
from condensery.utils.text import plural, time_text

from .methods import about_selection, packing_of, select, trains
from .networks import Networks

#: What a set's configuration says that is known only when it is made.
_OUTCOMES = ("train_accuracy",)


class Selections:
    """Selections by one method, which share their data, their networks and a progress bar.

    Args:
        data: what is selected from.
        method: name of the selection.
        ipc: images per class.
        size: side length in pixels that pictures are resized to.
        channels: channels that were requested.
        training: settings of the network's training, by name; None where it is not given.
        plan: ``auto``, ``exact``, a YAML file or a plan.
        device: torch device.
        threads: CPU threads.
        quiet: show no progress.
        say: called with a progress line.
        factor: of ``rded``, f×f crops to a stored image; its default by default.
    """

    def __init__(
        self,
        data: Data,
        method: str,
        *,
        ipc: int,
        size: int | None = None,
        channels: int | None = None,
        training: dict[str, Any] | None = None,
        plan: str | Plan = "auto",
        device: str | None = None,
        threads: int | None = None,
        quiet: bool = False,
        say: Callable[[str], None] = print,
        factor: int | None = None,
    ) -> None:
        self.data, self.method, self.ipc = data, method, ipc
        self.quiet, self.say = quiet, say
        self.read_as = {"size": size, "channels": channels}
        self.packed = packing_of(method, factor)
        if self.packed is not None:
            self.packed.check(data, ipc)
        self.progress: Progress | None = None
        self.stops: list[int] = []
        self.networks: Networks | None = None
        where: dict[str, Any] = {"plan": plan, "device": device, "threads": threads}
        if not trains(method):
            choose_plan(**where, shape=data.train.shape, images=0)  # flags are checked all the same
        else:
            given = {**where, **(training or {})}
            self.networks = Networks.of(data, **given, on_part=self._part, say=say)

    def about(self, seed: int) -> About:
        """What the set of a seed will say of itself, apart from what is known only then."""
        training = self.networks.settings if self.networks else None
        given: dict[str, Any] = {"ipc": self.ipc, "seed": seed, **self.read_as}
        return about_selection(
            self.method, self.data, training=training, packed=self.packed, **given
        )

    def finished(self, folder: Path, seed: int) -> bool:
        """Whether a folder holds the selection of a seed; False where it is still to be made.

        Raises:
            UsageError: when it holds something else.
        """
        return is_finished(folder, self.about(seed))

    def make(self, folder: Path, seed: int) -> CondensedSet:
        """Select one set and write its folder, which is locked meanwhile.

        Args:
            folder: where.
            seed: which draw, or which network.

        Raises:
            Interrupted: when a signal asked to stop.
            UsageError: when another process has the folder, or it holds something else by now.
        """
        with in_use(folder, "."):
            if self.finished(folder, seed):
                return CondensedSet.load(folder)
            return self._made(folder, seed)

    def select(self, seed: int) -> CondensedSet:
        """Select one set, and write nothing."""
        given: dict[str, Any] = {"ipc": self.ipc, "seed": seed, **self.read_as}
        given |= {"networks": self.networks} if self.networks else {}
        given |= {"factor": self.packed.factor} if self.packed else {}
        try:
            return select(self.data, self.method, **given)
        finally:
            self._end()

    def _made(self, folder: Path, seed: int) -> CondensedSet:
        began = time.monotonic()
        with stop_requests() as self.stops:
            chosen = self.select(seed)
            self._write(chosen, folder, time.monotonic() - began)
            if self.stops:
                raise Interrupted(self.stops[0])
        return chosen

    def _part(self, what: str, done: int, total: int) -> None:
        """A part of the work is done: show it, and stop between two where that was requested."""
        if self.stops:
            raise Interrupted(self.stops[0])
        if self.progress is None:
            self.progress = Progress(total, what, quiet=self.quiet)
        self.progress.advance()
        if done == total:
            self._end()

    def _end(self) -> None:
        if self.progress is not None:
            self.progress.close()
        self.progress = None

    def _write(self, chosen: CondensedSet, folder: Path, seconds: float) -> None:
        about = chosen.about
        # Where the data came from is for this machine, not for the file.
        config = {**about.config, "data": self.data.spec}
        write_text(folder / "recipe.yaml", yaml.safe_dump(config))
        save_picture(chosen, folder / "images.png")
        note_facts(
            folder,
            status="finished",
            seconds=seconds,
            machine=machine(),
            versions=versions(),
            commit=commit(),
            plan=self.networks.plan.as_dict() if self.networks else None,
            fingerprint=about.source.fingerprint,
        )
        chosen.save(folder)
        through = ""
        if "train_accuracy" in about.config:
            accuracy = f"{about.config['train_accuracy']:.1f} %"
            through = f", by a network with {accuracy} in training, {time_text(seconds)}"
        self.say(
            f"{about.method}: {plural(about.ipc, 'image')} per class of {self.data.name}, seed "
            f"{about.seed}{through}: {folder}"
        )


def is_finished(folder: Path, wanted: About) -> bool:
    """Whether a folder holds this very selection; False where it is still to be made.

    Raises:
        UsageError: when it holds something else.
    """
    # Hidden entries are what a killed process was just writing.
    if not folder.exists() or (
        folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())
    ):
        return False
    if (folder / FILE).exists():
        held = CondensedSet.load(folder).about
        config = {name: value for name, value in held.config.items() if name not in _OUTCOMES}
        if dataclasses.replace(held, config=config) == wanted:
            return True
        what = _different(config, held, wanted)
    elif (folder / "recipe.yaml").exists():
        # Its writing was cut off; where the data came from is not compared.
        config = dict(read_yaml(folder / "recipe.yaml", "recipe"))
        known = {name: value for name, value in config.items() if name not in _OUTCOMES}
        found = first_difference({**known, "data": None}, {**wanted.config, "data": None})
        if found is None:
            return False
        what = str(found)
    else:
        what = ""
    raise UsageError(
        f"--out {folder} holds something else{f' ({what})' if what else ''}; choose another"
    )


def _different(config: dict[str, Any], held: About, wanted: About) -> str:
    """The first thing in which a finished selection differs from the one that is requested."""
    found = first_difference(config, wanted.config)
    if found is not None:
        return str(found)
    same = held.source.fingerprint == wanted.source.fingerprint
    return "" if same else "the training images differ"
