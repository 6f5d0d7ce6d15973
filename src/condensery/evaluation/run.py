"""A set × a protocol × networks → accuracies with n, mean and std."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condensery import nets as zoo
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan, choose_plan
from condensery.runtime.provenance import commit
from condensery.training import whole_split as whole
from condensery.training.protocol import protocol_for

from .cache import Keeper, KeptCells
from .cell import Cell, Job, Measured, code_of
from .evaluator import measure_shared
from .plan import evaluation_plan
from .result import Result
from .rows import Row, rows_of

#: Called after each network: what was tested, its accuracy.
OnNetwork = Callable[[str, float], None]

#: Networks per set; the papers average over 100 in all.
_MOST_NETWORKS = 100_000
#: Plans are made for this many networks, so that no number depends on how many are requested.
_USUAL_NETWORKS = 5


def evaluate(
    sets: Any,
    data: Any,
    *,
    nets: Sequence[str] | str | None = None,
    protocol: str = "dsa",
    n: int = 5,
    epochs: int | None = None,
    seed: int = 0,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    on_network: OnNetwork | None = None,
    ranks: Ranks = ALONE,
) -> list[Result]:
    """Train fresh networks on each set and test them on the real test split.

    Args:
        sets: a :class:`CondensedSet`, a path, ``"whole"`` or ``"whole+epochs=N"``, a list of
            these, or a dictionary of them by name. A folder that holds several sets is one row.
            A path may lead to a set from elsewhere: :mod:`condensery.sets.foreign`.
        data: anything that :func:`condensery.load` takes; only its test split is used, except for
            ``whole``.
        nets: networks, such as ``convnet3``; the data set's own by default.
        protocol: ``dc``, ``dsa``, ``gm`` or ``idc``.
        n: networks per set.
        epochs: fewer epochs than the protocol's; the result's protocol says so.
        seed: seed of initialisation, shuffling and augmentation.
        plan: execution plan; reported accuracies are float32.
        device: torch device.
        threads: CPU threads.
        on_network: called after each network with a line about it and its accuracy.
        ranks: processes that share the networks, each calling this.

    Returns:
        One result per set and network, sets first.

    Raises:
        UsageError: for a protocol or network that does not exist.
        DataError: for a set that does not fit the data.
    """
    loaded = load(data)
    rows = rows_of(sets, loaded)
    chosen = networks(nets, loaded)
    how = EvaluationSettings(n, epochs, seed, plan, device, threads)
    # Everything is checked before the first network is trained.
    cells = [cell_of(row, loaded, net, protocol, how) for row in rows for net in chosen]
    return [run_cell(cell, n, on_network=on_network, ranks=ranks) for cell in cells]


def networks(nets: Any, data: Data) -> list[str]:
    """Networks by name; a module class that can be imported goes by its import path.

    Raises:
        UsageError: for an instance, whose training could not start afresh, and for other things.
    """
    if nets is None:
        return [data.net]
    listed = list(nets) if isinstance(nets, (list, tuple)) else [nets]
    return [net if isinstance(net, str) else zoo.import_path(net) for net in listed or [data.net]]


@dataclass(frozen=True)
class EvaluationSettings:
    """What all cells of a table share."""

    n: int
    """Networks per set."""
    epochs: int | None = None
    """Epochs on each set, in place of the protocol's."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""
    plan: str | Plan = "auto"
    """Execution plan."""
    device: str | None = None
    """Torch device."""
    threads: int | None = None
    """CPU threads."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"at least 1 network is needed (--nets), got {self.n}")
        if self.n > _MOST_NETWORKS:
            raise UsageError(f"--nets must be at most {_MOST_NETWORKS}, got {self.n}")


def cell_of(row: Row, data: Data, net: str, protocol: str, how: EvaluationSettings) -> Cell:
    """One cell of a table, with its protocol, network and plan resolved and tried.

    Raises:
        UsageError: for a protocol, network or plan that does not exist or does not fit.
    """
    shape = data.train.shape
    network = zoo.try_out(net, shape, data.train.classes, embeds=False)
    ipc = None if row.whole else row.sets[0].ipc
    decoded = 1.0 if row.whole else row.sets[0].decoded
    training, schedule = protocol_for(protocol, data, net, ipc, decoded), None
    if row.whole:  # the whole split has epochs of its own
        whole.check_applies(protocol, row.whole_given)
        how_long = len(data.train), row.whole_epochs or None
        schedule = whole.whole_schedule(training, *how_long, row.whole_given)
        training = schedule.protocol
    else:
        training = training.settled(decoded).changed(epochs=how.epochs)
    images = len(data.train) if row.whole else len(row.sets[0])
    passes = _USUAL_NETWORKS * (3.0 * images * training.epochs + len(data.test))
    where: dict[str, Any] = {"device": how.device, "threads": how.threads}
    plan = choose_plan(how.plan, shape=shape, images=passes, **where)
    code = code_of(network)
    cell = Cell(row, data, net, code, protocol, training, schedule, plan, how.seed)
    return dataclasses.replace(cell, plan=evaluation_plan(cell, how.plan, network, passes))


def keepers_of(cell: Cell, store: Keeper | None = None) -> list[Keeper]:
    """Where the numbers of a cell are looked for, and kept: those of whole splits for all uses."""
    own: list[Keeper] = [] if store is None else [store]
    return [*own, KeptCells(whole.cache(), strict=False)] if cell.row.whole else own


def run_cell(
    cell: Cell,
    n: int,
    *,
    keepers: Sequence[Keeper] | None = None,
    on_network: OnNetwork | None = None,
    tell_known: bool = True,
    ranks: Ranks = ALONE,
) -> Result:
    """The accuracies of n networks on each of a row's sets; those that are known are taken.

    Where ranks share the work, the first one looks for numbers and keeps them.

    Args as of :func:`measured`.
    """
    how: dict[str, Any] = {"keepers": keepers, "on_network": on_network, "ranks": ranks}
    return _result(cell, measured(cell, n, tell_known=tell_known, **how))


def measured(
    cell: Cell,
    n: int,
    *,
    keepers: Sequence[Keeper] | None = None,
    on_network: OnNetwork | None = None,
    tell_known: bool = True,
    ranks: Ranks = ALONE,
) -> list[list[Measured]]:
    """What n networks on each of a row's sets come to, set by set; those known are taken.

    Args:
        cell: what is trained and tested.
        n: networks per set.
        keepers: where numbers are looked for and kept; every one of them gets what it lacks.
        on_network: called after each network.
        tell_known: whether it is called for those that are known as well.
        ranks: those that share the networks.
    """
    places = (keepers_of(cell) if keepers is None else keepers) if ranks.first else ()
    tell = on_network or (lambda what, found: None)
    name = f"{cell.row.name} on {cell.net}"
    known = [[place.known(cell, index) for place in places] for index in range(cell.row.count)]
    ready = _ready(known, n, ranks)
    found: dict[Job, Measured] = {}

    def take(job: Job, one: Measured) -> None:
        found[job] = one
        set_index, network_index = job
        for place, held in zip(places, known[set_index], strict=True):
            if network_index not in held:
                place.keep(cell, set_index, network_index, one)

    jobs = [(index, k) for index in range(cell.row.count) for k in range(n)]
    for job in jobs:
        if job in ready:
            take(job, ready[job])
            if tell_known:
                tell(f"{name}, from the cache", ready[job].accuracy)
    for job, one in measure_shared(cell, [job for job in jobs if job not in found], ranks):
        take(job, one)
        tell(name, one.accuracy)
    return [[found[index, k] for k in range(n)] for index in range(cell.row.count)]


def _ready(
    known: Sequence[Sequence[Mapping[int, Measured]]], n: int, ranks: Ranks
) -> dict[Job, Measured]:
    """The networks whose numbers the first rank has found, on every rank."""
    found: dict[Job, Measured] = {}
    for set_index, places in enumerate(known):
        for held in reversed(places):  # the first place counts most
            found |= {(set_index, k): one for k, one in held.items() if k < n}
    if ranks.alone:
        return found
    told = [[*job, one.as_dict()] for job, one in found.items()]
    return {(s, k): Measured.of(one) for s, k, one in ranks.broadcast_object(told)}


def _result(cell: Cell, found: Iterable[Sequence[Measured]]) -> Result:
    row, first = cell.row, cell.row.sets[0] if cell.row.sets else None
    rows = list(found)
    return Result(
        set=row.name,
        recipe=first.method if first else "whole",
        ipc=first.ipc if first else None,
        data=cell.data.name,
        net=cell.net,
        protocol=cell.training.name,
        sets=tuple(tuple(one.accuracy for one in networks) for networks in rows),
        seed=cell.seed,
        stored_bytes=first.stored_bytes if first else cell.data.train.nbytes,
        seconds=sum(one.seconds for networks in rows for one in networks),
        plan=cell.plan.describe(),
        commit=commit(),
    )
