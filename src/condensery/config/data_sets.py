"""Data sets that are known by name."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from condensery.errors import UsageError
from condensery.utils.tar_patterns import named


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known about a named data set."""

    about: str
    """What it holds, in a line."""
    hub: str | None = None
    """Repository on the hub, ``owner/name``; none for a part of another entry, and for what lies in
    ``$CONDENSERY_DATA`` only."""
    config: str | None = None
    """Configuration of the repository."""
    image: str | None = None
    """Column of the images."""
    label: str | None = None
    """Column of the labels."""
    train: str = "train"
    """Name of the training split."""
    test: str = "test"
    """Name of the test split."""
    mean: tuple[float, ...] | None = None
    """Published mean per channel, on the 0..1 scale."""
    std: tuple[float, ...] | None = None
    """Published standard deviation per channel."""
    flip: bool = True
    """Whether augmentation may flip images horizontally."""
    size: int | None = None
    """Side length in pixels when none is given."""
    part_of: str | None = None
    """The entry that this one is a part of."""
    subset: Mapping[str, str] | None = field(default=None)
    """Identifier → word of the classes of a part, in order."""
    rate: int | None = None
    """Sample rate to resample recordings to."""
    one_of: int = 5
    """One in this many is set aside for testing, where there is no test split."""


@cache
def entries() -> Mapping[str, Entry]:
    """All data sets that are known by name."""
    return {name: _entry(fields) for name, fields in _yaml("data_sets.yaml").items()}


def _entry(fields: dict[str, Any]) -> Entry:
    for name in ("mean", "std"):
        if name in fields:
            fields[name] = tuple(fields[name])
    subset = fields.get("subset")
    if isinstance(subset, int):
        fields["subset"] = dict(islice(_yaml("imagenet100.yaml").items(), subset))
    elif subset is not None:
        fields["subset"] = {word: word for word in subset}
    return Entry(**fields)


def _yaml(name: str) -> dict[str, Any]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def folder_from(variable: str) -> Path | None:
    """The folder that an environment variable names, wherever the process goes; None if unset.

    Raises:
        UsageError: when it begins with the home of a user who does not exist.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(
            f"{variable}={named} names the home of a user who does not exist"
        ) from error


def local(name: str) -> Path | None:
    """``$CONDENSERY_DATA/<name>``, where it is a folder."""
    root = folder_from("CONDENSERY_DATA")
    return root / name if root is not None and (root / name).is_dir() else None


def lies_here(name: str) -> bool:
    """Whether a data set can be read without the network: ``digits``, or it was put here before.

    Looks for folders of ``$CONDENSERY_DATA`` and of the hub client's cache, and reads nothing.
    """
    if name == "digits" or local(name) is not None:
        return True
    entry = entries().get(name)
    if entry is not None and entry.part_of is not None:
        return lies_here(entry.part_of)
    if entry is None or entry.hub is None:
        return False
    if importlib.util.find_spec("datasets") is None:
        return False  # without it nothing was downloaded, and nothing can be
    return (_hub_cache() / entry.hub.replace("/", "___")).is_dir()


def _hub_cache() -> Path:
    """Where the hub's client keeps data sets, as it finds it; importing it takes a second."""
    usual = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    home = Path(os.environ.get("HF_HOME", usual)).expanduser()
    return Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets"))


def known_names() -> list[str]:
    """Every name that can be requested: the catalogue's, ``digits`` and the local folders'."""
    names = {"digits", *entries()}
    root = folder_from("CONDENSERY_DATA")
    if root is not None and root.is_dir():
        names |= {path.name for path in root.iterdir() if path.is_dir()}
    return sorted(n for n in names if not n.startswith("."))


def as_meant_in(home: object, spec: str) -> str:
    """A relative path as it was meant in another folder; names and other paths as they are.

    Args:
        home: the folder in which the path was typed; anything else says nothing.
        spec: a data set, or a pattern of tar files.
    """
    if not isinstance(home, str) or spec.startswith(("hub:", "~", "/")) or spec in known_names():
        return spec
    if re.fullmatch(r"\w[\w.-]*", spec) and local(spec) is not None:
        return spec
    there = Path(home) / spec
    try:
        several = named(str(there))
        found = all(path.exists() for path in several) if several else there.exists()
        return str(there) if found else spec
    except (OSError, ValueError):  # a name that no file can have
        return spec
