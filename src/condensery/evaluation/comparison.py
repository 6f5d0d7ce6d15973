"""Sets × networks × protocols → one table, with differences that are tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condensery.data import load
from condensery.errors import UsageError, unknown_name
from condensery.runtime.distributed import ALONE, Ranks
from condensery.runtime.plan import Plan
from condensery.utils.progress import Progress
from condensery.utils.python_words import python_words
from condensery.utils.renamed import old_names

from .cache import CELLS as CELLS
from .cache import Keeper, KeptCells, store_folder
from .cell import Cell
from .compared import Compared
from .comparison_table import Comparison
from .result import Result
from .rows import Row, flipped_for, rows_of
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
from .significance import difference, holm


class Comparer:
    """A comparison that is ready to run: everything is checked, nothing is trained.

    Args and errors are those of :func:`compare`.
    """

    def __init__(
        self,
        sets: Any,
        data: Any,
        *,
        nets: Sequence[str] | str | None = None,
        protocols: Sequence[str] | str = "dsa",
        reference: str | None = None,
        store: str | Path | Keeper | None = None,
        how: EvaluationSettings,
    ) -> None:
        self.data = load(data)
        rows = rows_of(sets, self.data)
        _check_names(rows)
        self.data = flipped_for(rows, self.data)
        self.reference = None if reference is None else _named(reference, rows)
        self.n = how.n
        self.store = KeptCells(store_folder(store)) if isinstance(store, str | Path) else store
        chosen = _several(networks(nets, self.data), "network")
        self.cells = [
            cell_of(row, self.data, net, protocol, how)
            for net in chosen
            for protocol in _several(protocols, "protocol")
            for row in rows
        ]

    @property
    def total(self) -> int:
        """Total number of networks."""
        return sum(cell.row.count for cell in self.cells) * self.n

    def known(self) -> int:
        """Networks that need no training, because their accuracy is known or will be by then."""
        return known_networks(self.cells, self.n, self.store)

    def run(
        self,
        on_network: OnNetwork | None = None,
        ranks: Ranks = ALONE,
        on_part: OnPart | None = None,
    ) -> Comparison:
        """Train what is not known yet, and put the table together.

        Args:
            on_network: called after each network that was trained.
            on_part: called now and then while one is trained.
            ranks: those that share the networks.

        Raises:
            UsageError: when the store cannot be written, before anything is trained.
        """
        if ranks.first and isinstance(self.store, KeptCells) and self.known() < self.total:
            self.store.check()
        results = [
            run_cell(
                cell,
                self.n,
                keepers=keepers_of(cell, self.store),
                on_network=on_network,
                on_part=on_part,
                tell_known=False,
                ranks=ranks,
            )
            for cell in self.cells
        ]
        rows = _compared(self.cells, results, self.reference)
        return Comparison(tuple(rows), self.reference, len(self.data.test))


@python_words
def compare(
    sets: Any,
    data: Any,
    *,
    network: Sequence[str] | str | None = None,
    protocols: Sequence[str] | str = "dsa",
    repeats: int = 5,
    reference: str | None = None,
    store: str | Path | Keeper | None = None,
    epochs: int | None = None,
    seed: int = 0,
    plan: str | Plan = "auto",
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    on_network: OnNetwork | None = None,
    **renamed: Any,
) -> Comparison:
    """Train networks on several sets, through several networks and protocols, into one table.

    Args:
        sets: as for :func:`condensery.evaluate`; a path may be given a name, ``NAME=PATH``, and
            names must differ.
        data: anything that :func:`condensery.load` takes.
        network: one or several; more than one is a comparison across architectures.
        protocols: one or several.
        repeats: networks per set.
        reference: name of the row that the others are compared with.
        store: a folder that keeps every network's accuracy, so that an interrupted or enlarged
            comparison trains only what is missing; nothing is kept by default.
        epochs: fewer epochs than the protocols'.
        seed: seed of initialisation, shuffling and augmentation.
        plan: execution plan, as for :func:`condensery.evaluate`.
        device: torch device.
        threads: CPU threads.
        progress: show a bar.
        on_network: called after each network that was trained.
        **renamed: the old names ``nets`` (now ``network``) and ``n`` (``repeats``), which warn.

    Returns:
        A table: ``print`` shows it, and ``to_pandas()`` gives it as a data frame.

    Raises:
        UsageError: for names, networks and protocols that do not exist or occur twice.
        DataError: for a set that cannot be opened or does not fit the data.

    >>> from condensery import compare, load, select_random
    >>> digits = load("digits")
    >>> sets = {"one": select_random(digits, ipc=1), "two": select_random(digits, ipc=2)}
    >>> table = compare(sets, digits, network="mlp", repeats=2, epochs=3, reference="one")
    >>> [row.result.set for row in table.rows]
    ['one', 'two']
    """
    old = old_names("compare", renamed, {"nets": "network", "n": "repeats"})
    network, repeats = old.get("network", network), old.get("repeats", repeats)
    how = EvaluationSettings(repeats, epochs, seed, plan, device, threads)
    ready = Comparer(
        sets, data, nets=network, protocols=protocols, reference=reference, store=store, how=how
    )
    with Progress(ready.total, "networks", quiet=not progress, done=ready.known()) as bar:
        watch: dict[str, Any] = shown_by(bar, on_network)
        return ready.run(**watch)


def _compared(
    cells: Sequence[Cell], results: Sequence[Result], reference: str | None
) -> list[Compared]:
    """Every result beside the whole split's and the reference's of its network and protocol."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i, cell in enumerate(cells):
        groups.setdefault((cell.net, cell.asked), []).append(i)
    out: list[Compared] = []
    for rows in groups.values():
        full = next((results[i] for i in rows if cells[i].row.whole), None)
        base = next((i for i in rows if cells[i].row.name == reference), None)
        for i in rows:
            beside = None
            if base is not None and i != base:
                beside = difference(
                    results[i].sets,
                    results[base].sets,
                    row_whole=cells[i].row.whole,
                    reference_whole=cells[base].row.whole,
                )
            relative = 100 * results[i].mean / full.mean if full and full.mean else None
            bound = full.protocol if full and relative is not None else None
            out.append(Compared(results[i], cells[i].asked, relative, beside, bound=bound))
    return _corrected(out)


def _corrected(rows: list[Compared]) -> list[Compared]:
    """With p-values corrected for the number of tests in the whole table."""
    tests = [row.difference.p for row in rows if row.difference and row.difference.p is not None]
    found = iter(holm(tests))
    return [
        Compared(row.result, row.asked, row.relative, row.difference, next(found), bound=row.bound)
        if row.difference and row.difference.p is not None
        else row
        for row in rows
    ]


def _several(names: Sequence[str] | str, what: str) -> list[str]:
    chosen = [names] if isinstance(names, str) else list(names)
    if not chosen:
        raise UsageError(f"a comparison needs at least one {what}")
    twice = next((name for name in chosen if chosen.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{what} {twice} is named twice; remove one")
    return chosen


def _check_names(rows: Sequence[Row]) -> None:
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two rows are named {twice}; give each its own name: NAME=PATH")


def _named(reference: str, rows: Sequence[Row]) -> str:
    names = [row.name for row in rows]
    if reference not in names:
        raise unknown_name("row for --reference", reference, names)
    return reference
