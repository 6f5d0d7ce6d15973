"""Evaluation protocols: how a network is trained on a set before it is tested, to the constant."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import yaml

from condensery import nets as zoo
from condensery.augment.strategy import parse_strategy
from condensery.config.build import make
from condensery.config.recipes import with_cases
from condensery.config.sgd import SGD
from condensery.data import Data
from condensery.errors import UsageError, unknown_name
from condensery.utils.reading import yaml_of


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to train a network: SGD with a stepped rate, and an augmentation."""

    name: str
    """Its name; a changed one says what was changed, such as ``dsa+epochs=300``."""
    about: str = ""
    """Where it comes from."""
    epochs: int = 300
    """Passes over the set."""
    batch: int = 256
    """Images per step."""
    rate: float = 0.01
    """Learning rate at the start."""
    momentum: float = 0.9
    """SGD's momentum."""
    weight_decay: float = 5e-4
    """SGD's weight decay."""
    drops: list[float] = dataclasses.field(default_factory=lambda: [0.5])
    """When the rate drops, as fractions of the epochs."""
    drop_factor: float = 0.1
    """What the rate is multiplied by at each drop."""
    augmentation: Literal[
        "none", "batch_op", "image_op", "sequence", "idc", "idc_cutout", "photos"
    ] = "none"
    """``batch_op``: one op per mini-batch, parameters per image (DSA); ``image_op``: one op per
    image (DC); ``sequence``: every op, parameters per image; ``idc``: flip, colour and one of crop,
    scale and rotate; ``idc_cutout``: the same, then cutout; ``photos``: resized crop, flip,
    colour jitter and lighting."""
    strategy: str = "color_crop_cutout_flip_scale_rotate"
    """The ops that may be drawn."""
    rotate: float = 15.0
    """Largest rotation in degrees."""
    cutmix: float = 0.0
    """Probability of CutMix per mini-batch."""
    fixed_steps: bool = False
    """Whether epochs are divided by the training images that a stored one makes."""
    nets: int = 20
    """Networks per set in the papers."""
    sets: int = 5
    """Sets in the papers."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"a protocol needs at least 1 epoch, got {self.epochs}")
        if self.batch < 1:
            raise UsageError(f"a protocol's batch must be at least 1, got {self.batch}")

    def changed(self, **values: Any) -> Protocol:
        """With other constants, and a name that says so; None leaves a constant as it is."""
        new = {k: v for k, v in values.items() if v is not None and v != getattr(self, k)}
        if not new:
            return self
        parts = unchanged(self.name, *new).split("+") + [f"{k}={v}" for k, v in new.items()]
        order = [f.name for f in dataclasses.fields(self)]  # one name for what is the same
        parts.sort(key=lambda p: order.index(key) if (key := p.partition("=")[0]) in order else -1)
        return dataclasses.replace(self, name="+".join(parts), **new)

    def settled(self, decoded: float) -> Protocol:
        """With the epochs of a set whose stored images make this many training images each."""
        if not self.fixed_steps:
            return self
        return dataclasses.replace(self, epochs=max(1, round(self.epochs / decoded)))

    @property
    def sgd(self) -> SGD:
        """Its optimiser, checked."""
        return SGD.of(self, "protocol: ")

    def rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0.

        >>> [Protocol(name="x", epochs=4).rate_at(e) for e in range(4)]
        [0.01, 0.01, 0.001, 0.001]
        """
        return self.rate_in(epoch, self.epochs)

    def rate_in(self, step: int, steps: int) -> float:
        """Learning rate of a step among so many, which drops at the same fractions of them."""
        passed = sum(step >= round(drop * steps) for drop in self.drops)
        return float(self.rate * self.drop_factor**passed)


def protocol_names() -> list[str]:
    """The protocols that ship with the package."""
    folder = resources.files("condensery.training") / "protocol_files"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def protocol(name: str, facts: Mapping[str, Any]) -> Protocol:
    """A protocol by name, for the data and network at hand.

    Args:
        name: one of :func:`protocol_names`, and what is changed in it: ``dc+augmentation=none``.
        facts: ``data``, ``ipc``, ``size``, ``classes``, ``audio``, ``net`` (its family), ``norm``
            and ``decoded`` (training images that a stored one makes).

    Raises:
        UsageError: for a name, a constant or a value that does not exist.
    """
    base, *changes = name.split("+")
    if base not in protocol_names():
        raise unknown_name("protocol", base, protocol_names())
    text = (resources.files("condensery.training") / "protocol_files" / f"{base}.yaml").read_text(
        "utf-8"
    )
    raw = {"name": base, **with_cases(yaml.safe_load(text), facts)}
    found: Protocol = make(Protocol, raw, "protocol")
    given = dict(change_of(name, change) for change in changes)
    if not given:
        return found
    typed: Protocol = make(Protocol, {**raw, **given}, "protocol")
    _check_ranges(typed)
    if "epochs" in given:  # meant as they are typed
        found = dataclasses.replace(found, fixed_steps=False)
    return found.changed(**{key: getattr(typed, key) for key in given})


def unchanged(name: str, *constants: str) -> str:
    """A protocol's name without what it says of some constants.

    >>> unchanged("dc+epochs=100+augmentation=none", "epochs", "rate")
    'dc+augmentation=none'
    """
    parts = name.split("+")
    return "+".join(part for part in parts if part.partition("=")[0] not in constants)


def change_of(name: str, change: str) -> tuple[str, Any]:
    """A constant and its new value, of a name's part such as ``epochs=100``."""
    key, equals, text = change.partition("=")
    fixed = ("name", "about", "fixed_steps", "nets", "sets")
    known = [f.name for f in dataclasses.fields(Protocol) if f.name not in fixed]
    if not equals or not text:
        raise UsageError(f"protocol '{name}': write an override as +CONSTANT=VALUE, dc+epochs=100")
    if key not in known:
        raise unknown_name("constant of a protocol", key, known)
    try:
        return key, yaml_of(text)
    except ValueError as error:
        raise UsageError(f"protocol '{name}': {text} is not a value of {key}") from error


def checked(given: Mapping[str, Any]) -> Protocol:
    """A protocol of some constants that were typed, and defaults.

    Raises:
        UsageError: for a value that is wrong or out of range.
    """
    found: Protocol = make(Protocol, {"name": "typed", **given}, "protocol")
    _check_ranges(found)
    return found


def _check_ranges(protocol: Protocol) -> None:
    """Raise if a constant is out of range.

    Raises:
        UsageError: naming the constant.
    """
    _ = protocol.sgd
    ranges = {
        "drops": (protocol.drops, all(0 < at < 1 for at in protocol.drops), "between 0 and 1"),
        "drop_factor": (protocol.drop_factor, 0 < protocol.drop_factor <= 1, "above 0, at most 1"),
        "rotate": (protocol.rotate, 0 <= protocol.rotate <= 180, "from 0 to 180"),
        "cutmix": (protocol.cutmix, 0 <= protocol.cutmix <= 1, "from 0 to 1"),
    }
    for name, (value, right, wanted) in ranges.items():
        if not right:
            raise UsageError(f"protocol: {name} must be {wanted}, got {value}")
    parse_strategy(protocol.strategy)


def protocol_for(
    name: str, data: Data, net: str, ipc: int | None, decoded: float = 1.0
) -> Protocol:
    """A protocol for a data set, a network and a budget, which is None for the whole split.

    Args:
        name: of the protocol, with what is changed in it.
        data: the data set.
        net: the network.
        ipc: the budget.
        decoded: training images that a stored one makes.

    Raises:
        UsageError: for a protocol or network that does not exist, or does not fit the images.
    """
    network = zoo.try_out(net, data.train.shape, data.train.classes, embeds=False)
    facts = {
        "data": data.known_as,
        "ipc": math.inf if ipc is None else ipc,
        "size": max(data.train.shape[1:]),
        "classes": data.train.classes,
        "audio": data.rate is not None,
        "net": re.split(r"[\d:]", net)[0],
        "decoded": decoded,
        "norm": "batch" if zoo.has_batch_norm(network) else "other",
    }
    return protocol(name, facts)
