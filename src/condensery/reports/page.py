"""From what lies at some paths to one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from condensery._version import __version__
from condensery.errors import UsageError
from condensery.utils.escape import printable
from condensery.utils.files import check_writable, write_text
from condensery.utils.plotting import Line

from . import charts
from .charts import Chart
from .confusion import Confusion, confusions
from .facts import command, making, summary
from .names import recipe_text, shown
from .neighbours import Neighbours, neighbours
from .pictures import Gallery, factors, gallery
from .result_charts import accuracies, steps
from .sources import Part, ResultPart, SetPart, read_parts
from .tables import Table, table_of

#: A page beyond this is no longer sent to anybody.
MOST_BYTES = 5_000_000


@dataclass(frozen=True)
class SetSection:
    """A set on the page."""

    title: str
    gallery: Gallery
    factors: Sequence[int]
    summary: list[tuple[str, str]]
    making: list[tuple[str, str]]
    command: str | None
    recipe: str | None
    charts: list[Chart]
    table: Table | None
    neighbours: Neighbours
    missing: list[str]


@dataclass(frozen=True)
class ResultSection:
    """A file of results on the page."""

    title: str
    table: Table
    charts: list[Chart]
    confusions: list[Confusion]


def report(paths: Sequence[str | Path], out: str | Path, *, data: str | None = None) -> int:
    """Write one self-contained page about runs, sets and results.

    Nothing is trained, and nothing is fetched; what is not there is named on the page.

    Args:
        paths: run folders, folders of several sets, ``.safetensors`` files, and JSON files that
            ``evaluate``, ``compare``, ``continual``, ``adapt`` or ``search`` wrote.
        out: the page's file, ``.html``.
        data: the data set that the sets were made of, for their nearest training images; by
            default where the run read it, if that is on this machine.

    Returns:
        The size of the page in bytes.

    Raises:
        UsageError: for a path that does not exist or is of another kind.
        DataError: for a file that is damaged.
    """
    place = Path(out)
    if place.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out} must end in .html")
    check_writable(place, "--out")
    if not paths:
        raise UsageError("report needs a path: a run folder, a set, or a JSON file of results")
    text = page(read_parts([str(path) for path in paths]), data)
    size = len(text.encode("utf-8"))
    if size > MOST_BYTES:
        raise UsageError(
            f"the page would have {size / 1e6:.1f} MB, and more than {MOST_BYTES / 1e6:.0f} MB are "
            "not sent to anybody; report on fewer sets"
        )
    write_text(place, text)
    return size


def page(parts: Sequence[Part], data: str | None = None) -> str:
    """The page's HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["plain"] = printable
    templates = resources.files("condensery.reports") / "templates"
    files = {name: (templates / name).read_text(encoding="utf-8") for name in _FILES}
    sets = sum(isinstance(part, SetPart) for part in parts)  # share the page's room
    sections = [
        _set_section(part, data, sets) if isinstance(part, SetPart) else _result_section(part)
        for part in parts
    ]
    return environment.from_string(files["report.html"]).render(
        title=_title(parts),
        sections=sections,
        style=files["report.css"],
        script=files["report.js"],
        version=__version__,
        missing=charts.available(),
    )


_FILES = ("report.html", "report.css", "report.js")


def _title(parts: Sequence[Part]) -> str:
    if len(parts) == 1 and isinstance(parts[0], SetPart):
        about = parts[0].condensed.about
        return f"{about.method} of {about.source.name}, {about.ipc} per class"
    return ", ".join(shown(part.name) for part in parts)


def _set_section(part: SetPart, data: str | None, sets: int) -> SetSection:
    found = gallery(part, sets)
    drawn, missing = [], []
    if charts.available() is None:
        drawn = [one for one in _curves(part) if one is not None]
    if not part.facts:
        missing.append("run.json: when, where and at what cost the set was made")
    if not part.metrics:
        missing.append("metrics.jsonl: the loss and what the supply did")
    if not part.over_time:
        missing.append(
            "accuracies over time: condense with --evaluate-at, or add the JSON of evaluate"
        )
    return SetSection(
        title=shown(part.name),
        gallery=found,
        factors=factors(found.side),
        summary=summary(part),
        making=making(part),
        command=command(part),
        recipe=None if part.recipe is None else recipe_text(part.recipe, part.settings),
        charts=drawn,
        table=_over_time(part),
        neighbours=neighbours(part, data),
        missing=missing,
    )


def _curves(part: SetPart) -> list[Chart | None]:
    rows = part.over_time
    means, stds = [tuple(float(row[name]) for row in rows) for name in ("mean", "std")]
    at = tuple(float(row["iteration"]) for row in rows)
    spent = _seconds(part.metrics)
    timed = [i for i, row in enumerate(rows) if row["iteration"] in spent]
    seconds = tuple(spent[rows[i]["iteration"]] for i in timed)
    loss = [
        (float(line["iteration"]), float(line["loss"]))
        for line in part.metrics
        if isinstance(line.get("loss"), int | float)
    ]
    drawn = [
        charts.chart(
            "Accuracy over iterations",
            [Line("", at, means, stds)],
            "outer iterations",
            "accuracy, %",
        ),
        charts.chart(
            "Accuracy over time",
            [Line("", seconds, tuple(means[i] for i in timed), tuple(stds[i] for i in timed))],
            "seconds of condensing",
            "accuracy, %",
        ),
        charts.chart(
            "Matching loss",
            [Line("", tuple(p[0] for p in loss), tuple(p[1] for p in loss))],
            "outer iterations",
            "loss",
            log=True,
        ),
    ]
    for name, line in charts.supply_lines(part.metrics).items():
        title = f"What the supply did: {name.replace('_', ' ')}"
        drawn.append(charts.chart(title, [line], "outer iterations", name.replace("_", " ")))
    return drawn


def _seconds(metrics: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Seconds that had passed at each outer iteration that was reported; 0 at the start."""
    told = {
        int(line["iteration"]): float(line["seconds"])
        for line in metrics
        if isinstance(line.get("seconds"), int | float)
    }
    return {0: 0.0, **told} if told else {}


def _over_time(part: SetPart) -> Table | None:
    if not part.over_time:
        return None
    rows = tuple(
        (
            str(row["iteration"]),
            str(row.get("n", "–")),
            f"{row['mean']:.1f} ± {row['std']:.1f}",
            str(row.get("net", "–")),
            str(row.get("protocol", "–")),
        )
        for row in part.over_time
    )
    head = ("iterations", "n", "accuracy, %", "network", "protocol")
    return Table("Accuracy over iterations", head, rows, frozenset((0, 1, 2)))


def _result_section(part: ResultPart) -> ResultSection:
    drawn: list[Chart | None] = []
    if charts.available() is None:
        drawn = [steps(part)] if part.kind == "continual" else accuracies(part)
    return ResultSection(
        title=part.name,
        table=table_of(part),
        charts=[one for one in drawn if one is not None],
        confusions=confusions(part),
    )
