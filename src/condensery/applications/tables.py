"""What the tables of the applications have in common."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from condensery.utils.escape import csv_text


def csv_of(names: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    """Comma-separated values with unrounded numbers; what no name asks for is left out."""
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for line in lines:
        texts = {key: csv_text(value) for key, value in line.items() if isinstance(value, str)}
        writer.writerow({**line, **texts})
    return out.getvalue()


def spread(accuracies: Sequence[float]) -> str:
    """Mean and standard deviation (ddof 0) for a table."""
    mean = f"{np.mean(accuracies):.1f}"
    return f"{mean} ± {np.std(accuracies):.1f}" if len(accuracies) > 1 else mean
