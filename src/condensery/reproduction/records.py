"""What a reproduced row leaves behind: one JSON file, and reading a folder of them.

Nothing here imports torch before a record is made.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condensery.errors import DataError
from condensery.utils.reading import read_json

from . import Experiment, Unmapped, experiment_of
from .originals import NOT_COMPARED, OTHER_CONTENT, departure
from .published import Published, published
from .verdict import Amount, Verdict, verdict

if TYPE_CHECKING:
    from .outcome import Outcome
    from .settings import ReproductionSettings


#: How the departure of a condensing plan begins.
_CONDENSED = "condensed"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A row that was run, read back."""

    row: Published
    """The published row, of this package and not of the file."""
    verdict: Verdict
    """Anew, from the accuracies of the file."""
    mean: float
    """Of our accuracies, in percent."""
    std: float
    """Of our accuracies (ddof 0)."""
    n: int
    """Networks, over all sets."""
    protocol: str
    """How they were trained."""
    scale: float
    """What the schedule was multiplied by."""
    commit: str | None
    """Code that tested them."""
    path: Path
    """The file, below the folder that was read."""

    @property
    def value(self) -> str:
        """Our accuracy, with its spread where there is one."""
        spread = f" ± {self.std:.1f}" if self.n > 1 else ""
        return f"{self.mean:.1f}{spread}"


def mean_and_std(accuracies: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0)."""
    mean = sum(accuracies) / len(accuracies)
    return mean, (sum((a - mean) ** 2 for a in accuracies) / len(accuracies)) ** 0.5


def record(
    row: Published,
    experiment: Experiment,
    amount: Amount,
    found: Outcome,
    how: ReproductionSettings,
) -> dict[str, Any]:
    """The JSON of a row that was run: numbers, how they came to be, and the published ones."""
    from condensery._version import __version__
    from condensery.runtime.provenance import commit, machine, versions

    from .sets import condensing_facts

    flat = [a for one in found.accuracies for a in one]
    mean, std = mean_and_std(flat)
    condensing = condensing_facts(found.made) if experiment.kind == "condense" else None
    said = amount.departures(experiment)
    departures = departures_of(experiment.data, said, found.contents, condensing)
    judged = verdict(row, flat, departures)
    hardware = {name: value for name, value in machine().items() if name != "host"}
    return {
        "address": row.address,
        "published": row.as_dict(),
        "verdict": judged.short,
        "verdict_text": judged.text,
        "difference": round(judged.difference, 4),
        "tolerance": round(judged.tolerance, 4),
        "tolerance_from": judged.basis,
        "departures": list(judged.departures),
        "n": len(flat),
        "mean": mean,
        "std": std,
        "accuracies": flat,
        "sets": [list(one) for one in found.accuracies],
        "seed": amount.seed,
        "protocol": found.protocol,
        "net": experiment.net,
        "scale": amount.scale_of(experiment),
        "iterations": found.iterations,
        "experiment": {**experiment.as_dict(), "data": amount.data or experiment.data},
        "contents": dict(found.contents),
        "fingerprints": dict(found.fingerprints),
        "condensing": condensing,
        "seconds": round(found.seconds, 1),
        "plan": found.plan,
        "version": __version__,
        "commit": commit(),
        "versions": versions(),
        "hardware": hardware,
        "command": command(row, amount, how),
    }


def departures_of(
    name: str, said: Sequence[str], found: object, condensing: object = None
) -> list[str]:
    """What a run departs in, its data's content among it; that is judged by this package's list.

    So is condensing in number types that round more than float32 does: no plan that does has been
    shown to give equal sets yet.

    Args:
        name: of the published row's data set.
        said: departures by what was requested, or those of a file.
        found: contents by split, as :func:`condensery.reproduction.originals.contents` gives them.
        condensing: how the sets were condensed, as
            :func:`condensery.reproduction.sets.condensing_facts` gives it.
    """
    ours = (NOT_COMPARED, OTHER_CONTENT)
    out = [words for words in said if words not in ours and not words.startswith(_CONDENSED)]
    out += _narrow_types(condensing)
    if any(words.startswith("on ") for words in out):
        return out  # another data set anyway
    other = departure(name, found)
    return out if other is None else [*out, other]


def _narrow_types(condensing: object) -> list[str]:
    if not isinstance(condensing, dict):
        return []
    narrow = condensing.get("narrow")
    if isinstance(narrow, list):
        return [f"{_CONDENSED} with {' and '.join(map(str, narrow))}"] if narrow else []
    # Older records name the plan alone.
    known = condensing.get("plans") == ["exact"]
    return [] if known else [f"{_CONDENSED} in number types that were not recorded"]


def command(row: Published, amount: Amount, how: ReproductionSettings) -> str:
    """The command that repeats a row."""
    words = ["condensery", "reproduce", row.place, "--row", row.name]
    flags = {
        "scale": f"{amount.scale:g}" if amount.scale != 1 else None,
        "sets": amount.sets,
        "nets": amount.nets,
        "epochs": amount.epochs,
        "data": amount.data,
        "layout": amount.layout,
        "range": amount.value_range,
        "seed": amount.seed or None,
        "plan": how.plan if how.plan != "auto" else None,
        "device": how.device,
        "threads": how.threads,
    }
    for name, value in flags.items():
        if value is not None:
            # -1,1 in a word of its own would be taken for a flag
            words += [f"--range={value}"] if name == "range" else [f"--{name}", str(value)]
    return shlex.join(words)


def read_records(folder: Path) -> list[Record]:
    """All records below a folder, in the order of the published rows.

    Raises:
        DataError: for a file that is not a record, or of a row that does not exist.
    """
    rows = {row.address: row for row in published()}
    order = {address: number for number, address in enumerate(rows)}
    files = [file for file in sorted(folder.rglob("*.json")) if not _hidden(file, folder)]
    found = [_read(file, folder, rows) for file in files]
    return sorted(found, key=lambda r: (order[r.row.address], str(r.path)))


def _hidden(file: Path, folder: Path) -> bool:
    """Whether it is what a killed process was just writing, or none of ours."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _read(file: Path, folder: Path, rows: dict[str, Published]) -> Record:
    try:
        held = read_json(file)
        row = rows[held["address"]]
        accuracies = [float(a) for a in held["accuracies"]]
        mean, std = mean_and_std(accuracies)
        experiment = experiment_of(row)
        name = row.dataset if isinstance(experiment, Unmapped) else experiment.data
        said = [str(words) for words in held["departures"]]
        contents, condensing = held.get("contents"), held.get("condensing")
        return Record(
            row=row,
            verdict=verdict(row, accuracies, departures_of(name, said, contents, condensing)),
            mean=mean,
            std=std,
            n=len(accuracies),
            protocol=str(held["protocol"]),
            scale=float(held["scale"]),
            commit=held["commit"],
            path=file.relative_to(folder),
        )
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, AttributeError) as error:
        raise DataError(
            f"{file} was not written by reproduce ({type(error).__name__}: {error}); remove it "
            "from the folder of results"
        ) from error


def best(records: Sequence[Record]) -> Record:
    """The record of a row that says most: without departures, then the longest, the most tested."""
    return max(records, key=lambda r: (not r.verdict.departures, r.scale, r.n, str(r.path)))
