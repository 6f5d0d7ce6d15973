"""``condensery evaluate``: trains fresh networks on sets and tests them."""

from __future__ import annotations

from typing import Any

from condensery.evaluation.result import result_table
from condensery.evaluation.rows import rows_of
from condensery.evaluation.run import evaluate as evaluate_sets
from condensery.runtime.distributed import Ranks, check_device, joined
from condensery.runtime.malloc import keep_memory
from condensery.utils.progress import Progress

from .shared import conclude, data_of


def evaluate(options: Any) -> int:
    """Train and test networks, in one process or in those of torchrun."""
    with joined() as ranks:
        return _evaluate(options, ranks)


def _evaluate(options: Any, ranks: Ranks) -> int:
    """Train and test networks; print and write the table."""
    keep_memory()
    check_device(options.device, ranks)
    names = list(options.set)
    data = ranks.local_rank_first(lambda: data_of(names, options))
    networks = options.net or [data.net]
    rows = rows_of(names, data)
    total = sum(row.count for row in rows) * options.nets * len(networks)
    with Progress(total, "networks", quiet=options.quiet or not ranks.first) as progress:
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
            ranks=ranks,
        )
    lines = result_table(results, len(data.test)).splitlines()
    made = {"results": [result.as_dict() for result in results]}
    conclude(options, made, lines, speaks=ranks.first)
    return 0
