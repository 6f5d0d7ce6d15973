"""``condensery pool``: trains pools of networks."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

from condensery.methods.pools.train import pool_settings, summary, train_pool
from condensery.runtime.distributed import Ranks, check_device, joined
from condensery.runtime.malloc import keep_memory
from condensery.utils.checkpoint import Every
from condensery.utils.output import put_error
from condensery.utils.signals import Interrupted

from .shared import read
from .telling import conclude, folder_of, printer


def pool(options: Any) -> int:
    """Train networks, in one process or in those of torchrun."""
    with joined() as ranks:
        return _pool(options, ranks)


def _pool(options: Any, ranks: Ranks) -> int:
    """Train networks on the real training split and keep their snapshots."""
    keep_memory()
    check_device(options.device, ranks)
    data = ranks.local_rank_first(lambda: read(options.data, options))
    names = ("epochs", "snapshots", "held_out", "rate", "momentum", "weight_decay", "batch")
    more = ("augmentation", "strategy", "cutmix", "schedule", "average", "seed")
    given = {name: getattr(options, name) for name in (*names, *more)}
    settings = pool_settings(data, options.net, **given)
    say = printer(options, ranks.first)
    for note in data.notes:
        say(f"note: {note}")
    net = re.sub(r"[^\w.=,-]", "_", settings.net)
    out = folder_of(options.out, Path("runs") / f"{data.name}-{net}-pool")
    where = {"plan": options.plan, "device": options.device, "threads": options.threads}
    try:
        found = train_pool(
            data,
            settings,
            options.count,
            out,
            quiet=options.quiet or not ranks.first,
            say=say,
            every=Every.parse(options.checkpoint_every),
            ranks=ranks,
            **where,
        )
    except Interrupted as stop:
        if ranks.first:
            put_error(f"condensery: stopped by {stop}; the same command continues {out}")
        return 128 + stop.number
    bands = ", ".join(f"{number} in {band} %" for band, number in found.bands().items())
    same = ["--data", options.data]
    for flag in ("size", "channels", "sample-rate", "layout", "range"):
        value = getattr(options, flag.replace("-", "_"))
        same += [f"--{flag}", str(value)] if value is not None else []
    same += ["--no-flip"] if options.no_flip else []
    same += ["--zca"] if options.zca else []
    again = shlex.join(["--supply.kind", "pool", "--supply.path", str(out), *same])
    lines = [
        *summary(found),
        f"{len(found.snapshots)} snapshots: {bands or 'no accuracies'}",
        f"next: condensery condense {again}",
    ]
    listed = [dataclasses.asdict(one) for one in found.snapshots]
    conclude(
        options,
        {"out": str(out), "snapshots": listed, "bands": found.bands()},
        lines,
        speaks=ranks.first,
    )
    return 0
