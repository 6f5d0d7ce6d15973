"""Published rows run again: sets are made, tested as the paper did, and compared."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from condensery.condensation.configure import configure, plan_for
from condensery.condensation.run_folder import RunFolder
from condensery.condensation.runner import carry_out
from condensery.config.schema import RunConfig
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.rows import Row
from condensery.evaluation.run import How as Asked
from condensery.evaluation.run import cell_of, keepers_of, run_cell
from condensery.selection import select
from condensery.sets.condensed import FILE, CondensedSet, set_file
from condensery.training.protocol import Protocol, protocol_for
from condensery.utils.facts import note_facts
from condensery.utils.files import LONG_AGO, remove_leftovers, write_text
from condensery.utils.progress import Progress

from . import Experiment
from .originals import contents
from .published import Published
from .verdict import Amount

#: By fingerprints: the rows of a table are on the same data.
_contents: dict[tuple[str, str], dict[str, str]] = {}


@dataclass(frozen=True, kw_only=True)
class How:
    """Where and how a reproduction runs."""

    out: Path
    """Its folder: ``sets/``, ``tested/`` and ``results/``."""
    plan: str = "auto"
    """Execution plan."""
    device: str | None = None
    """Torch device."""
    threads: int | None = None
    """CPU threads."""
    quiet: bool = False
    """Whether nothing is said."""
    say: Callable[[str], None] = print
    """What prints a line."""


@dataclass(frozen=True)
class Made:
    """A set on disk."""

    folder: Path
    """Its run folder."""
    condensed: CondensedSet
    """The set."""

    @property
    def digest(self) -> str:
        """SHA-256 of its file."""
        return hashlib.sha256(set_file(self.folder).read_bytes()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What a row's networks reached."""

    accuracies: tuple[tuple[float, ...], ...]
    """In percent, set by set."""
    protocol: str
    """Protocol, with what was changed in it."""
    seconds: float
    """Time that testing took."""
    plan: str
    """How networks were trained."""
    made: tuple[Made, ...] = ()
    """The sets; none for the whole training split."""
    iterations: int | None = None
    """Outer iterations of each set."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """What the data held, by split, in any order: :mod:`condensery.reproduction.originals`."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of both splits as they were used: in their order, and whitened where they were."""


def scaled(config: RunConfig, scale: float) -> RunConfig:
    """A configuration whose schedule is shorter: its iterations, and where its rate drops.

    What happens within an outer iteration stays. One iteration is the least.

    Args:
        config: the whole schedule.
        scale: what it is multiplied by, 0 < scale ≤ 1.
    """
    if scale == 1:
        return config
    drops = [max(1, round(drop * scale)) for drop in config.optimizer.drops]
    return dataclasses.replace(
        config,
        iterations=max(1, round(config.iterations * scale)),
        optimizer=dataclasses.replace(config.optimizer, drops=drops),
    )


def load_for(experiment: Experiment, amount: Amount) -> Data:
    """The data of an experiment, or those that take their place."""
    return load(amount.data or experiment.data, zca=experiment.zca)


def contents_for(experiment: Experiment, amount: Amount) -> dict[str, str]:
    """What the data of an experiment, or those in their place, hold before any whitening."""
    data = load(amount.data or experiment.data)
    key = (data.train.fingerprint, data.test.fingerprint)
    if key not in _contents:
        _contents[key] = contents(data)
    return dict(_contents[key])


def configuration(experiment: Experiment, amount: Amount, data: Data) -> RunConfig:
    """The configuration of an experiment's first set."""
    fields = {"ipc": experiment.ipc, "seed": amount.seed, **experiment.overrides}
    if experiment.zca:
        fields["zca"] = True
    return scaled(configure(data, experiment.method, fields), amount.scale_of(experiment))


def folders_of(experiment: Experiment, amount: Amount, data: Data, out: Path) -> list[Path]:
    """Where the sets of an experiment lie: rows that differ in their test alone share them."""
    over = dict(experiment.overrides)
    if over.get("supply.net") == data.net:
        del over["supply.net"]  # the data's own
    scale = amount.scale_of(experiment)
    parts = [data.name, experiment.method, f"ipc{experiment.ipc}"]
    parts += [f"{name}={value}" for name, value in over.items()]
    parts += ["zca"] if experiment.zca else []
    parts += [f"scale={scale:g}"] if scale != 1 else []
    home = out / "sets" / plain_name("-".join(parts))
    seeds = range(amount.seed, amount.seed + amount.sets_of(experiment))
    return [home / str(seed) for seed in seeds]


def plain_name(text: str) -> str:
    """A name as a file's or folder's.

    >>> plain_name("mnist/1/dc/test_net=mlp,d1+100*d4")
    'mnist-1-dc-test_net=mlp,d1+100_d4'
    """
    return re.sub(r"[^\w.=,+-]", "_", text.replace("/", "-"))


def made_sets(experiment: Experiment, amount: Amount, data: Data, how: How) -> list[Made]:
    """The sets of an experiment, each condensed or selected where it is not there yet.

    Raises:
        Interrupted: when a signal asked to stop; what is there is gone on from.
    """
    folders = folders_of(experiment, amount, data, how.out)
    if experiment.kind == "select":
        return [_selected(experiment, data, folder, how) for folder in folders]
    config = configuration(experiment, amount, data)
    out = []
    for number, folder in enumerate(folders):
        one = dataclasses.replace(config, seed=config.seed + number)
        which = f"set {number + 1} of {len(folders)}"
        out.append(_condensed(one, data, RunFolder(folder), how, which))
    return out


def _selected(experiment: Experiment, data: Data, folder: Path, how: How) -> Made:
    assert experiment.ipc is not None
    seed = int(folder.name)
    if (folder / FILE).exists():
        chosen = CondensedSet.load(folder)
    else:
        how.say(f"selecting {experiment.ipc} images a class, {experiment.method}: {folder}")
        chosen = select(
            data,
            experiment.method,
            ipc=experiment.ipc,
            seed=seed,
            plan=how.plan,
            device=how.device,
            threads=how.threads,
        )
    about = chosen.about
    wanted = (experiment.method, experiment.ipc, seed, data.train.fingerprint)
    if (about.method, about.ipc, about.seed, about.source.fingerprint) != wanted:
        raise UsageError(f"{folder} holds another selection; choose another --out")
    if not (folder / FILE).exists():
        text = yaml.safe_dump({**about.config, "data": data.spec})
        remove_leftovers(folder, older_than=LONG_AGO)
        write_text(folder / "recipe.yaml", text)
        chosen.save(folder)
    return Made(folder, chosen)


def _condensed(config: RunConfig, data: Data, folder: RunFolder, how: How, which: str) -> Made:
    status = folder.status(config)
    if status != "new":
        folder.check_data(data)
    if status == "finished":
        return Made(folder.path, CondensedSet.load(folder.path))
    plan = folder.plan() if status == "unfinished" else None
    if plan is None:
        plan = plan_for(data, config, how.plan, how.device, how.threads)
    verb = "continuing" if folder.checkpoints.files else "condensing"
    how.say(f"{verb} {which}: {config.iterations} iterations, seed {config.seed}; {folder.path}")
    how.say(f"plan: {plan.describe()}")
    return Made(folder.path, carry_out(data, config, plan, folder, quiet=how.quiet))


def protocol_of(experiment: Experiment, amount: Amount, data: Data, decoded: float) -> Protocol:
    """The protocol of an experiment, with the epochs that were asked for."""
    found = protocol_for(experiment.protocol, data, experiment.net, experiment.ipc)
    return found.settled(decoded).changed(epochs=amount.epochs)


def outcome(experiment: Experiment, amount: Amount, data: Data, how: How) -> Outcome:
    """Make the sets of an experiment and test them; what is there already is taken.

    Raises:
        Interrupted: when a signal asked to stop.
    """
    made = () if experiment.kind == "whole" else tuple(made_sets(experiment, amount, data, how))
    nets = amount.nets_of(experiment)
    if made:
        row, epochs = (
            Row.named(experiment.method, [one.condensed for one in made], data),
            amount.epochs,
        )
    else:  # under a schedule of its own, which has epochs of its own
        row, epochs = Row("whole", (), amount.epochs or 0), None
    asked = Asked(nets, epochs, amount.seed, how.plan, how.device, how.threads)
    cell = cell_of(row, data, experiment.net, experiment.protocol, asked)
    keepers = keepers_of(cell, KeptCells(how.out / "tested"))
    known = sum(
        len({k for place in keepers for k in place.known(cell, number) if k < nets})
        for number in range(row.count)
    )
    with Progress(nets * row.count, "networks", quiet=how.quiet, done=known) as progress:
        found = run_cell(
            cell,
            nets,
            keepers=keepers,
            on_network=lambda what, accuracy: progress.advance(f"{what}: {accuracy:.1f} %"),
            tell_known=False,
        )
    condensed = made and experiment.kind == "condense"
    return Outcome(
        accuracies=found.sets,
        protocol=found.protocol,
        seconds=found.seconds,
        plan=found.plan,
        made=made,
        iterations=made[0].condensed.about.iterations if condensed else None,
        contents=contents_for(experiment, amount),
        fingerprints={"train": data.train.fingerprint, "test": data.test.fingerprint},
    )


def condensing_facts(made: Sequence[Made]) -> dict[str, Any]:
    """When and by what the sets were condensed, from their run folders."""
    held = [note_facts(one.folder) for one in made]
    plans = {str(one["plan"]["name"]) for one in held if isinstance(one.get("plan"), dict)}
    return {
        "seconds": round(sum(float(one.get("seconds", 0.0)) for one in held), 1),
        "commits": sorted({str(one["commit"]) for one in held if one.get("commit")}),
        "plans": sorted(plans),
    }


def result_name(row: Published, experiment: Experiment, amount: Amount) -> Path:
    """Where the result of a row lies among results: a file for each way in which it was run."""
    departures = {
        "data": amount.data if amount.data != experiment.data else None,
        "scale": f"{amount.scale:g}" if amount.scale_of(experiment) != 1 else None,
        "sets": amount.sets if amount.sets_of(experiment) != experiment.sets else None,
        "nets": amount.nets if amount.nets_of(experiment) != experiment.nets else None,
        "epochs": amount.epochs,
        "seed": amount.seed or None,
    }
    tags = [f"{name}={value}" for name, value in departures.items() if value is not None]
    return Path(row.paper, row.table, f"{plain_name('+'.join([row.name, *tags]))}.json")
