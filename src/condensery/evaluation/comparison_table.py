"""The table of a comparison: for programs, for a screen and in Markdown."""

from __future__ import annotations

import csv as csv_files
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.utils.escape import csv_text, markdown
from condensery.utils.screen import fitting_table, wrapped
from condensery.utils.text import plural, size_text, table, time_text

from .compared import Compared
from .drawings import draw_comparison
from .result import accuracy_text, frame, small_test_notes
from .significance import CONFIDENCE

#: Marks what was tested on networks: it speaks of the sets at hand.
_MARK = "†"


def screen_table(comparison: Comparison) -> str:
    """Lines that fit the screen, and what its columns mean below them."""
    head, rows = _columns(comparison, str)
    cells = {name: [row[place] for row in rows] for place, name in enumerate(head)}
    optional = ["time", "size", "ipc", "of whole"]
    drawn = fitting_table(cells, keyed=["protocol", "network"], optional=optional)
    return "\n".join([drawn, *wrapped(_notes(comparison))])


def markdown_table(comparison: Comparison) -> str:
    """A table of GitHub's Markdown, and what its columns mean below it."""
    head, cells = _columns(comparison, markdown)
    notes = [f"{markdown(note)}  " for note in _notes(comparison)]
    return "\n".join([table(head, cells, markdown=True), "", *notes]) + "\n"


def _columns(
    comparison: Comparison, text: Callable[[object], str]
) -> tuple[list[str], list[list[str]]]:
    rows = comparison.rows
    columns = {
        "set": [text(row.result.set) for row in rows],
        "ipc": ["all" if row.result.ipc is None else str(row.result.ipc) for row in rows],
        "network": [text(row.result.net) for row in rows],
        "protocol": [text(row.result.protocol) for row in rows],
        "n": [_count(row) for row in rows],
        "accuracy %": [accuracy_text(row.result, comparison.tested_on) for row in rows],
    }
    if any(row.relative is not None for row in rows):
        columns["of whole"] = [
            "" if row.relative is None else f"{row.relative:.1f} %" for row in rows
        ]
    if comparison.reference is not None:
        columns["difference"] = [_difference(row) for row in rows]
        columns["p"] = [_p(row) for row in rows]
    columns["size"] = [size_text(row.result.stored_bytes) for row in rows]
    columns["time"] = [time_text(row.result.seconds) for row in rows]
    return list(columns), [list(line) for line in zip(*columns.values(), strict=True)]


def _count(row: Compared) -> str:
    sets = row.result.sets
    return str(len(sets[0])) if len(sets) == 1 else f"{len(sets)}×{len(sets[0])}"


def _difference(row: Compared) -> str:
    held = row.difference
    if held is None:
        return "reference"
    if held.interval is None:
        return f"{held.difference:+.1f}"
    return f"{held.difference:+.1f} [{held.interval[0]:+.1f}, {held.interval[1]:+.1f}]"


def _p(row: Compared) -> str:
    if row.difference is None:
        return ""
    if row.p_corrected is None:
        return "-"
    p = "<.0001" if row.p_corrected < 1e-4 else f"{row.p_corrected:.4f}".removeprefix("0")
    return f"{p} {_MARK}" if row.difference.these_sets_only else p


def _notes(comparison: Comparison) -> list[str]:
    first = comparison.rows[0].result
    plans = {row.result.plan for row in comparison.rows}
    notes = [
        f"test split of {first.data} ({comparison.tested_on} images), last epoch, n = sets × "
        f"networks, mean ± std over all of them, seed {first.seed}; {', '.join(sorted(plans))}"
    ]
    notes += small_test_notes(comparison.tested_on)
    bounds = sorted({row.bound for row in comparison.rows if row.bound is not None})
    if bounds:
        notes.append(f"of whole: in percent of the mean under {', '.join(bounds)}")
    if comparison.reference is None:
        return notes
    tests = comparison.tests
    held = [row.difference for row in comparison.rows if row.difference is not None]
    by_sets = any(one.units == "sets" for one in held)
    notes.append(
        f"difference: to {comparison.reference} in points, with its 95 % confidence interval "
        f"(Welch{', on the means of sets' * by_sets}); p: two-sided, corrected for "
        f"{plural(tests, 'test')} (Holm)"
    )
    if any(one.these_sets_only for one in held):
        notes.append(
            f"{_MARK} a row has one set: tested on networks, which says something about these sets "
            "only, not about the methods that made them"
        )
    reasons = sorted({one.why_not for one in held if one.why_not is not None})
    notes += [f"- not tested: {reason}" for reason in reasons]
    return notes


@dataclass(frozen=True, repr=False)
class Comparison:
    """The table of a comparison."""

    rows: tuple[Compared, ...]
    """By network and protocol, and in each in the order of the sets."""
    reference: str | None
    """Name of the row that the others are compared with."""
    tested_on: int
    """Images of the test split."""

    @property
    def tests(self) -> int:
        """Number of tests, which their p-values are corrected for."""
        return sum(row.p_corrected is not None for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "results": [row.as_dict() for row in self.rows],
            "reference": self.reference,
            "tested_on": self.tested_on,
            "confidence": CONFIDENCE,
            "tests": self.tests,
            "correction": "holm",
        }

    def text(self) -> str:
        """The table for a screen."""
        return screen_table(self)

    def __str__(self) -> str:
        """The table, as the command prints it."""
        return self.text()

    def __repr__(self) -> str:
        """One line."""
        rows = plural(len(self.rows), "row")
        return f"Comparison({rows}; print it, or see to_pandas(), markdown(), csv())"

    def _repr_markdown_(self) -> str:
        """For notebooks."""
        return self.markdown()

    def to_pandas(self) -> Any:
        """A data frame with a line per row, and all that :meth:`as_dict` says of it.

        Raises:
            UsageError: where pandas is not installed.
        """
        return frame([row.as_dict() for row in self.rows])

    def markdown(self) -> str:
        """The table in Markdown."""
        return markdown_table(self)

    def picture(self, path: str | Path) -> None:
        """Draw the rows, and the tested differences beside them, as PNG, SVG or PDF.

        Raises:
            UsageError: where matplotlib is not installed.
        """
        draw_comparison(self.rows, self.reference, self.tested_on, Path(path))

    def csv(self) -> str:
        """The table as comma-separated values, with unrounded numbers."""
        names = [name for name in self.rows[0].as_dict() if name not in ("accuracies", "sets")]
        at = names.index("interval")
        names[at : at + 1] = ["low", "high"]
        names.insert(names.index("n") + 1, "number_of_sets")
        out = io.StringIO()
        writer = csv_files.DictWriter(out, names, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in self.rows:
            held = row.as_dict()
            low, high = held["interval"] or (None, None)
            line = {**held, "low": low, "high": high, "number_of_sets": len(held["sets"])}
            texts = {k: csv_text(value) for k, value in line.items() if isinstance(value, str)}
            writer.writerow({**line, **texts})
        return out.getvalue()
