"""``condensery select``: the baselines that keep real images."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from condensery.config.compare import difference
from condensery.config.recipes import read_yaml
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import choose_plan
from condensery.runtime.provenance import commit, machine, versions
from condensery.selection import Networks
from condensery.selection import select as select_images
from condensery.selection.methods import (
    about_selection,
    check_budget,
    refuse_training,
    selection_named,
    trains,
)
from condensery.sets.condensed import FILE, About, CondensedSet
from condensery.sets.picture import save_picture
from condensery.utils.facts import note_facts
from condensery.utils.files import remove_leftovers, write_text
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, stop_requests
from condensery.utils.text import time_text

from .shared import facts_of_set, folder_of, printer, read, write_result

#: What a set's configuration says that is known only when it is made.
_OUTCOMES = ("train_accuracy",)


def select(options: Any) -> int:
    """Select real images, by a draw or by what a trained network says."""
    method = selection_named(options.method)
    training = {n: getattr(options, n) for n in ("net", "epochs", "rate", "batch", "augmentation")}
    if not trains(method):
        refuse_training(method, training)
    if options.sets < 1:
        raise UsageError(f"--sets must be at least 1, got {options.sets}")
    keep_memory()
    data = read(options.data, options)
    check_budget(data, options.ipc)
    out = folder_of(options.out, Path("runs") / f"{data.name}-{method}-ipc{options.ipc}")
    if options.sets > 1 and any((out / file).exists() for file in ("recipe.yaml", FILE)):
        raise UsageError(f"--out {out} holds one set; choose another for --sets")
    say = printer(options)
    work = _Work(data, method, options, training, say)
    folders = [out / str(k) if options.sets > 1 else out for k in range(options.sets)]
    wanted = [work.about(options.seed + k) for k in range(options.sets)]
    # All folders are looked at before any network is trained.
    finished = [_is_finished(*pair) for pair in zip(folders, wanted, strict=True)]
    if work.networks and not all(finished):
        say(f"plan: {work.networks.plan.describe()}")
    results = []
    try:
        for folder, about, there in zip(folders, wanted, finished, strict=True):
            if there:
                say(f"{folder} is finished; nothing to do")
            chosen = CondensedSet.load(folder) if there else work.made(about.seed, folder)
            results.append({"out": str(folder), **facts_of_set(chosen)})
    except Interrupted as stop:
        print(f"condensery: stopped by {stop}; the same command goes on", file=sys.stderr)
        return 128 + stop.number
    say(f"next: condensery evaluate {out}")
    write_result(options, {"runs": results})
    return 0


class _Work:
    """One command's selections: the data, the networks where there are any, and the progress."""

    def __init__(
        self, data: Data, method: str, options: Any, training: dict[str, Any], say: Any
    ) -> None:
        self.data, self.method, self.options, self.say = data, method, options, say
        self.read_as = {"size": options.size, "channels": options.channels}
        self.progress: Progress | None = None
        self.stops: list[int] = []
        self.networks: Networks | None = None
        where = {"plan": options.plan, "device": options.device, "threads": options.threads}
        if not trains(method):
            choose_plan(**where, shape=data.train.shape, images=0)  # flags are checked all the same
        else:
            self.networks = Networks.of(data, **where, **training, on_part=self._part, say=say)

    def about(self, seed: int) -> About:
        """What the set of a seed will say of itself, apart from what is known only then."""
        training = self.networks.settings if self.networks else None
        return about_selection(
            self.method,
            self.data,
            ipc=self.options.ipc,
            seed=seed,
            training=training,
            **self.read_as,
        )

    def made(self, seed: int, folder: Path) -> CondensedSet:
        """Select one set and write its folder."""
        began = time.monotonic()
        shared: dict[str, Any] = {"networks": self.networks} if self.networks else {}
        with stop_requests() as self.stops:
            try:
                chosen = select_images(
                    self.data,
                    self.method,
                    ipc=self.options.ipc,
                    seed=seed,
                    **self.read_as,
                    **shared,
                )
            finally:
                self._end()
            self._write(chosen, folder, time.monotonic() - began)
            if self.stops:
                raise Interrupted(self.stops[0])
        return chosen

    def _part(self, what: str, done: int, total: int) -> None:
        """A part of the work is done: show it, and stop between two where that was asked for."""
        if self.stops:
            raise Interrupted(self.stops[0])
        if self.progress is None:
            self.progress = Progress(total, what, quiet=self.options.quiet)
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
        remove_leftovers(folder)
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
            f"{about.method}: {about.ipc} images a class of {self.data.name}, seed "
            f"{about.seed}{through}: {folder}"
        )


def _is_finished(folder: Path, wanted: About) -> bool:
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
        what = difference({**known, "data": None}, {**wanted.config, "data": None})
        if not what:
            return False
    else:
        what = ""
    raise UsageError(
        f"--out {folder} holds something else{f' ({what})' if what else ''}; choose another"
    )


def _different(config: dict[str, Any], held: About, wanted: About) -> str:
    """The first thing in which a finished selection differs from the one that is asked for."""
    found = difference(config, dict(wanted.config))
    if not found and held.source.fingerprint != wanted.source.fingerprint:
        found = "the training images are others"
    return found
