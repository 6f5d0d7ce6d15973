"""Evaluating in one call, for programs and for the command."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condensery.data import load
from condensery.errors import UsageError
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan
from condensery.utils.progress import Progress
from condensery.utils.python_words import python_words
from condensery.utils.renamed import old_names
from condensery.utils.text import plural, time_text

from .cache import Keeper, KeptCells, Remembered, store_folder
from .cell import Cell
from .estimate import costs_of
from .fitting import Fitted, expected, fitted, in_time, with_epochs
from .result import Result
from .rows import flipped_for, rows_of
from .run import (
    EvaluationSettings,
    OnNetwork,
    OnPart,
    cell_of,
    keepers_of,
    known_networks,
    networks,
    run_cell,
    shown_by,
)

_LOG = logging.getLogger(__name__)


class Evaluation:
    """An evaluation that is ready to run: everything is checked, nothing is trained.

    Args:
        sets: as for :func:`evaluate`.
        data: as for :func:`evaluate`.
        network: networks.
        protocol: how they are trained.
        how: what all rows share.
        keep: where accuracies are kept.
    """

    def __init__(
        self,
        sets: Any,
        data: Any,
        *,
        network: Sequence[str] | str | None,
        protocol: str,
        how: EvaluationSettings,
        keep: str | Path | Keeper | None = None,
    ) -> None:
        minutes = how.minutes
        if minutes is not None and not 0 < minutes < float("inf"):
            raise UsageError(f"--minutes must be positive, got {minutes:g}")
        self.data = load(data)
        self.n, self.minutes, self.tight = how.n, minutes, False
        rows, chosen = rows_of(sets, self.data), networks(network, self.data)
        self.data = flipped_for(rows, self.data)
        # Everything is checked before the first network is trained.
        self.cells = [cell_of(row, self.data, net, protocol, how) for row in rows for net in chosen]
        self.store: Keeper | None = (
            KeptCells(store_folder(keep)) if isinstance(keep, str | Path) else keep
        )

    @property
    def total(self) -> int:
        """Networks in all."""
        return sum(cell.row.count for cell in self.cells) * self.n

    def known(self) -> int:
        """How many of them need no training."""
        return known_networks(self.cells, self.n, self.store)

    def estimate(self) -> str:
        """What the networks that are not known yet will take, in words; empty when all are."""
        cells = self._unknown()
        costs = costs_of(cells)
        if not cells:
            return ""
        seconds = [expected([c], [cost], self.n) for c, cost in zip(cells, costs, strict=True)]
        whole = sum(s for s, cell in zip(seconds, cells, strict=True) if cell.row.whole)
        part = f", {time_text(whole)} of them for whole" if whole else ""
        missing = plural(self.total - self.known(), "network")
        return f"time: about {time_text(sum(seconds))} for {missing}{part}"

    def fit(self, *, keep_networks: bool = False, keep_epochs: bool = False) -> str:
        """Cut networks and epochs to the minutes there are; what was cut, in words.

        Args:
            keep_networks: whether their number stays what it is.
            keep_epochs: whether the epochs stay what they are.
        """
        assert self.minutes is not None
        if not self._unknown():
            return ""
        before = [cell.training.name for cell in self.cells]
        stay: dict[str, Any] = {"keep_networks": keep_networks, "keep_epochs": keep_epochs}
        found: Fitted = fitted(self.cells, costs_of(self.cells), self.n, self.minutes, **stay)
        self.cells, self.n = found.cells, found.n
        self.tight = found.seconds > 60 * self.minutes
        names = [cell.training.name for cell in self.cells]
        shorter = [new for old, new in zip(before, names, strict=True) if new != old]
        cut = ", ".join(dict.fromkeys(shorter)) or "all epochs"
        text = (
            f"time: about {time_text(found.seconds)}, with {plural(self.n, 'network')} per set "
            f"and {cut}"
        )
        if not self.tight:
            return text
        return f"{text}; at {self.minutes:g} minutes it ends with the rows that are ready"

    def cut(self, n: int, epochs: Sequence[int], tight: bool) -> None:
        """Take the networks and epochs that another rank has found to fit."""
        self.n, self.tight = n, tight
        pairs = zip(self.cells, epochs, strict=True)
        self.cells = [with_epochs(cell, count) for cell, count in pairs]

    def _unknown(self) -> list[Cell]:
        return [
            c for c in self.cells if known_networks([c], self.n, self.store) < c.row.count * self.n
        ]

    def run(
        self,
        on_network: OnNetwork | None = None,
        on_part: OnPart | None = None,
        ranks: Ranks = ALONE,
        *,
        tell_known: bool = True,
    ) -> list[Result | None]:
        """Train what is not known yet; None for a row that the time did not reach.

        Args:
            on_network: called after each network.
            on_part: called now and then while one is trained.
            ranks: those that share the networks.
            tell_known: whether ``on_network`` is called for those that are known as well.
        """
        kept = isinstance(self.store, KeptCells) and self.store.strict and ranks.first
        if kept and self.known() < self.total:
            self.store.check()  # type: ignore[union-attr]
        store = self.store or (Remembered() if self.minutes is not None else None)
        watch: dict[str, Any] = {"on_network": on_network, "on_part": on_part, "ranks": ranks}

        def one(cell: Cell, n: int) -> Result:
            return run_cell(
                cell, n, keepers=keepers_of(cell, store), tell_known=tell_known, **watch
            )

        if self.minutes is None:
            return [one(cell, self.n) for cell in self.cells]
        return in_time(self.cells, self.n, self.minutes, one, ranks, tight=self.tight)


@python_words
def evaluate(
    sets: Any,
    data: Any,
    *,
    network: Sequence[str] | str | None = None,
    protocol: str = "dsa",
    repeats: int = 5,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    keep: str | Path | None = None,
    confusion: bool = False,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    on_network: OnNetwork | None = None,
    ranks: Ranks = ALONE,
    **renamed: Any,
) -> list[Result]:
    """Train fresh networks on each set and test them on the real test split.

    Args:
        sets: a :class:`CondensedSet`, a path, ``"whole"`` or ``"whole+epochs=N"``, a list of
            these, or a dictionary of them by name. A folder that holds several sets is one row.
            A path may lead to a set from elsewhere: :mod:`condensery.sets.foreign`.
        data: anything that :func:`condensery.load` takes; only its test split is used, except for
            ``whole``.
        network: one or several, such as ``convnet3``; the data set's own by default.
        protocol: ``dc``, ``dsa``, ``gm``, ``idc`` or ``idc_steps``; ``dc+epochs=100`` changes it.
        repeats: networks per set.
        epochs: fewer epochs than the protocol's; the result's protocol says so.
        minutes: time for all of it. Networks (down to 3) and epochs are cut to fit, unless they are
            given; results say what they are. A row that the time does not reach is left out, and
            a warning says so.
        seed: seed of initialisation, shuffling and augmentation.
        keep: a folder that keeps every network's accuracy, so that the same call again trains
            only what is missing; nothing but the whole split's is kept by default.
        confusion: whether results also say which classes were taken for which.
        plan: execution plan. Accuracies are taken in the type that weights have, float32 unless
            the plan says otherwise; training steps may be in bfloat16 where the processor has
            units for it, which results say in ``plan``.
        device: torch device.
        threads: CPU threads.
        progress: show a bar.
        on_network: called after each network with a line about it and its accuracy.
        ranks: processes that share the networks, each calling this.
        **renamed: the old names ``nets`` (now ``network``) and ``n`` (``repeats``), which warn.

    Returns:
        One result per set and network, sets first.

    Raises:
        UsageError: for a protocol or network that does not exist.
        DataError: for a set that does not fit the data.

    >>> from condensery import evaluate, load, select_random
    >>> digits = load("digits")
    >>> few = select_random(digits, ipc=1)
    >>> (result,) = evaluate(few, digits, network="mlp", repeats=2, epochs=3)
    >>> result.n, result.protocol
    (2, 'dsa+epochs=3')
    """
    old = old_names("evaluate", renamed, {"nets": "network", "n": "repeats"})
    network, repeats = old.get("network", network), old.get("repeats", repeats)
    how = EvaluationSettings(repeats, epochs, seed, plan, device, threads, minutes, confusion)
    ready = Evaluation(sets, data, network=network, protocol=protocol, how=how, keep=keep)
    if minutes is not None:
        _LOG.info("%s", ready.fit(keep_epochs=epochs is not None))
    with Progress(ready.total, "networks", quiet=not progress, minutes=minutes) as bar:
        watch: dict[str, Any] = shown_by(bar, on_network)
        found = ready.run(ranks=ranks, tell_known=minutes is None, **watch)
    late = [cell.row.name for cell, one in zip(ready.cells, found, strict=True) if one is None]
    if late:
        _LOG.warning("the time was over before %s; raise minutes=", ", ".join(late))
    return [one for one in found if one is not None]
