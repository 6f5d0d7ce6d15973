"""``--evaluate-at``: which sets a run keeps, and their accuracies once it is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condensery.condensation.run_folder import RunFolder
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import UsageError, unknown_name
from condensery.evaluation.curve import accuracy_curve, kept_at, parse_iterations
from condensery.evaluation.drawings import draw_curves
from condensery.runtime.distributed import Ranks
from condensery.runtime.malloc import keep_memory
from condensery.training.protocol import protocol_names
from condensery.utils.progress import Progress
from condensery.utils.text import table


def asked(folder: RunFolder, options: Any) -> dict[str, Any]:
    """What to evaluate and how: as the command says, or as the run started with."""
    at = parse_iterations(options.evaluate_at)
    if not at:
        held = folder.facts().get("evaluate_at")
        return dict(held) if isinstance(held, dict) else {}
    if options.evaluate_protocol not in protocol_names():
        raise unknown_name("protocol", options.evaluate_protocol, protocol_names())
    if options.evaluate_nets < 1:
        raise UsageError(f"--evaluate-nets must be at least 1, got {options.evaluate_nets}")
    if options.evaluate_epochs is not None and options.evaluate_epochs < 1:
        raise UsageError(f"--evaluate-epochs must be at least 1, got {options.evaluate_epochs}")
    return {
        "at": list(at),
        "protocol": options.evaluate_protocol,
        "n": options.evaluate_nets,
        "epochs": options.evaluate_epochs,
    }


def evaluated(
    data: Data, config: RunConfig, folder: RunFolder, options: Any, wanted: dict[str, Any], say: Any
) -> dict[str, Any]:
    """Evaluate the kept sets of a finished run, and print the table."""
    if not wanted:
        return {}
    at = [k for k in wanted["at"] if kept_at(folder.path, k) is not None]
    lacking = [str(k) for k in wanted["at"] if k not in at]
    if lacking:
        say(
            f"no set was kept at iteration {', '.join(lacking)}; sets are only kept while a run "
            "is in progress"
        )
    keep_memory()
    how = {name: wanted[name] for name in ("protocol", "n", "epochs")}
    where = _where(folder, options)
    with Progress(len(at) * wanted["n"], "networks", quiet=options.quiet) as progress:
        rows = accuracy_curve(
            folder.path,
            data,
            at,
            **how,
            **where,
            nets=None,
            seed=config.seed,
            on_network=lambda what, found: progress.advance(f"{found:.1f} %: {what}"),
        )
    head = ["iteration", "n", "accuracy %", "network", "protocol"]
    lines = [
        [
            str(row["iteration"]),
            str(row["n"]),
            f"{row['mean']:.1f} ± {row['std']:.1f}",
            row["net"],
            row["protocol"],
        ]
        for row in rows
    ]
    say(*table(head, lines).splitlines())
    return {"accuracy_at": rows}


def drawn(results: Sequence[Mapping[str, Any]], options: Any, ranks: Ranks) -> list[str]:
    """Draw the accuracies of all sets of a command; a line about it."""
    named = {Path(one["out"]).name: one.get("accuracy_at") for one in results}
    found = {f"set {name}": rows for name, rows in named.items() if rows}
    if not options.evaluate_plot or not found or not ranks.first:
        return []
    draw_curves(found, Path(options.evaluate_plot))
    return [f"drawing: {options.evaluate_plot}"]


def _where(folder: RunFolder, options: Any) -> dict[str, Any]:
    """The plan of a run's evaluations: automatic or exact as its own, on its device and threads."""
    held = folder.plan()
    if held is None:
        return {"plan": options.plan, "device": options.device, "threads": options.threads}
    name = "exact" if held.name == "exact" else "auto"
    return {"plan": name, "device": held.device, "threads": held.threads}
