"""The trained networks that selections use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from condensery import nets
from condensery.data import Data, cache_folder, load
from condensery.errors import DataError, DivergedError, UsageError
from condensery.runtime.plan import Plan, choose_plan
from condensery.runtime.provenance import commit, versions
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.trainer import Course, Split, Trainer
from condensery.utils.checkpoint import load_state, save_state
from condensery.utils.renamed import old_names

from .greedy import ForgettingEvents
from .settings import SelectionTraining, selection_training

#: Images that a call takes where the plan has no chunks.
_CHUNK = 256

#: Called after each part of the work: what is counted, how many are done, how many there are.
OnPart = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """One network after its training, and what was seen on the way."""

    network: nn.Module
    """On the plan's device, in evaluation mode."""
    forgotten: Tensor
    """N, int32: how often each training image was forgotten."""
    learned: Tensor
    """N, bool: whether it was ever right."""
    accuracy: float
    """On the training split in percent: each image as it was seen in the last epoch."""


class Networks:
    """Networks trained on the whole training split of a data set, one per seed.

    Several selections may share them. Trained ones are kept in the user's cache by data, settings,
    seed, plan and version; third-party networks, and those of modified code, are not.

    Args:
        data: the data set; its test split is not used.
        settings: how they are trained.
        plan: device, precision, chunks.
        on_part: called after each step of a training, and each class whose features were taken.
        say: called with a progress line.
    """

    def __init__(
        self,
        data: Data,
        settings: SelectionTraining,
        plan: Plan,
        *,
        on_part: OnPart = lambda what, done, total: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.data, self.settings, self.plan = data, settings, plan
        self.on_part, self.say = on_part, say
        self.train = data.train.to(torch.device(plan.device))
        self._latest: tuple[int, Trained] | None = None
        narrow = plan.torch_update_dtype
        # One trainer for all seeds, so that the step is compiled once; draws have their own seeds.
        self._trainer = Trainer(
            settings.protocol,
            plan,
            flip=data.flip,
            seed=0,
            dtype=None if narrow == plan.torch_dtype else narrow,
            mean=self.train.mean,
            std=self.train.std,
        )

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        size: int | None = None,
        channels: int | None = None,
        network: str | None = None,
        plan: str | Plan = "auto",
        device: str | None = None,
        threads: int | None = None,
        on_part: OnPart = lambda what, done, total: None,
        say: Callable[[str], None] = lambda text: None,
        **training: Any,
    ) -> Networks:
        """Networks for data, with fields of :class:`SelectionTraining` as keywords.

        Args:
            data: anything that :func:`condensery.load` takes.
            size: side length in pixels to resize pictures to.
            channels: 1 for grey, 3 for colour.
            network: which one, with options; the data set's own by default.
            plan: ``auto``, ``exact``, a YAML file or a plan.
            device: torch device.
            threads: CPU threads.
            on_part: see the class.
            say: see the class.
            **training: ``epochs``, ``batch``, ``rate``, ``momentum``, ``weight_decay``,
                ``augmentation``; what is not given keeps its default. The old name ``net`` of
                ``network`` warns.

        Raises:
            UsageError: for a wrong value.
        """
        loaded = load(data, size=size, channels=channels)
        old = {"net": training.pop("net")} if "net" in training else {}
        network = old_names("a selection", old, {"net": "network"}).get("network", network)
        settings = selection_training(loaded, net=network, **training)
        images = 3.0 * len(loaded.train) * settings.epochs
        shape = loaded.train.shape
        chosen = choose_plan(plan, shape=shape, images=images, device=device, threads=threads)
        return cls(loaded, settings, chosen, on_part=on_part, say=say)

    def trained(self, seed: int) -> Trained:
        """The network of a seed: the latest one, one from the cache, or one trained now.

        Raises:
            DivergedError: when training produces NaN or inf.
        """
        if self._latest is not None and self._latest[0] == seed:
            return self._latest[1]
        file = self._file(seed)
        found = None if file is None else self._kept(file)
        if found is None:
            found = self._train(seed)
            if file is not None:
                _keep(found, file)
        else:
            self.say(f"the network of seed {seed} was trained before; it is in {file}")
        self._latest = seed, found
        return found

    @torch.no_grad()
    def features(self, seed: int, c: int) -> Tensor:
        """What feeds the classifier of a seed's network for every image of a class, n_c×d."""
        network, rows = self.trained(seed).network, self.train.index[c]
        dtype = self.plan.torch_dtype
        with self.plan.applied():
            seen = torch.cat(
                [
                    nets.embed(network, self.train.normalised(part, dtype=dtype))
                    for part in rows.split(self.plan.chunk or _CHUNK)
                ]
            )
        self.on_part("classes", c + 1, self.train.classes)
        return seen

    def _network(self, seed: int) -> nn.Module:
        with fork_rng(seed, "selection-network"):
            network = nets.build(self.settings.net, self.train.shape, self.train.classes)
        return network.to(device=torch.device(self.plan.device), dtype=self.plan.torch_dtype)

    def _train(self, seed: int) -> Trained:
        plan, device = self.plan, torch.device(self.plan.device)
        split = Split(self.train, plan.torch_dtype)
        epochs = self.settings.epochs
        self.say(
            f"training {self.settings.net} for {epochs} epoch{'s' if epochs > 1 else ''} on "
            f"{self.data.name} ({len(split)} images), seed {seed}"
        )
        with plan.applied():
            events = ForgettingEvents(len(split), device)
            course = Course(self._trainer, self._network(seed), watch=events)
            each = course.steps_of(split)
            schedule = self.settings.schedule(epochs * each)
            for epoch in range(epochs):
                rng = stream(seed, "selection", 0, epoch)
                with fork_rng(seed, "selection-dropout", 0, epoch, device=device):
                    for step in course.steps(split, rng, epoch, schedule):
                        self.on_part("steps", epoch * each + step + 1, epochs * each)
            network = course.network.eval().requires_grad_(False)
            finite = [w.isfinite().all() for w in network.state_dict().values()]
            if not bool(torch.stack(finite).all()):
                raise DivergedError(
                    f"the network of seed {seed} produced NaN or inf; lower --rate (it is "
                    f"{self.settings.rate:g})"
                )
            accuracy = round(100 * int(events.right.sum()) / len(split), 4)
        return Trained(network, events.forgotten, events.learned, accuracy)

    def _file(self, seed: int) -> Path | None:
        """Where a network is kept; None for one whose code is not known by its version."""
        code = commit()
        if nets.is_import_path(self.settings.net) or (code or "").endswith("+changes"):
            return None
        facts = [
            self.data.train.fingerprint,
            *(list(self.data.train.mean), list(self.data.train.std), self.data.flip),
            dataclasses.asdict(self.settings),
            *(seed, self.plan.describe(), versions(), code),
        ]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return cache_folder() / "selection" / f"{self.data.train.name}-{digest[:24]}.safetensors"

    def _kept(self, file: Path) -> Trained | None:
        """What a cache file holds; nothing where it is missing or damaged."""
        if not file.exists():
            return None
        try:
            state = load_state(file)
            network = self._network(0)
            network.load_state_dict(state["network"])
            device = torch.device(self.plan.device)
            counts = [state[name].to(device) for name in ("forgotten", "learned")]
            if any(len(count) != len(self.train) for count in counts):
                return None
            still = network.eval().requires_grad_(False)
            return Trained(still, counts[0], counts[1], float(state["accuracy"]))
        except (DataError, KeyError, RuntimeError, TypeError, ValueError):
            return None


def _keep(trained: Trained, file: Path) -> None:
    """Write a network for next time; a cache that cannot be written is skipped."""
    # Clones, because networks may share a parameter, and files do not.
    weights = {name: w.cpu().clone() for name, w in trained.network.state_dict().items()}
    state = {
        "network": weights,
        "forgotten": trained.forgotten,
        "learned": trained.learned,
        "accuracy": trained.accuracy,
    }
    try:
        save_state(state, file)
    except (OSError, UsageError):
        return
