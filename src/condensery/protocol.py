"""Evaluation protocols: how a network is trained on a set before it is tested, to the constant."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import yaml

from .config import make
from .errors import UsageError, unknown_name
from .recipe import with_cases


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
    """Images a step."""
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
    augmentation: Literal["none", "batch_op", "image_op", "sequence", "idc", "photos"] = "none"
    """``batch_op``: one op a mini-batch, parameters per image (DSA); ``image_op``: one op an image
    (DC); ``sequence``: every op, parameters per image; ``idc``: flip, colour and one of crop, scale
    and rotate; ``photos``: resized crop, flip, colour jitter and lighting."""
    strategy: str = "color_crop_cutout_flip_scale_rotate"
    """The ops that may be drawn."""
    rotate: float = 15.0
    """Largest rotation in degrees."""
    cutmix: float = 0.0
    """Probability of CutMix a mini-batch."""
    fixed_steps: bool = False
    """Whether epochs are divided by the training images that a stored one makes."""
    nets: int = 20
    """Networks a set in the papers."""
    sets: int = 5
    """Sets in the papers."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise UsageError(f"a protocol needs at least 1 epoch, got {self.epochs}")

    def changed(self, **values: Any) -> Protocol:
        """With other constants, and a name that says so; None leaves a constant as it is."""
        new = {k: v for k, v in values.items() if v is not None and v != getattr(self, k)}
        if not new:
            return self
        name = "+".join([self.name, *(f"{k}={v}" for k, v in new.items())])
        return dataclasses.replace(self, name=name, **new)

    def settled(self, decoded: float) -> Protocol:
        """With the epochs of a set whose stored images make so many training images each."""
        if not self.fixed_steps:
            return self
        return dataclasses.replace(self, epochs=max(1, round(self.epochs / decoded)))

    def rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0.

        >>> [Protocol(name="x", epochs=4).rate_at(e) for e in range(4)]
        [0.01, 0.01, 0.001, 0.001]
        """
        passed = sum(epoch >= round(drop * self.epochs) for drop in self.drops)
        return float(self.rate * self.drop_factor**passed)


def protocol_names() -> list[str]:
    """The protocols that ship with the package."""
    folder = resources.files("condensery") / "protocols"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def protocol(name: str, facts: Mapping[str, Any]) -> Protocol:
    """A protocol by name, for the data and network at hand.

    Args:
        name: one of :func:`protocol_names`.
        facts: ``data``, ``ipc``, ``size``, ``net`` (its family) and ``norm``.
    """
    if name not in protocol_names():
        raise unknown_name("protocol", name, protocol_names())
    text = (resources.files("condensery") / "protocols" / f"{name}.yaml").read_text("utf-8")
    raw = with_cases(yaml.safe_load(text), facts)
    return make(Protocol, {"name": name, **raw}, "protocol")  # type: ignore[no-any-return]
