"""How large the files are that data are read from."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from condensery.config import data_sets

#: Files of a folder that are counted; more would take seconds.
_MOST = 200_000


def bytes_of_files(given: object) -> int | None:
    """The bytes of the files behind a name or a path, of all splits together.

    None for what lies in memory, on the hub or nowhere, and for folders of very many files.

    Args:
        given: what was to be loaded.
    """
    if not isinstance(given, str | Path):
        return None
    with suppress(OSError, RuntimeError, ValueError):
        bare = isinstance(given, str) and re.fullmatch(r"\w[\w.-]*", given)
        if given == "digits":  # comes with the package
            return None
        place = (data_sets.local(str(given)) if bare else None) or Path(given).expanduser()
        if place.is_file():
            return place.stat().st_size
        if place.is_dir():
            return _bytes_below(place)
    return None


def _bytes_below(folder: Path) -> int | None:
    total = count = 0
    for above, _, names in os.walk(folder):
        count += len(names)
        if count > _MOST:
            return None
        total += sum((Path(above) / name).lstat().st_size for name in names)
    return total
