"""Selecting in one call, for programs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from condensery.data import load
from condensery.sets.condensed import CondensedSet
from condensery.utils.python_words import python_words
from condensery.utils.renamed import old_names
from condensery.utils.signals import Interrupted

from .folder import Selections
from .methods import check_budget, check_no_training, selection_named, trains
from .methods import select as select_one

_LOG = logging.getLogger(__name__)
#: Arguments that say where and how a network is trained.
_PLACE = ("plan", "device", "threads")


@python_words
def select(
    data: Any,
    method: str = "random",
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    out: str | Path | None = None,
    progress: bool = False,
    **training: Any,
) -> CondensedSet:
    """Real images of every class: the baselines a condensed set has to beat.

    Args:
        data: anything that :func:`condensery.load` takes.
        method: ``random``, ``herding``, ``nearest``, ``k_center``, ``kmeans``, ``rded``,
            ``forgetting`` or ``forgetting_toneva``.
        ipc: images per class.
        seed: which draw, or which network.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        out: a folder, as the command writes it; one that holds this selection gives it.
        progress: show a bar while a network is trained.
        **training: ``networks``, or what :meth:`Networks.of` takes, such as ``network`` and
            ``epochs``, and ``factor`` of ``rded``; ``random`` trains no network.

    Raises:
        DataError: when a class has fewer images than the budget.
        UsageError: for a wrong name or value, or an ``out`` that holds something else.

    >>> from condensery import select
    >>> select("digits", "random", ipc=2)
    CondensedSet(20 images of 1×8×8, 2 per class in 10 classes, by random from digits)
    """
    own = ("networks", "on_part", "say")
    if out is None and (not progress or any(name in training for name in own)):
        read_as: dict[str, Any] = {"size": size, "channels": channels}
        return select_one(data, method, ipc=ipc, seed=seed, **read_as, **training)
    name = selection_named(method)
    if not trains(name):
        check_no_training(name, training)
    loaded = load(data, size=size, channels=channels)
    check_budget(loaded, ipc)
    old = {"net": training.pop("net")} if "net" in training else {}
    training |= old_names("select", old, {"net": "network"})
    factor = training.pop("factor", None)
    where = {key: training.pop(key) for key in _PLACE if key in training}
    work = Selections(
        loaded,
        name,
        ipc=ipc,
        size=size,
        channels=channels,
        training=training,
        factor=factor,
        quiet=not progress,
        say=_LOG.info,
        **where,
    )
    try:
        return work.select(seed) if out is None else work.make(Path(out), seed)
    except Interrupted as stop:
        raise KeyboardInterrupt from stop
