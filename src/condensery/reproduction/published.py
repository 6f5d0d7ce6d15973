"""The papers' numbers, row by row, as they are printed.

The files stand in ``published_numbers/``; its README says what every column means, where two papers
disagree, and which cells are ambiguous. Nothing here imports torch.
"""

from __future__ import annotations

import csv
import fnmatch
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from condensery.errors import UsageError, unknown_name

#: The papers, in the order of their publication.
PAPERS = ("dc", "dm", "cafe", "idc", "gm")

#: What the columns of a file are called.
_COLUMNS = (
    *("paper", "table", "dataset", "ipc", "method", "train_net", "test_net"),
    *("setting", "metric", "mean", "std", "note"),
)

#: Metrics in a word or two.
_UNITS = {
    "accuracy_percent": "%",
    "relative_accuracy_percent": "% of the whole data's accuracy",
    "percentage_points": "percentage points",
    "percent": "% (a relative change)",
    "factor": "times",
    "correlation": "(a correlation)",
    "minutes": "minutes",
    "seconds": "seconds",
    "megabytes": "MB",
    "images": "images",
    "updates": "updates",
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One printed number."""

    paper: str
    """Where it is printed, which need not be where it was measured: dc, dm, cafe, idc or gm."""
    table: str
    """``table1``, ``tableT5`` of an appendix, or ``text-3.2`` for the prose of a section."""
    dataset: str
    """Data set; ``all`` where the prose names none."""
    ipc: int | None
    """Images per class; None for the whole data set and for rows without a budget."""
    method: str
    """What made the set."""
    train_net: str
    """Network that the set was made with, empty where there is none."""
    test_net: str
    """Network that was trained on the set, empty where there is none."""
    setting: Mapping[str, str]
    """What differs from the paper's default protocol, and what describes the row."""
    metric: str
    """``accuracy_percent``, or something else that is not an accuracy."""
    mean: float
    """The number."""
    std: float | None
    """Its standard deviation, None where none is printed."""
    decimals: int
    """Decimals that the mean is printed with."""
    note: str = ""
    """How the number was read where that is not plain."""
    name: str = ""
    """The row's name in its table: ``mnist/1/dc``, with more where that is not enough."""

    @property
    def place(self) -> str:
        """The table, as the command takes it: ``dc/table1``."""
        return f"{self.paper}/{self.table}"

    @property
    def address(self) -> str:
        """Table and name, which no other row has."""
        return f"{self.place}/{self.name}"

    @property
    def value(self) -> str:
        """As it is printed, with its unit.

        >>> find("dc/table1", "mnist/1/dc").value
        '91.7 ± 0.5 %'
        """
        spread = "" if self.std is None else f" ± {self.std:.{max(1, self.decimals)}f}"
        return f"{self.mean:.{self.decimals}f}{spread} {_UNITS[self.metric]}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("paper", "table", "name", *(c for c in _COLUMNS if c not in ("paper", "table")))
        return {name: getattr(self, name) for name in names} | {"setting": dict(self.setting)}


@cache
def published() -> tuple[Published, ...]:
    """All rows of all papers, in the order of the files."""
    return tuple(row for paper in PAPERS for row in _read(paper))


@cache
def tables() -> Mapping[str, tuple[Published, ...]]:
    """All tables by name, ``dc/table1``, each with its rows."""
    out: dict[str, list[Published]] = defaultdict(list)
    for row in published():
        out[row.place].append(row)
    return {place: tuple(rows) for place, rows in out.items()}


def table(place: str) -> tuple[Published, ...]:
    """The rows of a table.

    Raises:
        UsageError: when there is no such table, naming the paper's tables.
    """
    paper = place.partition("/")[0]
    if paper not in PAPERS:
        raise unknown_name("paper", paper, PAPERS)
    if place not in tables():
        raise unknown_name("table", place, [p for p in tables() if p.startswith(f"{paper}/")])
    return tables()[place]


def find(place: str, name: str) -> Published:
    """The row of that name in a table.

    Raises:
        UsageError: when there is no such row, with the nearest name.
    """
    (row,) = pick(place, [name])
    return row


def pick(place: str, names: Sequence[str]) -> list[Published]:
    """The rows of those names in a table, in its order; a ``*`` in a name stands for anything.

    Raises:
        UsageError: for a name that does not exist; it gives the nearest one, or, where a name is
            the beginning of several, these.
    """
    rows = table(place)
    by_name = {row.name: row for row in rows}
    taken: set[str] = set()
    for name in names:
        found = {name} if name in by_name else set(fnmatch.filter(by_name, name))
        taken |= found
        if found:
            continue
        below = [row.name for row in rows if row.name.startswith(f"{name.rstrip('/')}/")]
        if below:
            shown = ", ".join(below[:6]) + (", …" if len(below) > 6 else "")
            raise UsageError(
                f"{place} has {len(below)} rows {name}: name one of {shown}; or '{name}/*' for all"
            )
        error = unknown_name(f"row of {place}", name, by_name)
        listed = str(error).partition(" Known:")[0].rstrip(".;")
        stop = "" if listed.endswith("?") else "."
        raise UsageError(f"{listed}{stop} See condensery reproduce {place} --list")
    return [row for row in rows if row.name in taken]


def _read(paper: str) -> list[Published]:
    text = (
        resources.files("condensery.reproduction") / "published_numbers" / f"{paper}.csv"
    ).read_text("utf-8")
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise ValueError(f"{paper}.csv has columns that differ from {', '.join(_COLUMNS)}")
    rows = [_row(line) for line in reader]
    places: dict[str, list[Published]] = defaultdict(list)
    for row in rows:
        places[row.place].append(row)
    names = {id(row): name for held in places.values() for row, name in _named(held)}
    return [replace(row, name=names[id(row)]) for row in rows]


def _row(line: Mapping[str, str]) -> Published:
    pairs = [pair.partition("=") for pair in line["setting"].split(";") if pair]
    return Published(
        **{name: line[name] for name in ("paper", "table", "dataset", "method")},
        **{name: line[name] for name in ("train_net", "test_net", "metric", "note")},
        ipc=int(line["ipc"]) if line["ipc"] else None,
        setting={key: value for key, _, value in pairs},
        mean=float(line["mean"]),
        std=float(line["std"]) if line["std"] else None,
        decimals=len(line["mean"].partition(".")[2]),
    )


def _named(rows: Sequence[Published]) -> list[tuple[Published, str]]:
    """The rows of a table with names that are as short as they can be told apart by."""
    groups: dict[str, list[Published]] = defaultdict(list)
    for row in rows:
        budget = "all" if row.ipc is None else str(row.ipc)
        groups[f"{row.dataset}/{budget}/{row.method}"].append(row)
    return [
        (row, "/".join(filter(None, [base, more])))
        for base, held in groups.items()
        for row, more in zip(held, _told_apart(held), strict=True)
    ]


def _told_apart(rows: Sequence[Published]) -> list[str]:
    """What each row of a group is called beyond what they share: the first fields that suffice."""
    facts = [
        {"test_net": r.test_net, "train_net": r.train_net, **r.setting, "metric": r.metric}
        for r in rows
    ]
    fields = list(dict.fromkeys(field for fact in facts for field in fact))
    taken: list[str] = []

    def kinds(chosen: Sequence[str]) -> int:
        return len({tuple(fact.get(field, "") for field in chosen) for fact in facts})

    for field in fields:
        if kinds([*taken, field]) > kinds(taken):
            taken.append(field)
    return [",".join(f"{f}={fact[f]}" for f in taken if fact.get(f)) for fact in facts]
