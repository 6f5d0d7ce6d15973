"""``condensery evaluate``: trains fresh networks on sets and tests them."""

from __future__ import annotations

import signal
from typing import Any

from condensery.data import cache_folder
from condensery.evaluation.api import Evaluation
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.result import Result, result_table
from condensery.evaluation.run import EvaluationSettings, shown_by
from condensery.runtime.distributed import Ranks, check_device, joined
from condensery.runtime.malloc import keep_memory
from condensery.utils.output import put_error
from condensery.utils.progress import Progress
from condensery.utils.signals import interruptible

from .shared import data_of, with_random
from .telling import conclude, printer

#: Networks per set, where nothing else is said.
_NETS = 5


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
    nets = _NETS if options.nets is None else options.nets
    how = EvaluationSettings(
        nets,
        options.epochs,
        options.seed,
        options.plan,
        options.device,
        options.threads,
        options.minutes,
        options.confusion,
    )
    own = None if options.out is not None else KeptCells(cache_folder() / "networks", strict=False)
    ready = Evaluation(
        with_random(names, data),
        data,
        network=options.net,
        protocol=options.protocol,
        how=how,
        keep=own or options.out,
    )
    found = _run(ready, options, ranks)
    if isinstance(found, int):
        return found
    results = [one for one in found if one is not None]
    late = [c.row.name for c, one in zip(ready.cells, found, strict=True) if one is None]
    lines = result_table(results, len(data.test)).splitlines()
    if late:
        lines.append(
            f"not reached in {options.minutes:g} minutes: {', '.join(late)}; the same command "
            "continues, or raise --minutes"
        )
    made: dict[str, Any] = {"results": [one.as_dict() for one in results]}
    made["tested_on"] = len(data.test)
    if options.confusion:
        made["class_names"] = list(data.test.class_names)
    conclude(options, made, lines, speaks=ranks.first)
    return 0


def _run(ready: Evaluation, options: Any, ranks: Ranks) -> list[Result | None] | int:
    """The results, or the exit code of a command that was stopped."""
    quiet = options.quiet or not ranks.first
    timed = options.minutes is not None
    told = ranks.broadcast_object(_estimated(ready, options, quiet) if ranks.first else None)
    if timed and not ranks.first:
        ready.cut(*told)
    known = ready.known() if timed else 0
    bar = Progress(ready.total, "networks", quiet=quiet, done=known, minutes=options.minutes)
    with bar as progress, interruptible() as stops:
        try:
            watch: dict[str, Any] = shown_by(progress)
            return ready.run(ranks=ranks, tell_known=not timed, **watch)
        except KeyboardInterrupt:
            number = stops[0] if stops else signal.SIGINT
    if ranks.first:
        put_error(
            f"condensery: stopped with {ready.total - ready.known()} of {ready.total} networks "
            "left; those that are finished are kept, and the same command continues"
        )
    return 128 + number


def _estimated(ready: Evaluation, options: Any, quiet: bool) -> Any:
    """Say what it will take; with --minutes also cut it to them, and tell how."""
    say = printer(options)
    if options.minutes is None:
        if not quiet and (text := ready.estimate()):
            say(f"{text}; --minutes N cuts networks and epochs to N minutes")
        return None
    text = ready.fit(keep_networks=options.nets is not None, keep_epochs=options.epochs is not None)
    if text:
        say(text)
    return ready.n, [cell.training.epochs for cell in ready.cells], ready.tight
