"""The commands that look and measure: evaluation, and what was understood of data."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from condensery.data import as_json, describe
from condensery.evaluation.comparison import Comparer
from condensery.evaluation.result import result_table
from condensery.evaluation.rows import rows_of
from condensery.evaluation.run import How
from condensery.evaluation.run import evaluate as evaluate_sets
from condensery.runtime.malloc import keep_memory
from condensery.utils.files import write_text
from condensery.utils.progress import Progress
from condensery.utils.signals import interruptible

from .shared import data_of, folder_of, printer, read, write_result


def evaluate(options: Any) -> int:
    """Train and test networks; print and write the table."""
    keep_memory()
    names = list(options.set)
    data = data_of(names, options)
    networks = options.net or [data.net]
    rows = rows_of(names, data)
    say = printer(options)
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
    say(result_table(results, len(data.test)))
    write_result(options, {"results": [result.as_dict() for result in results]})
    return 0


def compare(options: Any) -> int:
    """Train and test what is not known yet; print and write one table."""
    keep_memory()
    names = list(options.set)
    out = folder_of(options.out, Path("runs") / "compare")
    how = How(
        options.nets, options.epochs, options.seed, options.plan, options.device, options.threads
    )
    ready = Comparer(
        names,
        data_of(names, options),
        nets=options.net,
        protocols=options.protocol or "dsa",
        reference=options.reference,
        store=out,
        how=how,
    )
    say, known = printer(options), ready.known()
    if known:
        say(f"{known} of {ready.total} networks are known; {ready.total - known} are left")
    bar = Progress(ready.total, "networks", quiet=options.quiet, done=known)
    with bar as progress, interruptible() as stops:
        try:
            found = ready.run(lambda what, got: progress.advance(f"{what}: {got:.1f} %"))
        except KeyboardInterrupt:
            left = ready.total - ready.known()
            print(
                f"condensery: stopped with {left} of {ready.total} networks left; those that are "
                f"finished are kept in {out}, and the same command continues",
                file=sys.stderr,
            )
            return 128 + (stops[0] if stops else signal.SIGINT)
    say(found.text())
    if options.csv:
        write_text(Path(options.csv), found.csv())
    if options.markdown:
        write_text(Path(options.markdown), found.markdown())
    write_result(options, found.as_dict())
    return 0


def data(options: Any) -> int:
    """Say what was understood of a data set."""
    loaded = read(options.spec, options)
    printer(options)("\n".join(describe(loaded)))
    write_result(options, as_json(loaded))
    return 0
