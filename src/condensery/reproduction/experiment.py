"""What is run for a published row, and what the rows' settings are read with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .published import Published


@dataclass(frozen=True, kw_only=True)
class Use:
    """An application of sets."""

    command: Literal["adapt", "continual", "search"]
    """What carries it out."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its settings besides methods and budget."""
    needs: tuple[str, ...] = ()
    """Data sets beside the one that is tested on."""
    size: int | None = None
    """Side in pixels that images are brought to."""
    channels: int | None = None
    """Channels that they are brought to."""

    def describe(self) -> str:
        """One line."""
        told = [f"{name.replace('_', ' ')} {value}" for name, value in self.settings.items()]
        return " ".join([self.command, *[f"from {name}" for name in self.needs], *told])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "settings": dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is run for a published accuracy."""

    data: str
    """Data set."""
    kind: Literal["condense", "select", "whole"]
    """Whether sets are condensed, selected, or the whole training split is taken."""
    method: str
    """Name of the recipe or of the selection; ``whole``."""
    ipc: int | None
    """Images a class; None for the whole training split."""
    net: str
    """Network that is trained and tested."""
    protocol: str
    """How it is trained."""
    sets: int
    """Sets that the paper made."""
    nets: int
    """Networks that the paper trained on each."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Settings on top of the recipe, dotted."""
    zca: bool = False
    """Whether the images are whitened."""
    assumptions: tuple[str, ...] = ()
    """What the paper does not say, and what is done."""
    use: Use | None = None
    """What the sets are put to, where networks are not just trained on them."""

    @property
    def needs(self) -> tuple[str, ...]:
        """All data sets that have to be there."""
        return (self.data, *(self.use.needs if self.use else ()))

    @property
    def made(self) -> str:
        """What makes the sets, as ``condense``, ``select`` and ``evaluate`` take it."""
        if self.kind != "condense":
            return f"select {self.method}" if self.kind == "select" else "whole"
        typed = (f"--{name} {value}" for name, value in self.overrides.items())
        return " ".join([f"--recipe {self.method}", *typed, *(["--zca"] if self.zca else [])])

    def describe(self) -> str:
        """One line.

        >>> from condensery.reproduction.published import find
        >>> from . import experiment_of
        >>> experiment_of(find("dc/table1", "mnist/1/random")).describe()
        'select random; convnet3, protocol dc, 5 × 20'
        """
        counts = f"{self.sets} × {self.nets}"
        if self.use is not None:
            return f"{self.use.describe()}: {self.made}; {self.net}, {counts}"
        return f"{self.made}; {self.net}, protocol {self.protocol}, {counts}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "data": self.data,
            "kind": self.kind,
            "method": self.method,
            "ipc": self.ipc,
            "net": self.net,
            "protocol": self.protocol,
            "sets": self.sets,
            "nets": self.nets,
            "overrides": dict(self.overrides),
            "zca": self.zca,
            "assumptions": list(self.assumptions),
            **({"use": self.use.as_dict()} if self.use else {}),
        }


@dataclass(frozen=True)
class Unmapped:
    """Why nothing is run for a row."""

    status: Literal["not accuracy", "no recipe"]
    """``not accuracy`` for times, sizes and the like; ``no recipe`` for everything else."""
    reason: str
    """In some words."""


class NoRecipeError(Exception):
    """A row that cannot be mapped; the message is the reason."""


class Settings:
    """The settings of a row, each of which has to be understood.

    A wrong mapping is worse than none: what is left when a row has been read makes it unmapped.
    """

    def __init__(self, row: Published) -> None:
        self._left = dict(row.setting)

    def drop(self, *keys: str) -> None:
        """Keys that describe a row and change nothing."""
        for key in keys:
            self._left.pop(key, None)

    def take(self, key: str, default: str = "") -> str:
        """The value of a key, which is understood from now on."""
        return self._left.pop(key, default)

    def expect(self, key: str, *values: str) -> None:
        """A key that may have these values only, none of which changes anything."""
        if self._left.get(key, values[0]) in values:
            self._left.pop(key, None)

    def check_empty(self) -> None:
        """Refuse a row with a setting that was not understood."""
        for key, value in self._left.items():
            raise NoRecipeError(f"setting {key}={value}")


#: Default options of a ConvNet: a spec names what differs.
_DEFAULTS = {"norm": "instance", "activation": "relu", "pooling": "avg", "width": "128"}


def spec(net: str, options: Mapping[str, str]) -> str:
    """A network's name with the options that are not its own.

    >>> spec("convnet3", {"norm": "batch", "width": "128", "pooling": ""})
    'convnet3:norm=batch'
    """
    given = {k: v for k, v in options.items() if v and v != _DEFAULTS.get(k)}
    pairs = ",".join(f"{key}={value}" for key, value in given.items())
    return f"{net}:{pairs}" if pairs else net


#: Networks that are condensed through under another name: strides are replaced by average pooling.
CONDENSED_THROUGH = {"resnet18": "resnet18_ap", "resnet_ap10": "resnetap10"}
TESTED = {"resnet_ap10": "resnetap10"}

#: Selections of real images, which the papers share.
SELECTIONS = ("random", "herding", "k_center", "forgetting")
#: What DC calls herding: "the closest samples to the cluster center". Its numbers on MNIST agree.
DC_SELECTIONS = {"herding": "nearest"}


def quoted(row: Published, made: str = "") -> Experiment:
    """A row of DC's family: five sets and twenty networks (DC, section 3), protocol ``dc``.

    Later papers print DC's numbers again, those of selections and of the whole data among them;
    IDC says that the latter were trained without augmentation (section 5.1).

    Args:
        row: the row.
        made: recipe, where it is not called as the method is.
    """
    whole, selected = row.method == "whole", row.method in SELECTIONS
    if not whole and row.ipc is None:
        raise NoRecipeError("a row without a budget")
    through = {"supply.net": CONDENSED_THROUGH.get(row.train_net, row.train_net)}
    return Experiment(
        data=row.dataset,
        kind="whole" if whole else "select" if selected else "condense",
        method=made or DC_SELECTIONS.get(row.method, row.method),
        ipc=row.ipc,
        net=TESTED.get(row.test_net, row.test_net),
        protocol="dc",
        sets=1 if whole else 5,
        nets=5 if whole else 20,
        overrides=through if row.train_net and not (whole or selected) else {},
        assumptions=(WHOLE,) if whole else (),
    )


#: What is said of every row of the whole training split.
WHOLE = "the papers' schedule for the whole data is not stated; it has our own, and five networks"
