"""What the queue works through, in order: the papers' rows, few networks first, then all."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

#: Sets and networks of the first pass, where the papers have 5 × 20.
SETS, NETS = 1, 20
#: A job may take so many times what it was estimated at, and two minutes in any case.
_PATIENCE, _SHORTEST = 4.0, 120.0
_SELECTIONS = ("random", "herding", "k_center", "forgetting")
#: Flags that say where a job runs, and nothing about its result.
_PLACES = ("--out", "--json", "--device")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One entry: commands that make one result."""

    name: str
    """Unique; the row's address where there is one."""
    commands: tuple[tuple[str, ...], ...]
    """Arguments of the command, one after the other; ``{work}``, ``{json}`` and ``{device}`` are
    filled in. The last one writes the numbers."""
    group: str
    """What ``--only`` may name besides the job's own name."""
    seconds: float
    """Rough estimate, on one GPU."""
    limit_s: float
    """Seconds after which it is stopped; what it has is kept, and the next visit goes on."""
    row: tuple[str, str] | None = None
    """Table and row where it reproduces one."""
    data: str = "digits"
    """Data set, so that it is decoded before."""
    makes: str = ""
    """What the job writes and others may write too, so that one of them runs at a time."""
    sets: int = 1
    """How many of these."""

    def argv(self, work: str, answer: str, device: str) -> list[list[str]]:
        """Its commands with the places filled in."""
        places = {"{work}": work, "{json}": answer, "{device}": device}

        def filled(word: str) -> str:
            for name, value in places.items():
                word = word.replace(name, value)
            return word

        return [[filled(word) for word in one] for one in self.commands]

    def key(self, device: str) -> str:
        """16 digits that name the result: commands, the row's recipe and protocol, kind of device.

        Where a job runs, its name and its limit are not in it.
        """
        commands = [_without_places(one) for one in self.commands]
        recipe = experiment(*self.row).as_dict() if self.row else None
        facts = {"commands": commands, "recipe": recipe, "device": device.partition(":")[0]}
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_places(argv: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _PLACES:
            next(words)
        else:
            out.append(word)
    return out


def _public(name: str, *modules: str) -> Callable[..., Any]:
    """A function out of the first of these modules that has it."""
    for module in modules:
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
        return found
    raise ImportError(f"none of {', '.join(modules)} has {name}")


def published_row(table: str, name: str) -> Any:
    """The published row of that name."""
    find = _public("find", "condensery.published", "condensery.reproduction.published")
    return find(table, name)


def experiment(table: str, name: str) -> Any:
    """What is run for a row.

    Raises:
        ValueError: when nothing is.
    """
    mapped = _public("experiment_of", "condensery.reproduction", "condensery.reproduction.mapping")
    found = mapped(published_row(table, name))
    if not hasattr(found, "overrides"):
        raise ValueError(f"{table}/{name} cannot be run: {found.reason}")
    return found


def jobs() -> tuple[Job, ...]:
    """The list, in order."""
    few = [*_mnist(), *_cifar10()]
    best = [_best("cifar10", ipc, 400) for ipc in (10, 1, 50)]
    best += [_best("mnist", ipc, 250) for ipc in (1, 10)]
    return (*few, *best, *_with_the_papers_numbers(few), *_applications())


def _mnist() -> Iterator[Job]:
    for name in ("gm_inter", "gm_interleaved", "gm_m"):
        yield _row("gm/table1", f"mnist/1/{name}", 90, nets=None)
    for name in ("gm_m", "gm_md"):  # the paper has MDO and MDA from ten images a class on
        yield _row("gm/table3", f"mnist/1/{name}", 90, nets=None)
    yield _row("dc/table1", "mnist/1/dc", 150, nets=None)
    for ipc in (1, 10):
        for name in _SELECTIONS:
            yield _row("dc/table1", f"mnist/{ipc}/{name}", 40)
    yield _row("dm/table1", "mnist/10/dm", 180)
    yield _row("dm/table1", "mnist/1/dm", 150)
    yield _row("dc/table1", "mnist/10/dc", 400)
    yield _with_momentum("mnist", 400)
    yield _row("gm/table3", "mnist/10/gm_mda", 300)
    yield _row("gm/table3", "mnist/10/gm_mdo", 300)
    yield _row("cafe/table1", "mnist/1/cafe", 180)
    yield _row("idc/table10", "mnist/1/idc", 900, limit_s=240, nets=None)
    for train in ("convnet3", "lenet", "mlp", "alexnet", "vgg11", "resnet18"):
        for test in ("mlp", "convnet3", "lenet", "alexnet", "vgg11", "resnet18"):
            yield _row("dc/table2", f"mnist/1/dc/test_net={test},train_net={train}", 90)
    norms = ("instance", "none", "batch", "layer", "group")
    for train in norms:
        for test in norms:
            yield _row("dc/tableT5", f"mnist/1/dc/synth_norm={train},norm={test}", 60)
    for train_depth in (3, 1, 2, 4):
        for test_depth in (1, 2, 3, 4):
            name = f"test_net=convnet{test_depth},train_net=convnet{train_depth}"
            yield _row("dc/tableT6", f"mnist/1/dc/{name}", 60)
    for width in (128, 32, 64, 256):
        for tested in (32, 64, 128, 256):
            yield _row("dc/tableT7", f"mnist/1/dc/synth_width={width},cls_width={tested}", 60)


def _cifar10() -> Iterator[Job]:
    for name in ("gm_inter", "gm_interleaved", "gm_m"):
        yield _row("gm/table1", f"cifar10/1/{name}", 120)
    for name in ("gm_m", "gm_md"):
        yield _row("gm/table3", f"cifar10/1/{name}", 120)
    yield _row("dc/table1", "cifar10/1/dc", 90)
    for ipc in (1, 10):
        for name in _SELECTIONS:
            yield _row("dc/table1", f"cifar10/{ipc}/{name}", 60)
    yield _row("dm/table1", "cifar10/10/dm", 240)
    yield _row("dm/table1", "cifar10/1/dm", 180)
    yield _row("dc/table1", "cifar10/10/dc", 500)
    yield _with_momentum("cifar10", 500)
    yield _row("gm/table3", "cifar10/10/gm_mda", 400)
    yield _row("cafe/table1", "cifar10/1/cafe", 240)
    yield _row("idc/table10", "cifar10/1/idc", 900, limit_s=240, nets=None)


def _row(
    table: str,
    name: str,
    seconds: float,
    *,
    limit_s: float | None = None,
    nets: int | None = NETS,
) -> Job:
    """A published row by a part of the paper's sets and networks; None for the paper's own."""
    found = experiment(table, name)
    sets = min(SETS, found.sets)
    amount = () if nets is None else ("--sets", str(sets), "--nets", str(min(nets, found.nets)))
    made = [found.data, found.method, found.ipc, sorted(found.overrides.items()), found.zca]
    # Selections of all kinds take the same trained networks.
    shared = f"selections of {found.data}" if found.kind == "select" else f"{made}"
    return Job(
        name=f"{table}/{name}",
        commands=(_reproduce(table, name, *amount),),
        group=f"{table}/{found.data}/{found.ipc}",
        seconds=seconds,
        limit_s=_limit(seconds) if limit_s is None else limit_s,
        row=(table, name),
        data=found.data,
        makes=shared,
        sets=sets if nets is not None else found.sets,
    )


def _reproduce(table: str, name: str, *amount: str) -> tuple[str, ...]:
    places = ("--device", "{device}", "--out", "{work}/reproduce", "--json", "{json}")
    return ("reproduce", table, "--row", name, *amount, *places)


def _limit(seconds: float) -> float:
    return max(_SHORTEST, _PATIENCE * seconds)


def _with_the_papers_numbers(few: list[Job]) -> Iterator[Job]:
    """The same rows by as many sets and networks as the paper's; what is there is taken."""
    for job in few:
        if job.row is None or "--nets" not in job.commands[0]:
            continue
        found = experiment(*job.row)
        seconds = job.seconds * found.sets * found.nets / (job.sets * NETS)
        yield dataclasses.replace(
            job,
            name=f"{job.name}@paper",
            commands=(_reproduce(*job.row),),
            seconds=seconds,
            limit_s=_limit(seconds),
            sets=found.sets,
        )


def _with_momentum(data: str, seconds: float) -> Job:
    """DC at ten images a class, its networks trained with momentum: no paper has a row of it."""
    name = f"{data}-dc-ipc10-momentum0.5"
    run = f"{{work}}/runs/{name}"
    made = ("condense", "--recipe", "dc", "--data", data, "--ipc", "10")
    networks = ("--supply.net", "convnet3", "--supply.momentum", "0.5")
    tested = ("evaluate", run, "--protocol", "dc", "--net", "convnet3", "--nets", str(NETS))
    return Job(
        name=f"momentum/{name}",
        commands=(
            (*made, *networks, "--device", "{device}", "--out", run),
            (*tested, "--device", "{device}", "--json", "{json}"),
        ),
        group=f"momentum/{data}/10",
        seconds=seconds,
        limit_s=_limit(seconds),
        data=data,
        makes=name,
    )


def _best(data: str, ipc: int, seconds: float) -> Job:
    """Recipe ``best`` through a pool of its own, as long as the papers that it follows."""
    name = f"{data}-best-ipc{ipc}"
    run, pool = f"{{work}}/runs/{name}", f"{{work}}/pools/{data}-best"
    marks = ("0.1", "0.2", "0.3", "0.5", "0.75", "1", "1.5", *map(str, range(2, 21)))
    kept = ("--count", "2", "--epochs", "20", "--snapshots", *marks)
    how = ("--rate", "0.05", "--batch", "128", "--held-out", "0.02")
    through = ("--supply.kind", "pool", "--supply.path", pool, "--supply.ahead", "6")
    made = ("condense", "--recipe", "best", "--data", data, "--ipc", str(ipc))
    length = ("--iterations", "10000", "--optimizer.falls_until", "10000")
    tested = ("evaluate", run, "--protocol", "idc", "--net", "convnet3", "resnet10", "--nets", "3")
    return Job(
        name=f"best/{name}",
        commands=(
            ("pool", "--data", data, *kept, *how, "--device", "{device}", "--out", pool),
            (*made, *through, *length, "--device", "{device}", "--out", run),
            (*tested, "--device", "{device}", "--json", "{json}"),
        ),
        group=f"best/{data}/{ipc}",
        seconds=seconds,
        limit_s=_limit(seconds),
        data=data,
        makes=f"{data}-best",
    )


def _applications() -> Iterator[Job]:
    """Uses of sets at the papers' amounts, which take hours on CPUs."""
    methods = ("random", "herding", "dm", "dm_mf")
    for strategy in ("gdumb", "distil"):
        amount = ("--steps", "5", "--memory", "10", "--strategy", strategy, "--full")
        yield _application("continual", strategy, (*amount, "--methods", *methods), 5400)
    amount = ("--sample", "100", "--repeats", "1", "--whole-epochs", "30", "--full")
    proxies = ("--proxies", "random", "dm", "early_stopping")
    yield _application("search", "100", (*amount, *proxies), 7200)


def _application(command: str, what: str, amount: tuple[str, ...], seconds: float) -> Job:
    """One on CIFAR-10; it goes on where it was stopped."""
    places = ("--device", "{device}", "--out", f"{{work}}/runs/{command}", "--json", "{json}")
    return Job(
        name=f"{command}/cifar10-{what}",
        commands=((command, "--data", "cifar10", *amount, *places),),
        group=f"applications/{command}",
        seconds=seconds,
        limit_s=_limit(seconds),
        data="cifar10",
        makes=f"{command} of cifar10",
    )


def tiny(job: Job) -> Job:
    """The same job as a dry run: embedded data, an iteration or two, one network, two epochs."""
    return dataclasses.replace(
        job,
        commands=tuple(_tiny(one) for one in job.commands),
        data="digits",
        limit_s=min(job.limit_s, 30.0),
        sets=1,
    )


def _tiny(argv: tuple[str, ...]) -> tuple[str, ...]:
    if argv[0] == "pool":  # its snapshots are beyond an epoch
        small = ("--data", "digits", "--count", "1", "--epochs", "1", "--device", "{device}")
        return ("pool", *small, "--out", argv[-1])
    short: dict[str, tuple[str, ...]] = {
        "reproduce": ("--data", "digits", "--scale", "0.0001", "--sets", "1"),
        "condense": ("--data", "digits", "--iterations", "1"),
        "evaluate": (),
        "continual": ("--data", "digits", "--iterations", "1", "--seeds", "1", "--steps", "2"),
        "search": ("--data", "digits", "--iterations", "1", "--sample", "2", "--repeats", "1"),
    }
    networks = {"condense": (), "search": ("--epochs", "1", "--whole-epochs", "1")}
    tested = networks.get(argv[0], ("--nets", "1", "--epochs", "2"))
    less = (*short[argv[0]], *tested)
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in less and word.startswith("--"):
            next(words)
        else:
            kept.append(word)
    return (*kept, *less)
