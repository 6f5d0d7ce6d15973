"""What a condensed set says of itself: the metadata of its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from condensery.config.schema import Choice
from condensery.errors import DataError
from condensery.utils.reading import json_of

#: The version of the file format that this program writes, and that of files in 8 bits, which
#: older programs cannot read. It reads these and older ones.
FORMAT, FORMAT_8_BITS = 1, 2
#: The largest count in its metadata.
_MOST_COUNT = 2**63 - 1
#: The largest mean or std in it, which float32 holds.
_MOST_MEAN = 1e38


@dataclass(frozen=True)
class Source:
    """The training split that was condensed."""

    name: str
    """Name of the data set."""
    fingerprint: str
    """Of its content: images, labels and class names."""
    images: int
    """Number of its training images."""
    bytes: int
    """Their size in memory."""


@dataclass(frozen=True)
class About:
    """Everything about a condensed set that is not a tensor; the file's metadata."""

    method: str
    """The recipe, or the selection, that made it."""
    formation: Choice
    """How stored tensors become training images."""
    ipc: int
    """Budget: full-size images' worth of stored numbers per class."""
    seed: int
    """Random seed."""
    iterations: int
    """Outer iterations done."""
    class_names: tuple[str, ...]
    """One per class."""
    mean: tuple[float, ...]
    """Normalisation per channel, black 0 and white 1."""
    std: tuple[float, ...]
    """Normalisation per channel."""
    flip: bool
    """Whether training on it may flip images horizontally."""
    source: Source
    """What it stands for."""
    config: Mapping[str, Any]
    """The resolved configuration."""

    def dump(self, version: int = FORMAT) -> str:
        """One JSON string with sorted keys, so that the same set is the same bytes."""
        plain = {
            **self.__dict__,
            "formation": self.formation.as_dict(),
            "source": self.source.__dict__,
        }
        return json.dumps({"format": version, **plain}, sort_keys=True, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> About:
        """Back from :meth:`dump`; raises ValueError, KeyError or TypeError for anything else."""
        raw = json_of(text)
        version = raw.pop("format")
        if not isinstance(version, int) or version > FORMAT_8_BITS:
            raise DataError(
                f"it has format {version}, and this condensery reads up to {FORMAT_8_BITS}; "
                "upgrade it"
            )
        formation = dict(raw.pop("formation"))
        for name in ("class_names", "mean", "std"):
            raw[name] = tuple(float(x) if type(x) is int else x for x in raw[name])
        kind = str(formation.pop("kind"))
        about = cls(formation=Choice(kind, formation), source=Source(**raw.pop("source")), **raw)
        about.check()
        return about

    def check(self) -> None:
        """Raise if a value has the wrong type, as in a damaged or hostile file.

        Raises:
            TypeError: naming the field.
        """
        texts = (self.method, self.source.name, self.source.fingerprint, *self.class_names)
        whole = (self.ipc, self.seed, self.iterations, self.source.images, self.source.bytes)
        numbers = (*self.mean, *self.std)
        wrong = {
            "a name": any(not isinstance(text, str) for text in texts),
            "a count": any(type(n) is not int or not 0 <= n <= _MOST_COUNT for n in whole)
            or self.ipc < 1,
            "mean or std": any(not isinstance(x, float | int) for x in numbers)
            or not all(abs(x) <= _MOST_MEAN for x in numbers)
            or min(self.std, default=0) <= 0
            or len(self.mean) != len(self.std),
            "flip": not isinstance(self.flip, bool),
            "config": not isinstance(self.config, dict) or not _well_typed(self.config),
        }
        for what, is_wrong in wrong.items():
            if is_wrong:
                raise TypeError(f"{what} in its metadata is invalid")


def _well_typed(config: Mapping[str, Any]) -> bool:
    """Whether what a configuration says of reading the data is of the right types, or absent."""
    kinds = {"size": int, "channels": int, "sample_rate": int, "flip": bool, "zca": bool}
    kinds |= {"layout": str, "value_range": str}
    held = {name: config.get(name) for name in kinds}
    return all(value is None or type(value) is kinds[name] for name, value in held.items())
