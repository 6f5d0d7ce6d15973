"""One cell of a table: resolved and tried, and its networks trained, tested and kept."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condensery import nets as zoo
from condensery.data import Data
from condensery.errors import UsageError
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan, choose_plan, passes_in
from condensery.runtime.provenance import commit
from condensery.runtime.randomness import stream
from condensery.training import whole_split as whole
from condensery.training.protocol import protocol_for
from condensery.utils.progress import Progress

from .cache import Keeper, KeptCells
from .cell import Cell, Job, Measured, code_of
from .confusion import added
from .evaluator import measure_shared
from .plan import evaluation_plan
from .result import Result
from .rows import Row

#: Called after each network: what was tested, its accuracy.
OnNetwork = Callable[[str, float], None]
#: Called while a network is trained: something that tells it from others, how far it is in words,
#: and from 0 to 1; 0 once it is finished.
OnPart = Callable[[object, str, float], None]

#: Networks per set; the papers average over 100 in all.
_MOST_NETWORKS = 100_000
#: Plans are made for this many networks, so that no number depends on how many are requested.
_USUAL_NETWORKS = 5


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
    minutes: float | None = None
    """Time for the whole table."""
    confusion: bool = False
    """Whether networks also say which classes they take for which."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"at least 1 network is needed (--nets), got {self.n}")
        if self.n > _MOST_NETWORKS:
            raise UsageError(f"--nets must be at most {_MOST_NETWORKS}, got {self.n}")
        stream(self.seed, "checked")  # raises for a seed that no draw can have


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
    whole_passes = _USUAL_NETWORKS * (3.0 * images * training.epochs + len(data.test))
    passes = passes_in(how.minutes, whole_passes, shape, how.threads)
    where: dict[str, Any] = {"device": how.device, "threads": how.threads}
    plan = choose_plan(how.plan, shape=shape, images=passes, **where)
    code = code_of(network)
    cell = Cell(row, data, net, code, protocol, training, schedule, plan, how.seed)
    steps = _USUAL_NETWORKS * training.epochs * math.ceil(images / training.batch)
    steps = math.ceil(steps * passes / whole_passes)
    plan = evaluation_plan(cell, how.plan, network, passes, steps)
    return dataclasses.replace(cell, plan=plan, confusion=how.confusion)


def keepers_of(cell: Cell, store: Keeper | None = None) -> list[Keeper]:
    """Where the numbers of a cell are looked for, and kept: those of whole splits for all uses."""
    own: list[Keeper] = [] if store is None else [store]
    return [*own, KeptCells(whole.cache(), strict=False)] if cell.row.whole else own


def shown_by(
    bar: Progress, on_network: OnNetwork | None = None
) -> dict[str, OnNetwork | OnPart | None]:
    """``on_network`` and ``on_part`` that a bar shows; a quiet one asks for no epochs.

    Args:
        bar: counts networks.
        on_network: called as well.
    """

    def tell(what: str, found: float) -> None:
        bar.advance(f"{found:.1f} %: {what}")  # a narrow terminal shows the beginning
        if on_network is not None:
            on_network(what, found)

    def part(key: object, where: str, share: float) -> None:
        bar.within(where, share, key)

    return {"on_network": tell, "on_part": None if bar.quiet else part}


def known_networks(cells: Sequence[Cell], n: int, store: Keeper | None) -> int:
    """Networks that need no training, because their accuracy is known or will be by then.

    Args:
        cells: of a table.
        n: networks per set.
        store: where they are looked for.
    """
    found, before = 0, set[str]()
    for cell in cells:
        keepers = keepers_of(cell, store)
        for number in range(cell.row.count):
            same = json.dumps(cell.facts(number), sort_keys=True)
            kept = [keeper.known(cell, number) for keeper in keepers]
            ready = {k for known in kept for k in known if k < n}
            # The same set under another name is trained on once.
            found += n if keepers and same in before else len(ready)
            before.add(same)
    return found


def run_cell(
    cell: Cell,
    n: int,
    *,
    keepers: Sequence[Keeper] | None = None,
    on_network: OnNetwork | None = None,
    on_part: OnPart | None = None,
    tell_known: bool = True,
    ranks: Ranks = ALONE,
) -> Result:
    """The accuracies of n networks on each of a row's sets; those that are known are taken.

    Where ranks share the work, the first one looks for numbers and keeps them.

    Args as of :func:`measured`.
    """
    how: dict[str, Any] = {"keepers": keepers, "on_network": on_network, "ranks": ranks}
    how["on_part"] = on_part
    return _result(cell, measured(cell, n, tell_known=tell_known, **how))


def measured(
    cell: Cell,
    n: int,
    *,
    keepers: Sequence[Keeper] | None = None,
    on_network: OnNetwork | None = None,
    on_part: OnPart | None = None,
    tell_known: bool = True,
    ranks: Ranks = ALONE,
) -> list[list[Measured]]:
    """What n networks on each of a row's sets come to, set by set; those known are taken.

    Args:
        cell: what is trained and tested.
        n: networks per set.
        keepers: where numbers are looked for and kept; every one of them gets what it lacks.
        on_network: called after each network.
        on_part: called now and then while one is trained.
        tell_known: whether it is called for those that are known as well.
        ranks: those that share the networks.
    """
    places = (keepers_of(cell) if keepers is None else keepers) if ranks.first else ()
    tell, part = on_network or (lambda what, found: None), on_part or (lambda *_: None)
    epochs = cell.training.epochs
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

    def on_epoch(job: Job, done: int) -> None:
        part((cell, job), f"epoch {done}/{epochs}", done / epochs)

    missing = [job for job in jobs if job not in found]
    for job, one in measure_shared(cell, missing, ranks, on_epoch if on_part else None):
        take(job, one)
        part((cell, job), "", 0.0)
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
        confusion=added([one.confusion for networks in rows for one in networks])
        if cell.confusion
        else (),
    )
