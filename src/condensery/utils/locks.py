"""A folder belongs to one process at a time."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from condensery.errors import UsageError

from .files import (
    check_no_link,
    make_folder,
    plain_mode,
    remove_leftovers,
    write_json,
)
from .reading import read_json

_LOCK = ".lock"


class InUseError(UsageError):
    """A folder that another process holds."""


@contextmanager
def in_use(folder: Path, inside: str = "checkpoints") -> Iterator[None]:
    """Hold a folder while a block runs; its lock lies in ``checkpoints/``.

    The system's own lock is held, which ends with its process however that ends: a run that was
    killed leaves none behind. What a killed process was just writing is removed.

    Args:
        folder: what is held.
        inside: folder below it for the lock; ``.`` for none.

    Raises:
        InUseError: when another process holds it.
        UsageError: when the folder cannot be written, or a link would lead out of it.
    """
    place = folder / inside
    if place != folder:
        check_no_link(place, "put a folder there, or link the whole run folder")
    new = [above for above in folder.parents if not above.exists()]
    make_folder(place)
    if not os.access(folder, os.W_OK) or not os.access(place, os.W_OK):
        raise UsageError(f"folder {folder} is read-only; choose another --out")
    lock = lock_of(place, 0)
    try:
        lock.acquire()
    except PermissionError as error:
        raise UsageError(
            f"folder {folder} was begun by another user, whose lock cannot be opened; choose "
            "another --out"
        ) from error
    except filelock.Timeout as error:
        raise InUseError(
            f"{folder} is in use by {_holder(place)}; wait for it, or choose another --out"
        ) from error
    try:
        holder = {"process": os.getpid(), "host": platform.node()}
        write_json(place / f"{_LOCK}.json", holder)
        for each in {folder, place}:
            remove_leftovers(each)
        yield
    finally:
        (place / f"{_LOCK}.json").unlink(missing_ok=True)
        lock.release()
        _remove_if_unused(folder, place, new)


def wait_until_free(folder: Path, patience: float, inside: str = "checkpoints") -> bool:
    """Wait until no process holds a folder; false if one still does.

    Args:
        folder: as :func:`in_use` holds it.
        patience: seconds to wait.
        inside: folder below it where the lock lies.
    """
    if not (folder / inside).is_dir():
        return True
    try:
        with lock_of(folder / inside, patience):
            return True
    except FileNotFoundError:  # its holder left nothing behind
        return True
    except filelock.Timeout:
        return False


def lock_of(folder: Path, patience: float) -> filelock.BaseFileLock:
    """The system's lock that lies in a folder, for all users that may write there.

    Args:
        folder: where it lies.
        patience: seconds to wait for it.

    Raises:
        UsageError: when something else lies in its place, which locking would empty.
    """
    file = folder / _LOCK
    check_no_link(file, "remove it")
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise UsageError(f"{file} is not a file; remove it")
    except FileNotFoundError:
        pass
    return filelock.FileLock(file, timeout=patience, mode=plain_mode())


def _remove_if_unused(folder: Path, place: Path, new: list[Path]) -> None:
    """Leave nothing behind where nothing was written: no lock, and no folder made for it.

    Args:
        folder: that was held.
        place: where the lock lies.
        new: folders above that were made for it, lowest first.
    """
    if place == folder or [path.name for path in place.iterdir()] in ([], [_LOCK]):
        (place / _LOCK).unlink(missing_ok=True)
    with suppress(OSError):  # the first that is in use ends it
        for each in (place, *([folder] if place != folder else []), *new):
            each.rmdir()


def _holder(place: Path) -> str:
    try:
        held = read_json(place / f"{_LOCK}.json")
        return f"process {held['process']} on {held['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
