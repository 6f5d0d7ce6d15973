"""Training the networks of a pool on the real training split."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condensery import nets
from condensery.config.build import make
from condensery.config.compare import first_difference
from condensery.data import Data, LabelledSet
from condensery.errors import DataError, UsageError
from condensery.runtime.plan import Plan, choose_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.trainer import Course, Subset, Trainer
from condensery.utils.checkpoint import Checkpoints, Every
from condensery.utils.facts import note_facts
from condensery.utils.files import check_no_link, remove_leftovers
from condensery.utils.locks import in_use
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, stop_requests
from condensery.utils.text import plural

from .store import INDEX, Pool, Snapshot
from .store import PoolSettings as PoolSettings


def pool_settings(data: Data, net: str | None = None, **given: Any) -> PoolSettings:
    """The settings for a data set; what is not given keeps its default.

    Raises:
        UsageError: for a wrong value, or a network that cannot be built.
    """
    facts = {
        "data": data.train.name,
        "fingerprint": data.train.fingerprint,
        "net": net or data.net,
        "shape": list(data.train.shape),
        "classes": data.train.classes,
        "flip": data.flip,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    found: PoolSettings = make(PoolSettings, {**facts, **chosen}, "pool")
    nets.try_out(found.net, data.train.shape, data.train.classes)
    return found


def pool_plan(
    data: Data,
    settings: PoolSettings,
    count: int,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
) -> Plan:
    """The execution plan of a pool's training."""
    images = 3.0 * len(data.train) * settings.epochs * count
    return choose_plan(plan, shape=data.train.shape, images=images, device=device, threads=threads)


def divide(train: LabelledSet, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on, and rows of each class that are held out; at least one of both a class.

    With a share of 0 all rows are trained on.

    Raises:
        DataError: for a class with a single image.
    """
    if share == 0:
        return torch.cat(train.index), train.index[0][:0]
    kept, held = [], []
    for c, members in enumerate(train.index):
        if len(members) < 2:
            raise DataError(
                f"class '{train.class_names[c]}' has {len(members)} training images; a "
                "pool needs at least two, one of them held out"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        order = stream(seed, "pool-held-out", group=c).permutation(len(members))
        shuffled = members[torch.from_numpy(order).to(members.device)]
        held.append(shuffled[:count])
        kept.append(shuffled[count:])
    return torch.cat(kept), torch.cat(held)


def pool_trainer(settings: PoolSettings, plan: Plan, train: LabelledSet) -> Trainer:
    """What trains a pool's networks."""
    narrow = plan.torch_update_dtype
    return Trainer(
        settings.protocol,
        plan,
        flip=settings.flip,
        seed=settings.seed,
        purpose="pool",
        dtype=None if narrow == plan.torch_dtype else narrow,
        mean=train.mean,
        std=train.std,
    )


class _Training:
    """One pool's training: the folder, the split in two parts, and the trainer."""

    def __init__(
        self, data: Data, settings: PoolSettings, plan: Plan, pool: Pool, every: Every
    ) -> None:
        self.settings, self.plan, self.pool, self.every = settings, plan, pool, every
        device = torch.device(plan.device)
        train = data.train.to(device)
        rows, held_out = divide(train, settings.held_out, settings.seed)
        self.part = Subset(train, rows, plan.torch_dtype)
        self.held_out = Subset(train, held_out, plan.torch_dtype)
        self.trainer = pool_trainer(settings, plan, train)
        self.checkpoints = Checkpoints(pool.path / "checkpoints")
        self.saved = time.monotonic()

    def network(
        self, number: int, state: dict[str, Any] | None, stops: list[int], progress: Progress
    ) -> list[Snapshot]:
        """Train one network, from the start or from a checkpoint; its snapshots."""
        device = torch.device(self.plan.device)
        shape = (self.settings.shape[0], self.settings.shape[1], self.settings.shape[2])
        with fork_rng(self.settings.seed, "pool-network", number):
            network = nets.build(self.settings.net, shape, self.settings.classes)
        network = network.to(device=device, dtype=self.plan.torch_dtype)
        found: list[Snapshot] = []
        first = 0
        if state is not None:
            with torch.no_grad():
                network.load_state_dict(state["network"])
            first = int(state["epoch"])
            found = [Snapshot(**one) for one in state["snapshots"]]
        course = Course(self.trainer, network)
        self.steps = course.steps_of(self.part)
        self.marks = _marks(self.settings, self.steps)
        if state is not None:
            course.load_momenta(state.get("momenta", {}))
        else:
            self._mark(course, number, 0, found)
        for epoch in range(first, self.settings.epochs):
            if epoch * self.steps >= max(self.marks):  # nothing that comes later is kept
                progress.advance(f"network {number}")
                continue
            self._epoch(course, number, epoch, found, stops)
            known = found[-1].accuracy if found else None
            shown = "" if known is None else f", {known:.1f} %"
            progress.advance(f"network {number}{shown}")
            if epoch + 1 < self.settings.epochs:
                self._checkpoint(course, number, epoch + 1, found, stops)
        return found

    def _epoch(
        self, course: Course, number: int, epoch: int, found: list[Snapshot], stops: list[int]
    ) -> None:
        seed, device = self.settings.seed, torch.device(self.plan.device)
        rng = stream(seed, "pool", number, epoch)
        with fork_rng(seed, "pool-dropout", number, epoch, device=device):
            for step in course.steps(self.part, rng, epoch):
                if stops and step + 1 < self.steps:
                    raise Interrupted(stops[0])
                done = epoch * self.steps + step + 1
                self._mark(course, number, done, found)
                if done >= max(self.marks):
                    break

    def _mark(self, course: Course, number: int, steps: int, found: list[Snapshot]) -> None:
        """Keep a snapshot where one is due."""
        if steps not in self.marks:
            return
        accuracy = self._accuracy(course)
        if not all(bool(torch.isfinite(w).all()) for w in course.network.state_dict().values()):
            raise DataError(
                f"network {number} produced NaN or inf after {steps} steps; lower --rate (it "
                f"is {self.settings.rate:g})"
            )
        weights = course.network.state_dict()
        found.append(self.pool.keep(weights, number, steps, self.marks[steps], accuracy))

    def _accuracy(self, course: Course) -> float | None:
        """On the held-out images, in percent; None where nothing is held out."""
        if not len(self.held_out):
            return None
        return round(100 * course.accuracy(self.held_out), 4)

    def _checkpoint(
        self, course: Course, number: int, epoch: int, found: list[Snapshot], stops: list[int]
    ) -> None:
        if not stops and not self._due(epoch):
            return
        state = {
            "number": number,
            "epoch": epoch,
            "network": {k: v.clone() for k, v in course.network.state_dict().items()},
            "momenta": course.momenta(),
            "snapshots": [dataclasses.asdict(one) for one in found],
        }
        self.checkpoints.save(state)
        self.saved = time.monotonic()
        if stops:
            raise Interrupted(stops[0])

    def _due(self, epoch: int) -> bool:
        """Checkpoints lie at the ends of epochs."""
        if self.every.iterations is not None:
            return epoch % self.every.iterations == 0
        return time.monotonic() - self.saved >= (self.every.seconds or 0.0)


def _marks(settings: PoolSettings, each: int) -> dict[int, float]:
    """Steps of training at which weights are kept → epochs, as they were requested.

    Raises:
        UsageError: for points that lie within one step.
    """
    out: dict[int, float] = {}
    for at in sorted(set(settings.snapshots)) or [float(settings.epochs)]:
        step = math.ceil(at * each - 1e-9)
        if step in out:
            raise UsageError(
                f"--snapshots {out[step]:g} and {at:g} fall on the same step: an epoch of this "
                f"data has {each} of --batch {settings.batch}; leave one of them out"
            )
        out[step] = at
    return out


def train_pool(
    data: Data,
    settings: PoolSettings,
    count: int,
    out: Path,
    *,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    quiet: bool = True,
    say: Callable[[str], None] = lambda text: None,
    every: Every | None = None,
) -> Pool:
    """Train ``count`` networks on the training split and keep their snapshots in a folder.

    An unfinished pool is continued, with its original plan, from its last whole epoch
    that a checkpoint holds; a finished one may grow. A part of each class is held out for the
    accuracies; the test split is not used.

    Args:
        data: what to train on.
        settings: :func:`pool_settings` of that data.
        count: networks in all.
        out: the folder.
        plan: ``auto``, ``exact``, a YAML file or a plan.
        device: torch device.
        threads: CPU threads.
        quiet: show no progress.
        say: called with a progress line.
        every: how often it is checkpointed, by time or in epochs.

    Raises:
        UsageError: when the folder holds something else, or another pool.
        DataError: for a class that leaves nothing to hold out.
        Interrupted: when a signal asked to stop; the same call resumes.
    """
    if count < 1:
        raise UsageError(f"--count must be at least 1, got {count}")
    if every is not None and every.steps is not None:
        raise UsageError("a pool is checkpointed by time or epochs, --checkpoint-every 60s or 5it")
    pool = _opened(out, settings)
    done = len({one.network for one in pool.snapshots})
    if done >= count:
        say(f"{out} has {done} networks already; nothing to do")
        return pool
    rows = divide(data.train, settings.held_out, settings.seed)[0]
    _marks(settings, -(-len(rows) // settings.batch))  # what is wrong is found before any work
    chosen = _plan_of(pool, data, settings, count, plan, device, threads, say)
    say(
        f"training {plural(count - done, 'network')} {settings.net} for "
        f"{plural(settings.epochs, 'epoch')} on {data.name}, {settings.held_out:.0%} of each class "
        f"held out: {out}"
    )
    say(f"plan: {chosen.describe()}")
    with stop_requests() as stops, in_use(out), chosen.applied():
        _begin(pool, chosen)
        training = _Training(data, settings, chosen, pool, every or Every())
        state, notes = training.checkpoints.load()
        for note in notes:
            say(note)
        if state is not None and state["number"] != done:
            state = None  # of a network that has been finished since
        begun = done * settings.epochs + (int(state["epoch"]) if state else 0)
        total = count * settings.epochs
        with Progress(total, "epochs", quiet=quiet, done=begun) as progress:
            for number in range(done, count):
                found = training.network(number, state, stops, progress)
                state = None
                pool = dataclasses.replace(pool, snapshots=(*pool.snapshots, *found))
                pool.write()
                if stops and number + 1 < count:
                    raise Interrupted(stops[0])
        training.checkpoints.remove()
    return pool


def _begin(pool: Pool, plan: Plan) -> None:
    """Write what is known before the first network; raise if the pool has grown meanwhile."""
    place = pool.path
    if (place / INDEX).exists() and Pool.read(place).snapshots != pool.snapshots:
        raise UsageError(f"another process has changed {place}; run the command again")
    check_no_link(place / "networks", "put a folder there, or choose another --out")
    remove_leftovers(place / "networks")
    if not pool.snapshots and not Checkpoints(place / "checkpoints").files:
        pool.write()
        note_facts(place, plan=plan.as_dict())


def _opened(out: Path, settings: PoolSettings) -> Pool:
    """The folder's pool, as far as it got; a new one if there is none."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; choose a folder")
    wanted = dataclasses.asdict(settings)
    if (out / INDEX).exists():
        pool = Pool.read(out)
        if not pool.snapshots and not (out / "checkpoints").exists():
            return Pool(out, wanted, ())  # started, and nothing done
        # An earlier version did not know the fields that it lacks.
        known = {f.name: f.default for f in dataclasses.fields(PoolSettings)}
        different = first_difference(dict(pool.settings), wanted, known)
        if different:
            raise UsageError(f"--out {out} holds another pool ({different}); choose another --out")
        return pool
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"--out {out} holds something else; choose another")
    return Pool(out, wanted, ())


def _plan_of(
    pool: Pool,
    data: Data,
    settings: PoolSettings,
    count: int,
    plan: str | Plan,
    device: str | None,
    threads: int | None,
    say: Callable[[str], None],
) -> Plan:
    """The plan that the pool started with, or a new one, written beside it."""
    facts = note_facts(pool.path).get("plan")
    if isinstance(facts, dict) and ((pool.path / "checkpoints").exists() or pool.snapshots):
        say(f"continuing {pool.path}, with its original plan")
        try:
            held: Plan = make(Plan, facts, "plan")
        except UsageError as error:
            raise UsageError(
                f"the plan that {pool.path} started with: {error}; choose another --out"
            ) from error
        return held
    return pool_plan(data, settings, count, plan, device, threads)


def summary(pool: Pool, epochs: Sequence[float] | None = None) -> list[str]:
    """A line for each point of the training: n, and the range of the accuracies."""
    points = sorted({one.epoch for one in pool.snapshots} if epochs is None else set(epochs))
    lines = []
    for at in points:
        there = [one.accuracy for one in pool.snapshots if one.epoch == at]
        found = np.array([accuracy for accuracy in there if accuracy is not None])
        if not len(found):
            lines.append(f"epoch {at:>7g}: {len(there)} networks, nothing held out")
            continue
        lines.append(
            f"epoch {at:>7g}: {len(found)} networks, {found.mean():.1f} ± {found.std():.1f} % "
            f"({found.min():.1f} … {found.max():.1f})"
        )
    return lines
