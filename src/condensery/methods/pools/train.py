"""Training the networks of a pool on the real training split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from condensery import nets
from condensery.config.build import make
from condensery.config.compare import first_difference
from condensery.config.later import as_written
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan, choose_plan
from condensery.utils.checkpoint import Checkpoints, Every
from condensery.utils.facts import note_facts
from condensery.utils.files import check_no_link, remove_leftovers
from condensery.utils.locks import in_use
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, stop_requests
from condensery.utils.text import plural

from .networks import PoolTraining, divide, marks_of
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
    ranks: Ranks = ALONE,
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
        ranks: processes that share the networks, each calling this. A network is trained by one
            of them, and is the same whichever it is.

    Raises:
        UsageError: when the folder holds something else, or another pool.
        DataError: for a class that leaves nothing to hold out.
        DivergedError: for weights that are not finite.
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
    marks_of(settings, -(-len(rows) // settings.batch))  # what is wrong is found before any work
    chosen = _plan_of(pool, data, settings, count, plan, device, threads, say)
    say(
        f"training {plural(count - done, 'network')} {settings.net} for "
        f"{plural(settings.epochs, 'epoch')} on {data.name}, {settings.held_out:.0%} of each class "
        f"held out: {out}"
    )
    say(f"plan: {chosen.describe()}")
    same = {name: value for name, value in chosen.as_dict().items() if name != "device"}
    ranks.agree(same, "the processes would train by different plans; give all of them one --plan")
    with stop_requests() as stops, _held(out, ranks), chosen.applied():
        ranks.on_rank_zero(lambda: _begin(pool, chosen))
        training = PoolTraining(data, settings, chosen, pool, every or Every())
        return _rounds(training, range(done, count), stops, quiet, say, ranks)


def _rounds(
    training: PoolTraining,
    numbers: range,
    stops: list[int],
    quiet: bool,
    say: Callable[[str], None],
    ranks: Ranks,
) -> Pool:
    """Train the networks that are missing: in every round, each rank trains one whole network."""
    pool = training.pool
    own = numbers[ranks.rank :: ranks.world]
    state = training.resumed(own[0], say) if own else None
    with _progress(training, numbers.start, len(own), state, quiet, ranks) as progress:
        for first in range(numbers.start, numbers.stop, ranks.world):
            number, found, unfinished = first + ranks.rank, [], 0
            try:
                if number < numbers.stop:
                    if number != own[0]:
                        state = training.resumed(number, say)
                    found = training.network(number, state, stops, progress, ranks)
            except Interrupted as stop:
                unfinished = stop.number
            ranks.meet()  # other networks may take much longer
            mine = [unfinished, stops[0] if stops else 0, [dataclasses.asdict(f) for f in found]]
            told = ranks.gather_objects(mine)
            if not any(signal for signal, _, _ in told):  # else they lie in checkpoints
                listed = [Snapshot(**one) for _, _, kept in told for one in kept]
                pool = dataclasses.replace(pool, snapshots=(*pool.snapshots, *listed))
                if ranks.first:
                    pool.write()
            done = len({one.network for one in pool.snapshots})
            signals = max(max(pair) for *pair, _ in told)
            if signals and done < numbers.stop:
                raise Interrupted(signals)
    if ranks.first:
        training.forget(numbers)
    return pool


def _progress(
    training: PoolTraining,
    done: int,
    own: int,
    state: dict[str, Any] | None,
    quiet: bool,
    ranks: Ranks,
) -> Progress:
    """A bar over all networks; where ranks share them, over those of this one."""
    epochs = training.settings.epochs
    before = done * epochs if ranks.alone else 0
    begun = before + (int(state["epoch"]) if state else 0)
    return Progress(before + own * epochs, "epochs", quiet=quiet, done=begun)


def _held(out: Path, ranks: Ranks) -> AbstractContextManager[None]:
    """The folder's lock, which the first process holds for all."""
    return in_use(out) if ranks.first else nullcontext()


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
    wanted = as_written(settings)
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
