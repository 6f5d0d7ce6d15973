"""Which published rows were reproduced: counts for the screen, and the page of results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from condensery.utils.escape import markdown
from condensery.utils.text import table

from . import Unmapped, experiment_of
from .published import Published, tables
from .records import Record, best

#: Every row has one of these, in the order of the columns.
STATUSES = (
    *("reproduced", "above", "below", "tried", "untried"),
    *("data is unavailable here", "no recipe", "not accuracy"),
)
#: Heads of the columns, where the status would be too long.
_HEADS = {"data is unavailable here": "no data", "not accuracy": "no accuracy"}


@dataclass(frozen=True)
class RowStatus:
    """A published row and what became of it."""

    row: Published
    """The row."""
    status: str
    """One of :data:`STATUSES`."""
    reason: str
    """Why nothing is run, or what was found."""
    records: tuple[Record, ...] = ()
    """All that is known of it."""


def statuses(
    records: Sequence[Record], lies_here: Callable[[str], bool] | None = None
) -> dict[str, list[RowStatus]]:
    """The rows of every table with their status.

    Args:
        records: what was run.
        lies_here: whether a data set can be read on this machine; without it nothing is said of
            data, so that a page does not depend on where it is written.
    """
    held: dict[str, list[Record]] = defaultdict(list)
    for one in records:
        held[one.row.address].append(one)
    return {
        place: [_status(row, tuple(held[row.address]), lies_here) for row in rows]
        for place, rows in tables().items()
    }


def _status(
    row: Published, records: tuple[Record, ...], lies_here: Callable[[str], bool] | None
) -> RowStatus:
    found = experiment_of(row)
    if isinstance(found, Unmapped):
        return RowStatus(row, found.status, found.reason)
    if records:
        judged = best(records).verdict
        status = "tried" if judged.departures else judged.short
        return RowStatus(row, status, judged.text, records)
    lacking = [] if lies_here is None else [n for n in found.needs if not lies_here(n)]
    if lacking:
        return RowStatus(row, "data is unavailable here", f"{lacking[0]} needs a download")
    return RowStatus(row, "untried", found.describe())


def status_of(row: Published, lies_here: Callable[[str], bool]) -> RowStatus:
    """The status of a row that nothing was run for."""
    return _status(row, (), lies_here)


def status_table(found: Mapping[str, Sequence[RowStatus]]) -> str:
    """Counts by table, for the screen."""
    statuses = [s for s in STATUSES if any(c.status == s for row in found.values() for c in row)]
    lines = []
    total: Counter[str] = Counter()
    for place, held in found.items():
        counts = Counter(one.status for one in held)
        total += counts
        lines.append([place, str(len(held)), *(_count(counts[s]) for s in statuses)])
    if len(lines) > 1:
        lines.append(["all", str(total.total()), *(_count(total[s]) for s in statuses)])
    return table(["table", "rows", *(_HEADS.get(s, s) for s in statuses)], lines)


def _count(number: int) -> str:
    return str(number) if number else "-"


def tried_table(found: Mapping[str, Sequence[RowStatus]]) -> str:
    """Every row that was run, for the screen; empty where there is none."""
    lines = [
        [record.row.address, record.row.value, record.value, str(record.n), record.verdict.text]
        for held in found.values()
        for one in held
        for record in one.records
    ]
    return table(["row", "published", "ours", "n", "verdict"], lines) if lines else ""


#: Signs of paths that mean nothing in a link of Markdown.
_IN_PATHS = "/=,+*"

_HEAD = """# Results

Which of the five papers' numbers were run again, and what came of it. This page is written by

```
condensery reproduce --status --markdown docs/results.md
```

from the files in `benchmarks/results/reproduce/`; every file has the command that repeats it.
[reproducing.md](reproducing.md) says what a verdict means. *Reproduced* rows had the whole
schedule and the paper's numbers of sets and networks; rows that were *tried* had less, or
something else, as their verdict says. Whether the data of an *untried* row can be had depends on
the machine: `condensery reproduce --status` tells for yours.
"""


def page(records: Sequence[Record]) -> str:
    """The page of results, which depends on the records and the published rows alone."""
    found = statuses(records)
    shown = [s for s in STATUSES if s != "data is unavailable here"]
    parts = [_HEAD, "## Tables\n"]
    total: Counter[str] = Counter()
    lines = []
    for place, held in found.items():
        counts = Counter(one.status for one in held)
        total += counts
        lines.append([place, str(len(held)), *(_blank(counts[s]) for s in shown)])
    lines.append(["**all**", str(total.total()), *(_blank(total[s]) for s in shown)])
    parts.append(_markdown(["table", "rows", *shown], lines))
    parts.append("\n## Rows that were run\n")
    tried = {place: held for place, held in found.items() if any(c.records for c in held)}
    if not tried:
        parts.append("None yet.\n")
    for place, held in tried.items():
        parts += [f"### {place}\n", _tried(held), ""]
    parts += ["\n## Why there is no recipe\n", _reasons(found)]
    return "\n".join(parts).rstrip() + "\n"


def _tried(held: Sequence[RowStatus]) -> str:
    lines = [
        [
            f"[{markdown(record.row.name)}](../benchmarks/results/reproduce/{_link(record)})",
            markdown(record.row.value.removesuffix(" %")),
            f"{record.value} (n={record.n})",
            markdown(record.protocol),
            markdown(record.verdict.text),
        ]
        for one in held
        for record in one.records
    ]
    return (
        table(["row", "published, %", "ours, %", "protocol", "verdict"], lines, markdown=True)
        + "\n"
    )


def _link(record: Record) -> str:
    return quote(record.path.as_posix(), safe=_IN_PATHS)


def _reasons(found: Mapping[str, Sequence[RowStatus]]) -> str:
    counts = Counter(
        one.reason for held in found.values() for one in held if one.status == "no recipe"
    )
    in_order = sorted(counts.items(), key=lambda i: (-i[1], i[0]))
    lines = [[markdown(reason), str(n)] for reason, n in in_order]
    return _markdown(["reason", "rows"], lines)


def _blank(number: int) -> str:
    return str(number) if number else ""


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return table(head, lines, markdown=True) + "\n"
