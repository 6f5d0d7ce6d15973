"""A folder that keeps accuracies, network by network.

An accuracy is a function of a set's content, its index in the row, the network's index, and how
it was trained and tested: never of how many networks there are (but for the order of float sums,
where a plan trains several in one call). So numbers are kept network by network, under a name that
is derived from all of this, and found again whatever is requested next.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import filelock

from condensery.errors import UsageError
from condensery.utils.files import LONG_AGO, make_folder, remove_leftovers, write_json
from condensery.utils.locks import lock_of
from condensery.utils.output import put_error
from condensery.utils.reading import read_json

from .cell import Cell, Measured

#: Seconds to wait for the lock of a folder; it is held for milliseconds.
_PATIENCE = 30.0
#: The folder of a store in which the numbers lie.
CELLS = "cells"


class Keeper(Protocol):
    """Keeps accuracies, network by network."""

    def known(self, cell: Cell, set_index: int) -> dict[int, Measured]:
        """What is known of the networks on a row's set, by network index."""

    def keep(self, cell: Cell, set_index: int, network_index: int, found: Measured) -> None:
        """Keep one more."""


class KeptCells:
    """A folder with one JSON file for each set, network and protocol.

    Args:
        folder: made when the first number is kept.
        strict: whether a file that cannot be written is an error; otherwise it is skipped.
    """

    def __init__(self, folder: Path, *, strict: bool = True) -> None:
        self.folder = folder
        self.strict = strict
        remove_leftovers(folder, older_than=LONG_AGO)

    def known(self, cell: Cell, set_index: int) -> dict[int, Measured]:
        """What the folder knows; a damaged file counts as none."""
        return _read(self._file(cell, set_index), cell.facts(set_index)) or {}

    def check(self) -> None:
        """Raise if no number could be kept, before any is made.

        Raises:
            UsageError: naming the folder.
        """
        make_folder(self.folder)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise UsageError(
                f"{self.folder} cannot be written, and no number would be kept; choose another "
                "--out"
            )

    def keep(self, cell: Cell, set_index: int, network_index: int, found: Measured) -> None:
        """Add a network to its file; what others have added meanwhile stays."""
        try:
            with _one_writer(self.folder):
                self._add(cell, set_index, network_index, found)
        except (OSError, UsageError):
            if self.strict:
                raise

    def _add(self, cell: Cell, set_index: int, network_index: int, found: Measured) -> None:
        file = self._file(cell, set_index)
        known = _read(file, cell.facts(set_index))
        if known is None:
            _set_aside(file)
        networks = {**(known or {}), network_index: found}
        listed = [{"network": k, **networks[k].as_dict()} for k in sorted(networks)]
        content = {"set": cell.row.name, "facts": cell.facts(set_index), "networks": listed}
        write_json(file, content)

    def _file(self, cell: Cell, set_index: int) -> Path:
        facts = json.dumps(cell.facts(set_index), sort_keys=True)
        digest = hashlib.sha256(facts.encode()).hexdigest()
        # For people; of nothing that the hash does not know.
        words = re.sub(r"[^\w.=+]+", "_", f"{cell.net} {cell.training.name}").strip("_")[:80]
        return self.folder / f"{words}-{digest[:24]}.json"


class Remembered:
    """Keeps accuracies for the time of one call."""

    def __init__(self) -> None:
        self._held: dict[tuple[Cell, int], dict[int, Measured]] = {}

    def known(self, cell: Cell, set_index: int) -> dict[int, Measured]:
        """What was kept of a cell's set."""
        return dict(self._held.get((cell, set_index), {}))

    def keep(self, cell: Cell, set_index: int, network_index: int, found: Measured) -> None:
        """Keep one more."""
        self._held.setdefault((cell, set_index), {})[network_index] = found


def store_folder(store: str | Path) -> Path:
    """Where numbers are kept, in a folder that holds a store or nothing.

    Raises:
        UsageError: when it holds something else.
    """
    folder = Path(store)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CELLS).is_dir():
        raise UsageError(f"--out {folder} holds something other than comparisons; choose another")
    return folder / CELLS


@contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Hold a folder of numbers for the time of one file, against the others that write there.

    The system's own lock, which ends with its process. If it is unavailable, as another user's may
    be, the file is written without it rather than losing a number that took an hour; files are
    always whole.
    """
    make_folder(folder)
    with ExitStack() as held:
        with suppress(filelock.Timeout, NotImplementedError, OSError, UsageError):
            held.enter_context(lock_of(folder, _PATIENCE))
        yield


def _read(file: Path, facts: dict[str, Any]) -> dict[int, Measured] | None:
    """The numbers of a file, by network; None where the file is there and is damaged."""
    try:
        held = read_json(file)
        if held["facts"] != facts:
            raise ValueError("of something else")
        found = {int(one["network"]): Measured.of(one) for one in held["networks"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    sound = [
        all(0 <= one <= 100 for one in (m.accuracy, *m.parts)) and 0 <= m.seconds < math.inf
        for m in found.values()
    ]
    return found if all(sound) and min(found, default=0) >= 0 else None


def _set_aside(file: Path) -> None:
    """Keep a damaged file under another name: what is right in it may have taken hours."""
    number = 1
    while (aside := file.with_suffix(f".damaged-{number}")).exists() or aside.is_symlink():
        number += 1
    with suppress(FileNotFoundError):
        file.rename(aside)
        put_error(
            f"condensery: {file} was damaged, and its numbers are not used; it is now {aside}"
        )
