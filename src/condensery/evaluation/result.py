"""The table of an evaluation."""

from __future__ import annotations

from condensery.utils.text import size_text, table, time_text

from .run import Result


def result_table(results: list[Result], tested_on: int) -> str:
    """Accuracies for people: every number with its n and protocol."""
    rows = [
        [
            result.set,
            "all" if result.ipc is None else str(result.ipc),
            result.net,
            result.protocol,
            str(result.n),
            f"{result.mean:.1f} ± {result.std:.1f}" if result.n > 1 else f"{result.mean:.1f}",
            size_text(result.stored_bytes),
            time_text(result.seconds),
        ]
        for result in results
    ]
    head = ["set", "ipc", "network", "protocol", "n", "accuracy %", "size", "time"]
    first = results[0]
    return (
        f"{table(head, rows)}\n"
        f"test split of {first.data} ({tested_on} images), last epoch, n = sets × networks, "
        f"mean ± std, seed {first.seed}; {first.plan}"
    )
