"""How much of somebody else's file is read: bounds, and the variables that move them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from condensery.errors import UsageError

#: What arrays, tables and decoded sets may take, such as 16G; a gigabyte or so by default.
BYTES_VARIABLE = "CONDENSERY_MOST_BYTES"
#: With 1, links that lead out of a data folder are followed.
LINKS_VARIABLE = "CONDENSERY_FOLLOW_LINKS"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def most_bytes(usual: int) -> int:
    """Bytes that the content of one file may take: ``$CONDENSERY_MOST_BYTES``, or the usual.

    Raises:
        UsageError: when the variable is not a size.
    """
    said = os.environ.get(BYTES_VARIABLE)
    if not said:
        return usual
    found = re.fullmatch(r"(\d{1,15})([kMGT]?)B?", said.strip())
    if found is None:
        raise UsageError(f"{BYTES_VARIABLE} must be a size such as 16G or 500M, got {said!r:.40}")
    return int(found[1]) * _UNITS[found[2]]


def leads_out(path: Path, home: Path) -> bool:
    """Whether a path is a link out of a folder: who packed it may not pick files of this machine.

    Args:
        path: a file or folder.
        home: the folder, resolved.
    """
    if os.environ.get(LINKS_VARIABLE) == "1" or not path.is_symlink():
        return False
    try:
        return not path.resolve().is_relative_to(home)
    except (OSError, RuntimeError):  # a loop of links, which no one can read
        return False
