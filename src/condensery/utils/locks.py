"""A folder belongs to one process at a time."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from condensery.errors import UsageError

from .files import make_folder, remove_leftovers
from .reading import read_json

_LOCK = ".lock"


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Hold a folder while a block runs; its lock lies in ``checkpoints/``.

    The system's own lock is held, which ends with its process however that ends: a run that was
    killed leaves none behind. What a killed process was just writing is removed.

    Raises:
        UsageError: when another process holds it, or the folder cannot be written.
    """
    place = folder / "checkpoints"
    make_folder(place)
    if not os.access(folder, os.W_OK) or not os.access(place, os.W_OK):
        raise UsageError(f"folder {folder} is read-only; choose another --out")
    lock = filelock.FileLock(place / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UsageError(
            f"{folder} is in use by {_holder(place)}; wait for it, or choose another --out"
        ) from error
    try:
        (place / f"{_LOCK}.json").write_text(
            json.dumps({"process": os.getpid(), "host": platform.node()}), encoding="utf-8"
        )
        for each in (folder, place):
            remove_leftovers(each)
        yield
    finally:
        (place / f"{_LOCK}.json").unlink(missing_ok=True)
        lock.release()
        _remove_if_unused(folder, place)


def _remove_if_unused(folder: Path, place: Path) -> None:
    """Leave nothing behind where nothing was written."""
    if [path.name for path in place.iterdir()] not in ([], [_LOCK]):
        return
    (place / _LOCK).unlink(missing_ok=True)
    place.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


def _holder(place: Path) -> str:
    try:
        held = read_json(place / f"{_LOCK}.json")
        return f"process {held['process']} on {held['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
