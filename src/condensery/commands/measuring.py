"""The commands that look and measure: evaluation, and what was understood of data."""

from __future__ import annotations

from typing import Any

from condensery.condensed import load_sets
from condensery.data import as_json, describe
from condensery.engine.host import keep_memory
from condensery.evaluation import evaluate as evaluate_sets
from condensery.evaluation import whole_epochs
from condensery.progress import Progress
from condensery.report.results import result_table

from .shared import data_of, printer, read, write_result


def evaluate(options: Any) -> int:
    """Train and test networks; print and write the table."""
    keep_memory()
    names = list(options.set)
    data = data_of(names, options)
    networks = options.net or [data.net]
    say = printer(options)
    with Progress(_count(names, options, networks), "networks", quiet=options.quiet) as progress:
        results = evaluate_sets(
            names,
            data,
            nets=networks,
            protocol=options.protocol,
            n=options.nets,
            epochs=options.epochs,
            seed=options.seed,
            plan=options.plan,
            device=options.device,
            threads=options.threads,
            on_network=lambda what, found: progress.advance(f"{what}: {found:.1f} %"),
        )
    say(result_table(results, len(data.test)))
    write_result(options, {"results": [result.as_dict() for result in results]})
    return 0


def data(options: Any) -> int:
    """Say what was understood of a data set."""
    loaded = read(options.spec, options)
    printer(options)("\n".join(describe(loaded)))
    write_result(options, as_json(loaded))
    return 0


def _count(names: list[str], options: Any, networks: list[str]) -> int:
    sets = sum(1 if whole_epochs(name) is not None else len(load_sets(name)) for name in names)
    return sets * int(options.nets) * len(networks)
