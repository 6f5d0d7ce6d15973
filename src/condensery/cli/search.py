"""``condensery search``: networks ranked by what they come to on small sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condensery.applications.architecture_search import EARLY, SearchJob, SearchSettings

from .applications import amount, begin, carried_out, estimated, methods_for, read, told
from .telling import folder_of


def search(options: Any) -> int:
    """Make the proxies, train the networks, and print the table."""
    how = begin(options)
    settings = SearchSettings(
        ipc=amount(options.ipc, 10, 50, options) or 0,
        epochs=amount(options.epochs, 50, 200, options) or 0,
        whole_epochs=amount(options.whole_epochs, 5, 100, options) or 0,
        repeats=amount(options.repeats, 1, 5, options) or 0,
        sample=amount(options.sample, 12, None, options)
        if options.space is None
        else options.sample,
        seed=options.seed,
    )
    out = folder_of(options.out, Path("runs") / "search")
    proxies = options.proxies or ["random", "dm", EARLY]
    names = [name for name in proxies if name != EARLY]
    methods = methods_for(options, names) if names else []
    data, early = read(options.data, options), EARLY in proxies
    job = SearchJob(data, methods, settings, out, how, early=early, space=options.space)
    if options.dry_run:
        return estimated(job.memories, job.total, job.seconds(), options)
    found, code = carried_out(job.total, job.run, out, options)
    return code if found is None else told(found, options)
