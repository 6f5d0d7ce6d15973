"""What the commands of the applications have in common."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from condensery.applications.methods import Method, Running, methods_of
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.runtime.malloc import keep_memory
from condensery.utils.output import put_error
from condensery.utils.plotting import check_drawing
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted, interruptible
from condensery.utils.text import plural, time_text

from .telling import conclude, printer

#: Called after each network: what it was, and its accuracy.
Tell = Callable[[str, float], None]


def begin(options: Any) -> Running:
    """What is wrong with the flags that all applications share is found before any work."""
    keep_memory()
    if options.iterations is not None and options.iterations < 0:
        raise UsageError(f"--iterations must be at least 0, got {options.iterations}")
    check_drawing(options.picture, "--picture")
    return Running(options.plan, options.device, options.threads, options.quiet, printer(options))


def read(spec: str, options: Any) -> Data:
    """A data set, read as the flags say."""
    flip = False if options.no_flip else None
    return load(spec, size=options.size, channels=options.channels, flip=flip)


def amount(given: int | None, small: int | None, full: int | None, options: Any) -> int | None:
    """What was typed; otherwise the paper's amount with --full, and a small one without."""
    if given is not None:
        return given
    return full if options.full else small


def methods_for(options: Any, names: Sequence[str]) -> list[Method]:
    """The methods of a command, with what its flags say of condensing."""
    iterations = amount(options.iterations, 100, None, options)
    epochs = amount(options.select_epochs, 3, None, options)
    trust, net = options.trust_imports, options.condense_net
    return methods_of(names, iterations, net=net, epochs=epochs, trust_imports=trust)


def estimated(sets: int, networks: int, seconds: tuple[float, float], options: Any) -> int:
    """Say what a command would take."""
    condensing, training = seconds
    lines = [
        f"would make {plural(sets, 'set')}: about {time_text(condensing)} for those of recipes; "
        "selections come on top",
        f"would train {plural(networks, 'network')}: about {time_text(training)} in plain float32",
        "nothing was written; leave out --dry-run to start",
    ]
    value = {
        "dry_run": {
            "sets": sets,
            "networks": networks,
            "condensing_seconds": condensing,
            "training_seconds": training,
        }
    }
    conclude(options, value, lines)
    return 0


def carried_out(total: int, run: Callable[[Tell], Any], out: Path, options: Any) -> tuple[Any, int]:
    """Run an application with progress; its result, or the exit code of what stopped it."""
    with Progress(total, "networks", quiet=options.quiet) as progress, interruptible() as stops:
        try:
            return run(lambda what, got: progress.advance(f"{what}: {got:.1f} %")), 0
        except (KeyboardInterrupt, Interrupted) as stop:
            number = stop.number if isinstance(stop, Interrupted) else (stops or [signal.SIGINT])[0]
            put_error(
                f"condensery: stopped; what is finished is kept in {out}, and the same command "
                "continues"
            )
            return None, 128 + int(number)


def told(found: Any, options: Any) -> int:
    """Print and write an application's result."""
    files = [(options.csv, found.csv), (options.markdown, found.markdown)]
    if options.picture:
        found.picture(Path(options.picture))
    conclude(options, found.as_dict(), found.text().splitlines(), files)
    return 0
