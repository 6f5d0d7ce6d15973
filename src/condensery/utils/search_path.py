"""Where Python looks for modules: never in the current folder, unless someone names one there.

Optional modules of this package's dependencies are looked for whenever they are used. A folder
that someone has received, and is in, must not be able to supply them.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from condensery import _version

#: Where this package lies; its code runs in any case.
_HOME = str(Path(_version.__file__).resolve().parent.parent)


@contextmanager
def without_current_folder() -> Iterator[None]:
    """Nothing is imported from the current folder while a block runs."""
    left = [(number, entry) for number, entry in enumerate(sys.path) if _is_here(entry)]
    for _, entry in left:
        sys.path.remove(entry)
    try:
        yield
    finally:
        for number, entry in left:
            sys.path.insert(number, entry)


@contextmanager
def current_folder_last() -> Iterator[None]:
    """The current folder is searched as well, after all others, while a block runs."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def path_for_workers() -> str:
    """``PYTHONPATH`` of a process that imports what this one does, current folder excepted."""
    entries = [entry for entry in sys.path if not _is_here(entry)]
    # This package may have been found in the current folder.
    return os.pathsep.join(entries if _HOME in entries else [_HOME, *entries])


def _is_here(entry: str) -> bool:
    """Whether an entry is the current folder, and nothing that Python or this package needs."""
    try:
        here = str(Path.cwd().resolve())
    except OSError:  # it has been removed
        return entry == ""
    if os.path.realpath(entry or here) != here:
        return False
    own = [_HOME, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))]
    own += [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    return entry == "" or here not in map(os.path.realpath, own)
