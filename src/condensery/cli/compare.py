"""``condensery compare``: several rows through several networks and protocols."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from condensery.evaluation.comparison import Comparer
from condensery.evaluation.run import EvaluationSettings, shown_by
from condensery.runtime.distributed import Ranks, check_device, joined
from condensery.runtime.malloc import keep_memory
from condensery.utils.output import put_error
from condensery.utils.plotting import check_drawing
from condensery.utils.progress import Progress
from condensery.utils.signals import interruptible

from .shared import data_of, with_random
from .telling import conclude, folder_of, printer


def compare(options: Any) -> int:
    """Train and test what is missing, in one process or in those of torchrun."""
    with joined() as ranks:
        return _compare(options, ranks)


def _compare(options: Any, ranks: Ranks) -> int:
    """Train and test what is missing; print and write one table."""
    keep_memory()
    check_device(options.device, ranks)
    check_drawing(options.plot, "--plot")
    names = list(options.set)
    out = folder_of(options.out, Path("runs") / "compare")
    how = EvaluationSettings(
        options.nets, options.epochs, options.seed, options.plan, options.device, options.threads
    )
    data = ranks.local_rank_first(lambda: data_of(names, options))
    ready = Comparer(
        with_random(names, data),
        data,
        nets=options.net,
        protocols=options.protocol or "dsa",
        reference=options.reference,
        store=out,
        how=how,
    )
    say, known = printer(options, ranks.first), ready.known()
    if known:
        say(
            f"{known} of {ready.total} networks are already evaluated; {ready.total - known} are "
            "left"
        )
    quiet = options.quiet or not ranks.first
    bar = Progress(ready.total, "networks", quiet=quiet, done=known)
    with bar as progress, interruptible() as stops:
        try:
            watch: dict[str, Any] = shown_by(progress)
            found = ready.run(ranks=ranks, **watch)
        except KeyboardInterrupt:
            left = ready.total - ready.known()
            if not ranks.first:
                return 128 + (stops[0] if stops else signal.SIGINT)
            put_error(
                f"condensery: stopped with {left} of {ready.total} networks left; those that are "
                f"finished are kept in {out}, and the same command continues"
            )
            return 128 + (stops[0] if stops else signal.SIGINT)
    files = [(options.csv, found.csv), (options.markdown, found.markdown)]
    lines = found.text().splitlines()
    if options.plot and ranks.first:
        found.picture(options.plot)
        lines.append(f"drawing: {options.plot}")
    conclude(options, found.as_dict(), lines, files, speaks=ranks.first)
    return 0
