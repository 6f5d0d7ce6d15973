"""Rows of a table: some sets of one kind, or the whole training split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .candidates import Candidate
from .condensed import CondensedSet, load_sets
from .data import Data
from .errors import DataError, UsageError
from .foreign_sets import is_foreign, open_foreign

#: A name that was given to a row, and what the row is: NAME=PATH.
_NAMED = re.compile(r"([^=/\\()]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One row of the table, checked against the data."""

    name: str
    """As it was named."""
    sets: tuple[Candidate, ...]
    """What networks are trained on; none where it is the whole training split."""
    whole_epochs: int | None = None
    """Epochs on the whole split, 0 for its own choice; None for sets."""

    @classmethod
    def of(cls, item: Any, data: Data) -> Row:
        """A row from a set, a path, a name, or NAME=PATH.

        Raises:
            DataError: for sets that cannot be opened, or do not fit the data.
            UsageError: for a ``whole(…)`` that is not understood.
        """
        if isinstance(item, Row):
            return item
        if isinstance(item, CondensedSet):
            return cls._of_sets(item.about.method, [item], data)
        name, place = split_name(item)
        epochs = whole_epochs(place)
        if epochs is not None:
            return cls(name, (), epochs)
        if is_foreign(Path(place)):
            return cls(name, tuple(open_foreign(Path(place), data)))
        return cls._of_sets(name, load_sets(place), data)

    @classmethod
    def named(cls, name: str, item: Any, data: Data) -> Row:
        """A row under a name of its own; several sets in a list are one row."""
        if isinstance(item, Sequence) and not isinstance(item, str):
            return cls._of_sets(name, list(item), data)
        row = cls.of(item, data)
        return cls(name, row.sets, row.whole_epochs)

    @classmethod
    def _of_sets(cls, name: str, sets: list[CondensedSet], data: Data) -> Row:
        _check_alike(name, sets)
        for one in sets:
            _check(name, one, data)
        return cls(name, tuple(Candidate.of(one) for one in sets))

    @property
    def whole(self) -> bool:
        """Whether it is the whole training split."""
        return self.whole_epochs is not None

    @property
    def count(self) -> int:
        """Number of sets; one for the whole split."""
        return len(self.sets) or 1


def rows_of(sets: Any, data: Data) -> list[Row]:
    """Rows from a set, a path, a list of these, or a dictionary of them by name.

    Raises:
        UsageError: when there is none.
        DataError: for a set that does not fit the data.
    """
    if isinstance(sets, Mapping):
        rows = [Row.named(str(name), item, data) for name, item in sets.items()]
    else:
        single = isinstance(sets, str | Path | CondensedSet | Row)
        rows = [Row.of(item, data) for item in ([sets] if single else sets)]
    if not rows:
        raise UsageError("no set to evaluate was named")
    return rows


def split_name(item: Any) -> tuple[str, Any]:
    """A row's name and place; NAME=PATH names it, anything else is its own name."""
    found = _NAMED.fullmatch(item) if isinstance(item, str) else None
    if found is None or Path(item).exists():
        return str(item) if whole_epochs(item) is None else "whole", item
    return found[1].strip(), found[2]


def whole_epochs(item: Any) -> int | None:
    """Epochs of the pseudo-set ``whole`` (0: its own choice), None for anything else."""
    found = re.fullmatch(r"whole(?:\(epochs=(\d+)\))?", item) if isinstance(item, str) else None
    if found is None or Path(item).exists():
        if isinstance(item, str) and item.startswith("whole(") and not Path(item).exists():
            raise UsageError(f"'{item}' is not understood; write whole(epochs=N)")
        return None
    if found[1] is not None and int(found[1]) < 1:
        raise UsageError(f"{item} needs at least 1 epoch")
    return int(found[1] or 0)


def _check_alike(name: str, sets: Sequence[CondensedSet]) -> None:
    if len({_kind(one) for one in sets}) > 1:
        raise DataError(
            f"folder {name} holds sets of different kinds (method, ipc, data); "
            "a row is made of alike ones: name them one by one"
        )


def _kind(one: CondensedSet) -> tuple[Any, ...]:
    about = one.about
    made_of = (about.source.fingerprint, about.mean, about.std, about.flip)
    return (about.method, about.ipc, about.formation.kind, tuple(one.images.shape), *made_of)


def _check(name: str, one: CondensedSet, data: Data) -> None:
    """Refuse a set that was not made for this data."""
    about = one.about
    if about.class_names != data.train.class_names:
        raise DataError(
            f"set {name} was made for the classes of {about.source.name}, "
            f"which are not those of {data.name}"
        )
    shape = tuple(one.images.shape[1:])
    if shape != data.train.shape:
        raise DataError(
            f"set {name} holds images of {_size(shape)}, but {data.name} has "
            f"{_size(data.train.shape)}; give the --size and --channels it was made with"
        )
    if bool(about.config.get("zca")) != data.zca:
        which = "whitened" if data.zca else "not whitened"
        raise DataError(
            f"the images of {data.name} are {which} here, and those of set {name} "
            "were not so: evaluate with the flags that it was made with"
        )
    rate = about.config.get("sample_rate")
    if rate is not None and rate != data.rate:
        raise DataError(
            f"set {name} was made from recordings of {rate} samples a second, and "
            f"{data.name} is read with {data.rate or 'none'}: evaluate with --sample-rate "
            f"{rate} (rate= of load)"
        )
    # Copies of one well-known set may differ by a byte; anything else must be the same.
    known = data.known_as and about.config.get("data") == data.known_as
    if about.source.fingerprint != data.train.fingerprint and not known:
        raise DataError(
            f"set {name} was made from other training images than those of "
            f"{data.name} now, so some may be in its test split; condense it again"
        )


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(str(s) for s in shape)
