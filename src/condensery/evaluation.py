"""A set × a protocol × networks → accuracies with n, mean and std."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import nets as zoo
from ._version import __version__
from .condensed import CondensedSet, load_sets
from .data import Data, load
from .engine import Plan, choose_plan
from .errors import DataError, UsageError
from .planning import protocol_for
from .protocol import Protocol
from .provenance import commit
from .randomness import fork_rng
from .train import Split, Tensors, Trainer, accuracy
from .whole import WholeSchedule, cached, remember, whole_schedule

#: Called after each network: what was tested, its accuracy.
OnNetwork = Callable[[str, float], None]


@dataclass(frozen=True)
class Result:
    """The accuracies of one set, or of several sets of one kind, under one protocol."""

    set: str
    """The set as it was named, ``whole`` for the whole training split."""
    recipe: str
    """What made it."""
    ipc: int | None
    """Its budget; None for the whole training split."""
    data: str
    """Data set whose test split was used."""
    net: str
    """Network that was trained and tested."""
    protocol: str
    """Protocol, with what was changed in it."""
    sets: tuple[tuple[float, ...], ...]
    """Accuracies in percent, set by set, one a network: of the last epoch."""
    seed: int
    """Where networks, shuffling and augmentation derive from."""
    stored_bytes: int
    """Size of what was trained on."""
    seconds: float
    """Time it took."""
    plan: str
    """How it was run."""
    version: str = __version__
    """Of this package."""
    commit: str | None = None
    """Of this package's checkout, None for a release."""

    @property
    def accuracies(self) -> tuple[float, ...]:
        """All accuracies, over sets and networks."""
        return tuple(a for one in self.sets for a in one)

    @property
    def n(self) -> int:
        """Number of networks, over all sets."""
        return len(self.accuracies)

    @property
    def mean(self) -> float:
        """Mean accuracy in percent."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Standard deviation over all networks, ddof 0, as the papers print it."""
        return float(np.std(self.accuracies))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "set": self.set,
            "recipe": self.recipe,
            "ipc": self.ipc,
            "data": self.data,
            "net": self.net,
            "protocol": self.protocol,
            "n": self.n,
            "mean": self.mean,
            "std": self.std,
            "accuracies": list(self.accuracies),
            "sets": [list(one) for one in self.sets],
            "seed": self.seed,
            "stored_bytes": self.stored_bytes,
            "seconds": self.seconds,
            "plan": self.plan,
            "version": self.version,
            "commit": self.commit,
        }


def evaluate(
    sets: Any,
    data: Any,
    *,
    nets: Sequence[str] | str | None = None,
    protocol: str = "dsa",
    n: int = 5,
    epochs: int | None = None,
    seed: int = 0,
    first: int = 0,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    on_network: OnNetwork | None = None,
) -> list[Result]:
    """Train fresh networks on each set and test them on the real test split.

    Args:
        sets: a :class:`CondensedSet`, a path, ``"whole"`` or ``"whole(epochs=N)"``, or a list of
            these. A folder that holds several sets is one row.
        data: anything that :func:`condensery.load` takes; only its test split is used, except for
            ``whole``.
        nets: networks, such as ``convnet3``; the data set's default when not given.
        protocol: ``dc``, ``dsa``, ``gm`` or ``idc``.
        n: networks a set.
        epochs: fewer epochs than the protocol's; the result's protocol says so.
        seed: where initialisation, shuffling and augmentation derive from.
        first: number of a row's first network, for a row that is tested in parts.
        plan: execution plan; reported accuracies are float32.
        device: torch device.
        threads: CPU threads.
        on_network: called after each network with a line about it and its accuracy.

    Returns:
        One result a set and network, sets first.

    Raises:
        UsageError: for a protocol or network that does not exist.
        DataError: for a set that does not fit the data.
    """
    if n < 1:
        raise UsageError(f"at least 1 network is needed (--nets), got {n}")
    named = [sets] if isinstance(sets, str | Path | CondensedSet) else list(sets)
    if not named:
        raise UsageError("no set to evaluate was named")
    loaded = load(data)
    rows = [_Row.of(item) for item in named]
    for row in rows:
        row.check(loaded)
    chosen = [nets] if isinstance(nets, str) else list(nets or [loaded.net])
    options = _Options(protocol, n, epochs, seed, plan, device, threads, on_network, first)
    # Everything is checked before the first network is trained.
    wanted = [(row, net, _protocol(row, loaded, net, options)) for row in rows for net in chosen]
    return [
        (_evaluate if row.whole_epochs is None else _evaluate_whole)(row, loaded, net, how, options)
        for row, net, how in wanted
    ]


@dataclass(frozen=True)
class _Options:
    protocol: str
    n: int
    epochs: int | None
    seed: int
    plan: str | Plan
    device: str | None
    threads: int | None
    on_network: OnNetwork | None
    first: int = 0


@dataclass(frozen=True)
class _Row:
    """One row of the table: some sets of one kind, or the whole training split."""

    name: str
    sets: list[CondensedSet]
    whole_epochs: int | None = None

    @classmethod
    def of(cls, item: Any) -> _Row:
        if isinstance(item, CondensedSet):
            return cls(item.about.method, [item])
        epochs = whole_epochs(item)
        return cls("whole", [], epochs) if epochs is not None else cls(str(item), load_sets(item))

    def check(self, data: Data) -> None:
        """Refuse sets that were not made for this data, and sets of several kinds in one row."""
        kinds = {_kind(one) for one in self.sets}
        if len(kinds) > 1:
            raise DataError(
                f"folder {self.name} holds sets of different kinds (method, ipc, data); "
                "a row is made of alike ones: name them one by one"
            )
        for one in self.sets:
            if one.about.class_names != data.train.class_names:
                raise DataError(
                    f"set {self.name} was made for the classes of {one.about.source.name}, "
                    f"which are not those of {data.name}"
                )
            shape = tuple(one.images.shape[1:])
            if shape != data.train.shape:
                raise DataError(
                    f"set {self.name} holds images of {_size(shape)}, but {data.name} has "
                    f"{_size(data.train.shape)}; give the --size and --channels it was made with"
                )
            if bool(one.about.config.get("zca")) != data.zca:
                which = "whitened" if data.zca else "not whitened"
                raise DataError(
                    f"the images of {data.name} are {which} here, and those of set {self.name} "
                    "were not so: evaluate with the flags that it was made with"
                )
            rate = one.about.config.get("sample_rate")
            if rate is not None and rate != data.rate:
                raise DataError(
                    f"set {self.name} was made from recordings of {rate} samples a second, and "
                    f"{data.name} is read with {data.rate or 'none'}: evaluate with --sample-rate "
                    f"{rate} (rate= of load)"
                )
            # Copies of one well-known set may differ by a byte; anything else must be the same.
            known = data.known_as and one.about.config.get("data") == data.known_as
            if one.about.source.fingerprint != data.train.fingerprint and not known:
                raise DataError(
                    f"set {self.name} was made from other training images than those of "
                    f"{data.name} now, so some may be in its test split; condense it again"
                )


def _kind(one: CondensedSet) -> tuple[Any, ...]:
    about = one.about
    made_of = (about.source.fingerprint, about.mean, about.std, about.flip)
    return (about.method, about.ipc, about.formation.kind, tuple(one.images.shape), *made_of)


def whole_epochs(item: Any) -> int | None:
    """Epochs of the pseudo-set ``whole`` (0: its own choice), None for anything else."""
    found = re.fullmatch(r"whole(?:\(epochs=(\d+)\))?", item) if isinstance(item, str) else None
    if found is None or Path(item).exists():
        if isinstance(item, str) and item.startswith("whole(") and not Path(item).exists():
            raise UsageError(f"'{item}' is not understood; write whole(epochs=N)")
        return None
    if found[1] is not None and int(found[1]) < 1:
        raise UsageError(f"{item} needs at least 1 epoch")
    return int(found[1] or 0)


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(str(s) for s in shape)


def _protocol(row: _Row, data: Data, net: str, options: _Options) -> Protocol:
    """How a row's networks are trained; the whole split has epochs of its own."""
    ipc = row.sets[0].about.ipc if row.sets else None
    found = protocol_for(options.protocol, data, net, ipc)
    if row.whole_epochs is not None:
        return found
    first = row.sets[0]
    own = found.settled(len(first) / (len(first.stored) * first.stored.shape[1]))
    return own.changed(epochs=options.epochs)


def _evaluate(row: _Row, data: Data, net: str, wanted: Protocol, options: _Options) -> Result:
    first = row.sets[0]
    images = 3.0 * len(first) * wanted.epochs * options.n * len(row.sets)
    plan = _plan(data, images, options)
    about = first.about
    trainer = Trainer(
        wanted, plan, flip=data.flip, seed=options.seed, mean=about.mean, std=about.std
    )
    began, found = time.perf_counter(), []
    with plan.applied():
        test = data.test.to(torch.device(plan.device))
        for position, one in enumerate(row.sets):
            source = Tensors(
                one.images.to(plan.device, plan.torch_dtype), one.labels.to(plan.device)
            )
            test = _normalised_like(test, one)
            start = options.first + position * options.n
            found.append(
                tuple(
                    _one(trainer, net, source, test, number, options, row.name)
                    for number in range(start, start + options.n)
                )
            )
    return _result(row, data, net, wanted.name, found, plan, began, options)


def _one(
    trainer: Trainer,
    net: str,
    source: Any,
    test: Any,
    number: int,
    options: _Options,
    name: str,
    schedule: WholeSchedule | None = None,
) -> float:
    """The accuracy of one fresh network."""
    with fork_rng(options.seed, "evaluation-network", number):
        network = zoo.build(net, test.shape, test.classes)
    network = network.to(device=trainer.plan.device, dtype=trainer.plan.torch_dtype)
    trainer.train(network, source, number, schedule=schedule)
    result = accuracy(network, test, trainer.plan)
    _tell(options, f"{name} on {net}", result)
    return result


def _tell(options: _Options, what: str, found: float) -> None:
    if options.on_network is not None:
        options.on_network(what, found)


def _evaluate_whole(row: _Row, data: Data, net: str, wanted: Protocol, options: _Options) -> Result:
    """The whole training split under its own short schedule, cached by data, net and schedule."""
    schedule = whole_schedule(wanted, len(data.train), row.whole_epochs or None)
    images = 3.0 * len(data.train) * schedule.protocol.epochs * options.n
    plan = _plan(data, images, options)
    known, spent = cached(data, net, schedule, options.seed, plan.describe())
    began = time.perf_counter() - spent
    mean, std = data.train.mean, data.train.std
    how = schedule.protocol
    trainer = Trainer(how, plan, flip=data.flip, seed=options.seed, mean=mean, std=std)
    with plan.applied():
        train, test = (
            data.train.to(torch.device(plan.device)),
            data.test.to(torch.device(plan.device)),
        )
        source = Split(train, plan.torch_dtype)
        for held in known[: options.n]:
            _tell(options, f"whole on {net}, from the cache", held)
        for k in range(len(known), options.n):
            known.append(_one(trainer, net, source, test, k, options, "whole", schedule))
            seconds = time.perf_counter() - began
            remember(data, net, schedule, options.seed, plan.describe(), (known, seconds))
    found = [tuple(known[: options.n])]
    return _result(row, data, net, schedule.protocol.name, found, plan, began, options)


def _plan(data: Data, images: float, options: _Options) -> Plan:
    plan = choose_plan(
        options.plan,
        shape=data.train.shape,
        images=images,
        device=options.device,
        threads=options.threads,
    )
    # Accuracies that are reported are trained in the full type; bfloat16 is for matching.
    return dataclasses.replace(plan, real_dtype=plan.dtype)


def _normalised_like(test: Any, one: CondensedSet) -> Any:
    """The test split under the set's own normalisation, as its networks expect."""
    if (test.mean, test.std) == (one.about.mean, one.about.std):
        return test
    return dataclasses.replace(test, mean=one.about.mean, std=one.about.std)


def _result(
    row: _Row,
    data: Data,
    net: str,
    name: str,
    found: list[tuple[float, ...]],
    plan: Plan,
    began: float,
    options: _Options,
) -> Result:
    first = row.sets[0] if row.sets else None
    return Result(
        set=row.name,
        recipe=first.about.method if first else "whole",
        ipc=first.about.ipc if first else None,
        data=data.name,
        net=net,
        protocol=name,
        sets=tuple(found),
        seed=options.seed,
        stored_bytes=first.stored_bytes if first else data.train.nbytes,
        seconds=time.perf_counter() - began,
        plan=plan.describe(),
        commit=commit(),
    )
