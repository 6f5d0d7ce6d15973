"""One published row run again: its sets are made, tested as the paper did, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condensery.data import Data
from condensery.utils.files import LONG_AGO, remove_leftovers, write_json

from . import Experiment
from .applied import applied
from .originals import departure
from .outcome import contents_for, outcome, result_name
from .published import Published
from .records import record
from .settings import ReproductionSettings
from .verdict import Amount


def run_row(
    row: Published, experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> tuple[dict[str, Any], Path]:
    """Make a row's sets, test them, and write what came of it: the record, and its file.

    Args:
        row: the published row.
        experiment: what it means here.
        amount: how much of it is done.
        data: of the experiment, or those in their place.
        how: where and how.

    Raises:
        Interrupted: when a signal asked to stop.
    """
    other = departure(experiment.data, contents_for(experiment, amount))
    if amount.data in (None, experiment.data) and other is not None:
        how.say(f"here: {other}, so no result counts as reproduced")
    if experiment.use is not None:
        found = applied(experiment, amount, data, how)
    else:
        found = outcome(experiment, amount, data, how)
    made = record(row, experiment, amount, found, how)
    file = how.out / "results" / result_name(row, experiment, amount)
    if how.ranks.first:
        remove_leftovers(file.parent, older_than=LONG_AGO)
        write_json(file, made)
    return made, file
