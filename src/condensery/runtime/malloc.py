"""Settings of the process that programs, not libraries, may make."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_memory() -> bool:
    """Tell glibc to keep freed memory instead of giving every large block back to the system.

    Eager CPU code otherwise spends a large part of its time on fresh pages. The command does this;
    programs that use the library can call it, or set ``MALLOC_MMAP_THRESHOLD_`` and
    ``MALLOC_TRIM_THRESHOLD_``.

    Returns:
        Whether it was done: only on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        most = 2**31 - 1
        return bool(libc.mallopt(_MMAP_THRESHOLD, most) and libc.mallopt(_TRIM_THRESHOLD, most))
    except (OSError, AttributeError):
        return False
