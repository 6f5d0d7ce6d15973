"""Rows of a table: some sets of one kind, or the whole training split."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condensery.config.compare import first_difference
from condensery.data import Data
from condensery.errors import DataError, UsageError
from condensery.sets.candidate import Candidate
from condensery.sets.condensed import CondensedSet, load_sets
from condensery.sets.foreign import is_foreign, open_arrays, open_foreign, pair_of
from condensery.sets.places import FILE
from condensery.training.whole_split import typed_constants
from condensery.utils.text import shape_text

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
    whole_given: Mapping[str, Any] = field(default_factory=dict)
    """Other constants of the whole split's schedule that were typed."""

    @classmethod
    def of(cls, item: Any, data: Data) -> Row:
        """A row from a set, a path, a name, or NAME=PATH.

        Raises:
            DataError: for sets that cannot be opened, or do not fit the data.
            UsageError: for a ``whole`` whose constants are not understood.
        """
        if isinstance(item, Row):
            return item
        if isinstance(item, CondensedSet):
            return cls._of_sets(item.about.method, [item], data)
        held = pair_of(item)
        if held is not None:
            return cls("arrays", (open_arrays(held, data),))
        if not isinstance(item, str | Path):
            raise UsageError(
                f"a {type(item).__name__} is no set; give a path, a CondensedSet, (images, labels) "
                "or a TensorDataset of them"
            )
        name, place = split_name(item)
        constants = whole_constants(place)
        if constants is not None:
            return cls(name, (), constants.pop("epochs", 0), constants)
        check_not_runs(Path(place))
        if is_foreign(Path(place)):
            found = tuple(open_foreign(Path(place), data))
            _check_alike_foreign(name, found)
            return cls(name, found)
        return cls._of_sets(name, load_sets(place), data)

    @classmethod
    def named(cls, name: str, item: Any, data: Data) -> Row:
        """A row under a name of its own; several sets in a list are one row."""
        if isinstance(item, Sequence) and not isinstance(item, str) and pair_of(item) is None:
            return cls._of_sets(name, list(item), data, finished=False)
        row = cls.of(item, data)
        return cls(name, row.sets, row.whole_epochs, row.whole_given)

    @classmethod
    def _of_sets(
        cls, name: str, sets: list[CondensedSet], data: Data, *, finished: bool = True
    ) -> Row:
        _check_alike(name, sets, finished)
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
    if pair_of(sets) is not None:
        rows = [Row.of(sets, data)]
    elif isinstance(sets, Mapping):
        rows = [Row.named(str(name), item, data) for name, item in sets.items()]
    else:
        single = not isinstance(sets, Sequence) or isinstance(sets, str)
        rows = [Row.of(item, data) for item in ([sets] if single else sets)]
    if not rows:
        raise UsageError("name at least one set to evaluate")
    return rows


def split_name(item: Any) -> tuple[str, Any]:
    """A row's name and place; NAME=PATH names it, anything else is its own name."""
    if whole_epochs(item) is not None:
        return "whole", item
    found = _NAMED.fullmatch(item) if isinstance(item, str) else None
    if found is None or Path(item).exists():
        return str(item), item
    return found[1].strip(), found[2]


def whole_epochs(item: Any) -> int | None:
    """Epochs of the pseudo-set ``whole`` (0: its own choice), None for anything else."""
    constants = whole_constants(item)
    return None if constants is None else int(constants.get("epochs", 0))


def whole_constants(item: Any) -> dict[str, Any] | None:
    """What is typed of the schedule of the pseudo-set ``whole``; None for anything else.

    ``whole(epochs=5)`` is short for ``whole+epochs=5``.

    Raises:
        UsageError: for one that is not understood.
    """
    if not isinstance(item, str) or Path(item).exists():
        return None
    found = re.fullmatch(r"whole(?:\(epochs=(\d+)\))?((?:\+[^+]*)*)", item)
    if found is None:
        if item.startswith("whole("):
            raise UsageError(f"'{item}' is not valid; write whole(epochs=N) or whole+epochs=N")
        return None
    if found[1] is not None and int(found[1]) < 1:
        raise UsageError(f"{item} needs at least 1 epoch")
    short = {} if found[1] is None else {"epochs": int(found[1])}
    return {**short, **typed_constants(found[2])}


def _check_alike(name: str, sets: Sequence[CondensedSet], finished: bool) -> None:
    """Raise if sets are not draws of one method.

    Args:
        name: of the row.
        sets: all of it.
        finished: whether each is what a run ended with, and not taken out of one.
    """
    for one in sets[1:]:
        different = _kind_difference(sets[0], one) or _made_otherwise(sets[0], one, finished)
        if different:
            raise DataError(
                f"row {name} holds sets that differ in {different}; sets in a row must share "
                "method and settings; list them separately"
            )


def check_not_runs(folder: Path) -> None:
    """Raise if a folder holds runs: each of them is a row of its own.

    Raises:
        DataError: naming them.
    """
    if not folder.is_dir() or (folder / FILE).exists():
        return
    places = [file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/{FILE}")]
    runs = sorted({p.parent if p.name.isdigit() else p for p in places} - {folder})
    if runs:
        shown = " ".join(str(place) for place in runs[:3]) + (" …" if len(runs) > 3 else "")
        raise DataError(f"{folder} holds runs, each a row of its own; name them: {shown}")


def _check_alike_foreign(name: str, sets: Sequence[Candidate]) -> None:
    """Raise if sets from elsewhere differ in what all of a row share."""
    for one in sets[1:]:
        first, size = sets[0], len(sets[0])
        different = f"their number of images ({size} and {len(one)})" if len(one) != size else ""
        if (one.mean, one.std) != (first.mean, first.std):
            different = "their normalisation"
        if different:
            raise DataError(
                f"row {name} holds sets that differ in {different}; sets in a row must share "
                "method and settings; list them separately"
            )


def _kind_difference(one: CondensedSet, other: CondensedSet) -> str:
    """What two sets are and were made from; the first difference, empty when there is none."""
    a, b = one.about, other.about
    kinds = {
        "method": (a.method, b.method),
        "ipc": (a.ipc, b.ipc),
        "formation": (a.formation.kind, b.formation.kind),
        "shape": (shape_text(tuple(one.images.shape)), shape_text(tuple(other.images.shape))),
        "flip": (a.flip, b.flip),
    }
    for what, (here, there) in kinds.items():
        if here != there:
            return f"{what} ({here} and {there})"
    if a.source.fingerprint != b.source.fingerprint:
        return "the training images they were made from"
    return "" if (a.mean, a.std) == (b.mean, b.std) else "their normalisation"


#: What a configuration says of one draw, or of a place; ``iterations`` are looked at on their own.
_OF_ONE = ("seed", "iterations", "data", "train_accuracy")


def _made_otherwise(one: CondensedSet, other: CondensedSet, finished: bool) -> str:
    """The first difference in how two sets of one kind were made, empty when there is none."""
    a, b = one.about, other.about
    mine, theirs = ({k: v for k, v in c.config.items() if k not in _OF_ONE} for c in (a, b))
    # A field that only one of them has is new: a version that did not know it wrote the other.
    different = first_difference(mine, theirs, shared_only=True)
    if different is not None:
        return f"{different.field} ({different.held} and {different.wanted})"
    if a.iterations == b.iterations:
        return ""
    # Runs end where their loss settles, or at their time limit.
    settled = mine.get("until") == "converged"
    in_time = finished and a.config.get("iterations") == b.config.get("iterations")
    return "" if settled or in_time else f"iterations ({a.iterations} and {b.iterations})"


def flipped_for(rows: Sequence[Row], data: Data) -> Data:
    """The data, whose images are not flipped where one of the sets must not be.

    All rows of a table are trained in the same way.
    """
    may = all(one.flip for row in rows for one in row.sets)
    return data if may or not data.flip else dataclasses.replace(data, flip=False)


def _check(name: str, one: CondensedSet, data: Data) -> None:
    """Raise if a set was not made for this data."""
    about = one.about
    if about.class_names != data.train.class_names:
        raise DataError(
            f"set {name} was made for the classes of {about.source.name}, which are not those of "
            f"{data.name}"
        )
    shape = tuple(one.images.shape[1:])
    if shape != data.train.shape:
        raise DataError(
            f"set {name} holds images of {shape_text(shape)}, but {data.name} has "
            f"{shape_text(data.train.shape)}; use the --size and --channels it was made with"
        )
    if bool(about.config.get("zca")) != data.zca:
        which = "whitened" if data.zca else "not whitened"
        raise DataError(
            f"the images of {data.name} are {which} here, and those of set {name} were not: "
            "evaluate with the flags it was made with"
        )
    rate = about.config.get("sample_rate")
    if rate is not None and rate != data.rate:
        raise DataError(
            f"set {name} was made from recordings of {rate} samples per second, and "
            f"{data.name} is read with {data.rate or 'none'}: evaluate with --sample-rate "
            f"{rate} (sample_rate= of load)"
        )
    # Copies of one well-known set may differ by a byte, though not in their number of images;
    # anything else must be the same.
    named_so = bool(data.known_as) and about.config.get("data") == data.known_as
    known = named_so and about.source.images == len(data.train)
    if about.source.fingerprint != data.train.fingerprint and not known:
        raise DataError(
            f"set {name} was made from training images other than those of {data.name} now, so "
            "some of them may be in its test split; condense it again"
        )
