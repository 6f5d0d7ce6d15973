"""What the networks of a published row reach here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from condensery.data import Data, load
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of, keepers_of, run_cell
from condensery.training.protocol import Protocol, protocol_for
from condensery.utils.progress import Progress

from . import Experiment
from .originals import contents
from .published import Published
from .sets import Made, made_sets, plain_name
from .settings import ReproductionSettings
from .verdict import Amount

#: By fingerprints: the rows of a table are on the same data.
_contents: dict[tuple[str, str], dict[str, str]] = {}


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
    """ReproductionSettings networks were trained."""
    made: tuple[Made, ...] = ()
    """The sets; none for the whole training split."""
    iterations: int | None = None
    """Outer iterations of each set."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """What the data held, by split, in any order: :mod:`condensery.reproduction.originals`."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Of both splits as they were used: in their order, and whitened where they were."""


def contents_for(experiment: Experiment, amount: Amount) -> dict[str, str]:
    """What the data of an experiment, or those in their place, hold before any whitening."""
    data = load(amount.data or experiment.data, **amount.reading)
    key = (data.train.fingerprint, data.test.fingerprint)
    if key not in _contents:
        _contents[key] = contents(data)
    return dict(_contents[key])


def protocol_of(experiment: Experiment, amount: Amount, data: Data, decoded: float) -> Protocol:
    """The protocol of an experiment, with the epochs that were requested."""
    found = protocol_for(experiment.protocol, data, experiment.net, experiment.ipc, decoded)
    return found.settled(decoded).changed(epochs=amount.epochs)


def outcome(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> Outcome:
    """Make the sets of an experiment and test them; what already exists is taken.

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
    asked = EvaluationSettings(nets, epochs, amount.seed, how.plan, how.device, how.threads)
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
            on_network=lambda what, accuracy: progress.advance(f"{accuracy:.1f} %: {what}"),
            tell_known=False,
            ranks=how.ranks,
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


def result_name(row: Published, experiment: Experiment, amount: Amount) -> Path:
    """Where the result of a row lies among results: a file for each way in which it was run."""
    departures = {
        "data": amount.data if amount.data != experiment.data else None,
        "layout": amount.layout,
        "range": amount.value_range,
        "scale": f"{amount.scale:g}" if amount.scale_of(experiment) != 1 else None,
        "sets": amount.sets if amount.sets_of(experiment) != experiment.sets else None,
        "nets": amount.nets if amount.nets_of(experiment) != experiment.nets else None,
        "epochs": amount.epochs,
        "seed": amount.seed or None,
    }
    tags = [f"{name}={value}" for name, value in departures.items() if value is not None]
    return Path(row.paper, row.table, f"{plain_name('+'.join([row.name, *tags]))}.json")
