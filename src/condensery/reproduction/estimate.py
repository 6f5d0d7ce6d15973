"""How long a reproduction may take, from the time of a pass here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from condensery.condensation.configure import passes_of
from condensery.config.build import Choices
from condensery.data import Data
from condensery.runtime.plan import default_device, default_threads
from condensery.sets.places import FILE
from condensery.training.timing import pass_seconds
from condensery.training.whole_split import whole_schedule

from . import Experiment
from .outcome import protocol_of
from .sets import configuration, folders_of
from .verdict import Amount

#: Images of a pass whose time stands for condensing and testing.
_PASS = 64


@dataclass(frozen=True)
class Estimate:
    """Seconds of condensing, by set, and of training and testing networks."""

    condensing: dict[Path, float]
    testing: float


def estimate(
    experiment: Experiment,
    amount: Amount,
    data: Data,
    out: Path,
    *,
    device: str | None = None,
    threads: int | None = None,
) -> Estimate:
    """How long an experiment may take in plain float32 passes; what already exists is free.

    Compiled passes and bfloat16 are faster, augmentation takes some more. Selections that train a
    network first are not counted.
    """
    shape, classes = data.train.shape, data.train.classes
    where = (device or default_device(), threads or default_threads())

    def seconds(net: str, images: int) -> float:
        return pass_seconds(net, shape, classes, images, *where)

    condensing: dict[Path, float] = {}
    made = len(data.train)
    epochs, batch = 0, 1
    if experiment.kind == "whole":
        base = protocol_of(experiment, Amount(), data, 1.0)
        schedule = whole_schedule(base, made, amount.epochs).protocol
        epochs, batch = schedule.epochs, schedule.batch
    else:
        decoded = 1
        if experiment.kind == "condense":
            config = configuration(experiment, amount, data)
            choices = Choices.of(config)
            decoded = choices.formation.decoded(config.ipc)
            through = str(config.supply.settings.get("net", data.net))
            once = (
                passes_of(data.train.counts, config, choices) * seconds(through, _PASS) / _PASS / 3
            )
            waiting = [f for f in folders_of(experiment, amount, data, out) if _waits(f)]
            condensing = dict.fromkeys(waiting, once)
            decoded = decoded / config.ipc
        assert experiment.ipc is not None
        made = round(experiment.ipc * decoded) * classes
        protocol = protocol_of(experiment, amount, data, decoded)
        epochs, batch = protocol.epochs, protocol.batch
    training = epochs * math.ceil(made / batch) * seconds(experiment.net, min(made, batch))
    checking = len(data.test) * seconds(experiment.net, _PASS) / _PASS / 3
    networks = amount.sets_of(experiment) * amount.nets_of(experiment)
    return Estimate(condensing, networks * (training + checking))


def _waits(folder: Path) -> bool:
    return not (folder / FILE).exists()
