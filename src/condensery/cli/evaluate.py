"""``condensery evaluate``: trains fresh networks on sets and tests them."""

from __future__ import annotations

from typing import Any

from condensery.evaluation.result import result_table
from condensery.evaluation.rows import rows_of
from condensery.evaluation.run import evaluate as evaluate_sets
from condensery.runtime.malloc import keep_memory
from condensery.utils.progress import Progress

from .shared import conclude, data_of


def evaluate(options: Any) -> int:
    """Train and test networks; print and write the table."""
    keep_memory()
    names = list(options.set)
    data = data_of(names, options)
    networks = options.net or [data.net]
    rows = rows_of(names, data)
    total = sum(row.count for row in rows) * options.nets * len(networks)
    with Progress(total, "networks", quiet=options.quiet) as progress:
        results = evaluate_sets(
            rows,
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
    lines = result_table(results, len(data.test)).splitlines()
    conclude(options, {"results": [result.as_dict() for result in results]}, lines)
    return 0
