"""A pool of trained networks on disk: snapshots with their accuracies, to draw from.

``pool.json`` says what was trained and lists the snapshots; each is one ``.safetensors`` file of
weights under ``networks/``. Opening a pool runs no code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from condensery.augment.strategy import parse_strategy
from condensery.config.later import LATER
from condensery.config.sgd import SGD
from condensery.errors import DataError, UsageError
from condensery.training.protocol import Protocol
from condensery.utils.files import whole_file, write_json
from condensery.utils.reading import read_json, regular

INDEX = "pool.json"
_FORMAT = 1


@dataclass(frozen=True)
class Snapshot:
    """One network at one point of its training."""

    network: int
    """Number of the network."""
    epoch: float
    """Epochs of training behind it."""
    accuracy: float | None
    """On training images that were held out, in percent; None where none were."""
    file: str
    """Its weights, relative to the pool's folder."""
    sha256: str
    """Of that file."""


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """Everything that decides a pool's networks, apart from the data's content and the plan."""

    data: str
    """What the networks are trained on."""
    fingerprint: str
    """Of the training split."""
    net: str
    """The network, with options."""
    shape: list[int]
    """C, H, W of an image."""
    classes: int
    """Number of classes."""
    flip: bool
    """Whether augmentation may flip images horizontally."""
    seed: int = 0
    """Random seed."""
    epochs: int = 20
    """Epochs of each network."""
    snapshots: list[float] = field(default_factory=list)
    """When weights are kept, in epochs; the last epoch when empty."""
    held_out: float = 0.1
    """Share of each class's training images held out to measure accuracy, and nothing else; with 0
    there are no accuracies."""
    rate: float = 0.01
    """Learning rate; of a linear schedule the largest."""
    momentum: float = 0.9
    """SGD's momentum."""
    weight_decay: float = 5e-4
    """SGD's weight decay."""
    batch: int = 256
    """Images per step."""
    augmentation: Literal["none", "batch_op", "image_op", "sequence", "idc", "photos"] = "none"
    """As a protocol's: batch_op (DSA), image_op (DC), sequence (every op), idc, photos (larger
    images)."""
    strategy: str | None = None
    """The ops that are drawn from, or applied; by default colour and crop for ``sequence``, as IDC
    trains its networks (C.1), and DSA's for others."""
    cutmix: float = 0.0
    """Probability of CutMix per mini-batch."""
    schedule: Literal["constant", "linear"] = field(default="constant", metadata=LATER)
    """``constant``; ``linear``: the rate rises over the first twentieth of the steps up to the
    last snapshot, and falls to zero at it."""
    average: float = field(default=0.0, metadata=LATER)
    """Decay of an exponential moving average of the weights, which is kept in their place; 0: the
    weights themselves."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.held_out < 1:
            raise UsageError(f"--held-out is a share from 0 to below 1, got {self.held_out}")
        if not 0 <= self.cutmix <= 1:
            raise UsageError(f"--cutmix is a probability from 0 to 1, got {self.cutmix}")
        if not 0 <= self.average < 1:
            raise UsageError(f"--average is a decay from 0 to below 1, got {self.average}")
        parse_strategy(self.ops)
        if not all(0 <= at <= self.epochs for at in self.snapshots):
            raise UsageError(
                f"--snapshots are epochs from 0 to --epochs {self.epochs}, got "
                f"{', '.join(f'{at:g}' for at in self.snapshots)}"
            )
        SGD.of(self, "--")

    @property
    def ops(self) -> str:
        """The ops of its augmentation."""
        usual = "color_crop" if self.augmentation == "sequence" else Protocol.strategy
        return usual if self.strategy is None else self.strategy

    def rate_at(self, step: int, last: int) -> float:
        """The learning rate of a step, of those up to the last snapshot."""
        if self.schedule == "constant":
            return self.rate
        rising = max(1, last // 20)
        return self.rate * min((step + 1) / rising, max(0.0, 1 - step / last))

    @property
    def protocol(self) -> Protocol:
        """How the networks are trained, but for the schedule."""
        return Protocol(
            name="pool",
            epochs=self.epochs,
            batch=self.batch,
            rate=self.rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            drops=[],
            augmentation=self.augmentation,
            strategy=self.ops,
            cutmix=self.cutmix,
        )


@dataclass(frozen=True)
class Pool:
    """The snapshots of a folder, and how they were made."""

    path: Path
    """The folder."""
    settings: Mapping[str, Any]
    """What was trained: data, network, seed and the constants of the training."""
    snapshots: tuple[Snapshot, ...]
    """By network, then by epoch."""

    @classmethod
    def read(cls, path: Path) -> Pool:
        """Open a folder.

        Raises:
            UsageError: when it holds no pool.
            DataError: when its index is damaged, or from a later version.
        """
        index = path / INDEX
        if not index.is_file():
            raise UsageError(
                f"{path} holds no pool of networks: name the folder of one, or make one with "
                "condensery pool"
            )
        try:
            held = read_json(index)
            if held["format"] != _FORMAT:
                raise DataError(
                    f"{index} has format {held['format']}, and this version reads {_FORMAT}; "
                    "update condensery"
                )
            snapshots = tuple(Snapshot(**dict(one)) for one in held["snapshots"])
            pool = cls(path, dict(held["settings"]), snapshots)
            pool.check()
            return pool
        except DataError:
            raise
        except (OSError, ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise DataError(f"{index} is damaged ({error}); recreate the pool") from error

    def check(self) -> None:
        """Raise if a value of the index is invalid.

        Raises:
            TypeError: naming what is wrong.
        """
        types: dict[str, type] = {"net": str, "data": str, "fingerprint": str, "classes": int}
        wrong = [name for name, kind in types.items() if type(self.settings.get(name)) is not kind]
        shape = self.settings.get("shape")
        if not isinstance(shape, list) or [type(side) for side in shape] != [int] * 3:
            wrong.append("shape")
        for one in self.snapshots:
            numbers = type(one.network) is int and isinstance(one.epoch, int | float)
            without = one.accuracy is None and self.settings.get("held_out") == 0
            measured = isinstance(one.accuracy, int | float) and 0 <= one.accuracy <= 100
            accuracy = without or measured
            texts = isinstance(one.file, str) and isinstance(one.sha256, str)
            if not (numbers and math.isfinite(one.epoch) and accuracy and texts):
                wrong.append(f"snapshot {one.file}")
        if wrong:
            raise TypeError(f"{', '.join(wrong)} in it is invalid")

    def write(self) -> None:
        """Write the index, whole."""
        content = {
            "format": _FORMAT,
            "settings": dict(self.settings),
            "snapshots": [dataclasses.asdict(one) for one in self.snapshots],
        }
        write_json(self.path / INDEX, content)

    def keep(
        self,
        weights: dict[str, Tensor],
        network: int,
        step: int,
        epoch: float,
        accuracy: float | None,
    ) -> Snapshot:
        """Write one snapshot's file; it joins the index with its network."""
        name = f"networks/{network:04d}-{step:08d}.safetensors"
        # Clones, because networks may share a parameter, and files do not.
        content = save_tensors({k: v.detach().cpu().clone() for k, v in weights.items()})
        with whole_file(self.path / name) as temporary:
            temporary.write_bytes(content)
        return Snapshot(network, epoch, accuracy, name, hashlib.sha256(content).hexdigest())

    def weights(self, snapshot: Snapshot) -> dict[str, Tensor]:
        """The tensors of one snapshot.

        Raises:
            DataError: when the file is not the one that was written.
        """
        file = self.path / snapshot.file
        if "\0" in snapshot.file or file.resolve().parent != (self.path / "networks").resolve():
            raise DataError(f"{self.path / INDEX} names a file outside the pool: {snapshot.file!r}")
        try:
            content = regular(file).read_bytes()
            if hashlib.sha256(content).hexdigest() != snapshot.sha256:
                raise DataError(f"{file} does not match what {INDEX} lists; recreate the pool")
            return load_tensors(content)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{file} cannot be read ({error}); recreate the pool") from error

    def within(self, above: float, below: float, first: int | None = None) -> list[Snapshot]:
        """The snapshots whose accuracy lies in above ≤ a < below; 100 belongs to the last band.

        Those without one belong to the whole range alone.

        Args:
            above: in percent.
            below: in percent.
            first: how many of the snapshots are used; all by default.
        """
        most = float("inf") if below >= 100 else below
        return [
            one
            for one in self.snapshots[:first]
            if (above <= 0 and below >= 100)
            or (one.accuracy is not None and above <= one.accuracy < most)
        ]

    def fingerprint(self, first: int | None = None) -> str:
        """SHA-256 over the content and accuracies of the first snapshots, or of all of them."""
        chosen = self.snapshots[:first]
        parts = [(one.network, one.epoch, one.accuracy, one.sha256) for one in chosen]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def bands(self) -> dict[str, int]:
        """How many snapshots lie in each tenth of accuracy, the empty ones left out.

        Named as a pool supply's settings are: ``"20-30"`` is above 20 and below 30.
        """
        out = {}
        for low in range(0, 100, 10):
            number = len(self.within(low, low + 10))
            if number:
                out[f"{low}-{low + 10}"] = number
        return out
