"""Networks that are trained in stages, each from the weights that the one before left.

What a stage comes to depends on the stages up to it, and on nothing after them. So accuracies are
kept stage by stage, under a name that is derived from all of this: a chain that was stopped goes
on from its last stage, and chains that begin alike share their beginning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from condensery import nets
from condensery._version import __version__
from condensery.data import Data, LabelledSet
from condensery.errors import DataError
from condensery.evaluation.cell import code_of
from condensery.nets.widen import widened
from condensery.runtime.plan import Plan, choose_plan
from condensery.runtime.provenance import code, installed
from condensery.runtime.randomness import fork_rng
from condensery.sets.candidate import Candidate
from condensery.training.datasets import Joined, Split, Tensors, TrainingSet
from condensery.training.distillation import Distillation, Teacher
from condensery.training.protocol import Protocol
from condensery.training.trainer import Course, Trainer
from condensery.utils.checkpoint import load_state, save_state
from condensery.utils.files import write_json
from condensery.utils.reading import read_json

Part = Candidate | LabelledSet


@dataclass(frozen=True, eq=False)
class Phase:
    """A stretch of training under one protocol."""

    protocol: Protocol
    """The constants."""
    parts: tuple[Part, ...]
    """What is trained on, together: one, or two of them."""
    steps: int | None = None
    """Steps in all; the protocol's epochs where it is None."""
    distilled: Distillation | None = None
    """Whether, and how, the network follows the one that the stage began with."""

    def facts(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {
            "protocol": dataclasses.asdict(self.protocol),
            "parts": [_content(part) for part in self.parts],
            "steps": self.steps,
            "distilled": dataclasses.asdict(self.distilled) if self.distilled else None,
        }

    @property
    def passes(self) -> float:
        """Images that go through the network, there and back."""
        images = sum(map(len, self.parts))
        if self.steps is None:
            return 3.0 * images * self.protocol.epochs
        return 3.0 * self.steps * min(images, self.protocol.batch)


@dataclass(frozen=True, eq=False)
class Stage:
    """Some phases, and the tests after them."""

    classes: int
    """Outputs of the network; it is widened where it has fewer."""
    phases: tuple[Phase, ...]
    """In their order; none leaves the network as it is."""
    tests: tuple[LabelledSet, ...]
    """Each gets an accuracy."""
    shared: bool = False
    """Whether other chains begin with it, so that its weights are kept."""

    def facts(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {
            "classes": self.classes,
            "phases": [phase.facts() for phase in self.phases],
            "tests": [test.fingerprint for test in self.tests],
        }


@dataclass(frozen=True)
class Reached:
    """What a network came to after a stage."""

    accuracies: tuple[float, ...]
    """In percent, one for each test."""
    seconds: float
    """Training and testing."""


def chain_plan(
    stages: Sequence[Stage], shape: tuple[int, int, int], plan: str | Plan, **where: Any
) -> Plan:
    """The plan of a chain: networks one after another, reported in the full type on a GPU.

    Args:
        stages: of the chain.
        shape: C, H, W of an image.
        plan: ``auto``, ``exact``, a YAML file or a plan.
        where: ``device`` and ``threads``.
    """
    passes = sum(phase.passes for stage in stages for phase in stage.phases)
    heads = len({stage.classes for stage in stages})  # each width is compiled by itself
    chosen = choose_plan(plan, shape=shape, images=passes / heads, **where)
    chosen = dataclasses.replace(chosen, real_dtype=chosen.dtype, processes=1, networks=1)
    if plan == "auto" and chosen.device != "cpu":
        chosen = dataclasses.replace(chosen, update_dtype=chosen.dtype, tf32=False)
    return chosen


class Chain:
    """A chain that is ready to run, for any number of networks.

    Args:
        stages: in their order.
        net: the network.
        data: shape and flip of the images.
        normalisation: mean and std that the network sees images with.
        plan: how it runs.
        seed: of initialisation, shuffling and augmentation.
        keep: folder for what is finished; nothing is kept without one.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        net: str,
        data: Data,
        normalisation: tuple[Sequence[float], Sequence[float]],
        plan: Plan,
        seed: int,
        keep: Path | None = None,
    ) -> None:
        self.stages, self.net, self.plan, self.seed, self.keep = stages, net, plan, seed, keep
        self.shape, self.flip = data.train.shape, data.flip
        self.mean, self.std = (tuple(values) for values in normalisation)
        self.device = torch.device(plan.device)
        self._names = self._digests()
        self._trainers: dict[tuple[int, int], tuple[Trainer, TrainingSet]] = {}

    def run(
        self,
        network_index: int,
        on_stage: Callable[[int, float], None] = lambda stage, accuracy: None,
    ) -> list[Reached]:
        """Train one network through all stages; what is known is read.

        A function of the stages, the seed and the network's index alone.

        Args:
            network_index: which network.
            on_stage: called after each stage, also a known one, with the accuracy of the last
                test.
        """
        found, network, first = self.known(network_index), None, len(self.stages)
        if len(found) < first:
            network, first = self._last(network_index, len(found))
        found = found[:first]
        for number, one in enumerate(found):
            on_stage(number, one.accuracies[-1])
        for number in range(first, len(self.stages)):
            began = time.perf_counter()
            with self.plan.applied():
                network = self._trained(network, number, network_index)
                accuracies = self._tested(network, number)
            found.append(Reached(accuracies, time.perf_counter() - began))
            self._keep(network, found[-1], number, network_index)
            on_stage(number, accuracies[-1])
        return found

    def known(self, network_index: int) -> list[Reached]:
        """What is kept of a network, from the first stage on."""
        out: list[Reached] = []
        for number in range(len(self.stages)):
            file = self._file(number, network_index, ".json")
            if file is None:
                return out
            try:
                held = read_json(file)
                numbers = tuple(float(one) for one in held["accuracies"])
                if len(numbers) != len(self.stages[number].tests):
                    return out
                out.append(Reached(numbers, float(held["seconds"])))
            except (OSError, ValueError, KeyError, TypeError):
                return out
        return out

    def _trained(self, network: nn.Module | None, number: int, index: int) -> nn.Module:
        stage = self.stages[number]
        teacher = None
        if network is None:
            with fork_rng(self.seed, "chain-network", index):
                network = nets.build(self.net, self.shape, stage.classes)
            network = network.to(device=self.device, dtype=self.plan.torch_dtype)
        else:
            before = network
            with fork_rng(self.seed, "chain-widening", index, number):
                network = widened(before, self.net, self.shape, stage.classes)
            how = next((phase.distilled for phase in stage.phases if phase.distilled), None)
            teacher = Teacher(before, how) if how is not None else None
        for place, phase in enumerate(stage.phases):
            trainer, source = self._trainer(number, place)
            follows = teacher if phase.distilled is not None else None
            trainer.train(network, source, index, steps=phase.steps, teacher=follows)
        return network.eval()

    def _trainer(self, number: int, place: int) -> tuple[Trainer, TrainingSet]:
        """How a phase is trained and what on; kept for the next network."""
        if (number, place) not in self._trainers:
            phase, plan = self.stages[number].phases[place], self.plan
            narrow = plan.torch_update_dtype
            trainer = Trainer(
                phase.protocol,
                plan,
                flip=self.flip,
                seed=self.seed,
                purpose=f"chain-{number}-{place}",
                dtype=None if narrow == plan.torch_dtype else narrow,
                mean=self.mean,
                std=self.std,
            )
            first, *others = (self._source(part) for part in phase.parts)
            joined = Joined(first, others[0]) if others else first
            self._trainers[number, place] = trainer, joined
        return self._trainers[number, place]

    def _source(self, part: Part) -> TrainingSet:
        dtype = self.plan.torch_dtype
        if isinstance(part, LabelledSet):
            seen = dataclasses.replace(part, mean=self.mean, std=self.std)
            return Split(seen.to(self.device), dtype)
        return Tensors(part.images.to(self.device, dtype), part.labels.to(self.device))

    def _tested(self, network: nn.Module, number: int) -> tuple[float, ...]:
        stage = self.stages[number]
        if stage.phases:
            trainer, _ = self._trainer(number, 0)
        else:
            trainer = Trainer(Protocol(name="test"), self.plan, flip=self.flip, seed=self.seed)
        course = Course(trainer, network)
        return tuple(100.0 * course.accuracy(self._source(test)) for test in stage.tests)

    def _digests(self) -> list[str]:
        """Names of what the chain comes to after each stage."""
        kind = nets.try_out(self.net, self.shape, self.stages[0].classes, embeds=False)
        facts: dict[str, Any] = {
            "net": self.net,
            "net_code": code_of(kind),
            "shape": list(self.shape),
            "flip": self.flip,
            "normalisation": [list(self.mean), list(self.std)],
            "seed": self.seed,
            "plan": self.plan.describe(),
            "torch": installed("torch"),
            "version": __version__,
            "commit": code(),
        }
        out, before = [], ""
        for stage in self.stages:
            told = json.dumps([before, facts, stage.facts()], sort_keys=True)
            before = hashlib.sha256(told.encode()).hexdigest()
            out.append(before)
        return out

    def _file(self, number: int, index: int, ending: str) -> Path | None:
        if self.keep is None:
            return None
        return self.keep / f"stage{number}-network{index}-{self._names[number][:24]}{ending}"

    def _last(self, index: int, done: int) -> tuple[nn.Module | None, int]:
        """The network after the latest stage whose weights are there, and the next stage."""
        for number in reversed(range(done)):
            file = self._file(number, index, ".safetensors")
            with suppress(OSError, DataError, KeyError, RuntimeError):
                assert file is not None
                weights = load_state(file)["network"]
                with fork_rng(self.seed, "chain-network", index):
                    network = nets.build(self.net, self.shape, self.stages[number].classes)
                network.load_state_dict(weights)
                return network.to(device=self.device, dtype=self.plan.torch_dtype), number + 1
        return None, 0

    def _keep(self, network: nn.Module, found: Reached, number: int, index: int) -> None:
        """Write what a stage came to; weights that nothing continues from are removed."""
        weights = self._file(number, index, ".safetensors")
        told = self._file(number, index, ".json")
        if weights is None or told is None:
            return
        if self.stages[number].shared or number + 1 < len(self.stages):
            state = {name: w.detach().cpu().clone() for name, w in network.state_dict().items()}
            save_state({"network": state}, weights)
        write_json(told, dataclasses.asdict(found))
        before = self._file(number - 1, index, ".safetensors") if number else None
        if before is not None and not self.stages[number - 1].shared:
            before.unlink(missing_ok=True)


def _content(part: Part) -> list[Any]:
    if isinstance(part, LabelledSet):
        return [part.fingerprint]
    return [part.content]
