"""``condensery compare``: several rows through several networks and protocols."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from condensery.evaluation.comparison import Comparer
from condensery.evaluation.run import EvaluationSettings
from condensery.runtime.malloc import keep_memory
from condensery.utils.files import write_text
from condensery.utils.progress import Progress
from condensery.utils.signals import interruptible

from .shared import data_of, folder_of, printer, write_result


def compare(options: Any) -> int:
    """Train and test what is missing; print and write one table."""
    keep_memory()
    names = list(options.set)
    out = folder_of(options.out, Path("runs") / "compare")
    how = EvaluationSettings(
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
        say(
            f"{known} of {ready.total} networks are already evaluated; {ready.total - known} are "
            "left"
        )
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
