"""Files appear whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from condensery.errors import UsageError

#: Part of the name of what is being written.
_TEMPORARY = "-writing-"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that is renamed to it when the block ends well."""
    make_folder(path.parent)
    prefix = f".{path.stem}{_TEMPORARY}"
    # Its own folder, because libraries choose their format by the file's ending.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        # Some libraries write for the owner alone; results are shared as any file is.
        temporary.chmod(plain_mode())
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring renames in a folder to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot
        pass
    finally:
        os.close(handle)


#: Seconds after which nobody is still writing a file: where several processes may write.
LONG_AGO = 24 * 3600.0


def remove_leftovers(folder: Path, older_than: float = 0) -> None:
    """Remove what :func:`whole_file` was writing into a folder when its process was killed.

    Only what it leaves is removed: folders of its kind of name that hold nothing but files. Links
    are not followed.

    Args:
        folder: need not exist.
        older_than: seconds for which nothing of it changed; 0 where no other process writes there.
    """
    for path in folder.glob(f".*{_TEMPORARY}*"):
        try:
            if path.is_symlink() or not path.is_dir():
                continue
            files = list(path.iterdir())
            plain = all(stat.S_ISREG(file.lstat().st_mode) for file in files)
            if plain and (older_than <= 0 or time.time() - _changed(path) >= older_than):
                for file in files:
                    file.unlink()
                path.rmdir()
        except OSError:  # its writer has just finished
            continue


def _changed(folder: Path) -> float:
    """When a folder or a file in it was last written to."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well; ``path`` must be free."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} already exists and is not empty; choose another --out")
    make_folder(path.parent)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield folder
        folder.chmod(plain_mode() | 0o111 & ~_umask())
        if path.exists():
            path.rmdir()
        folder.replace(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_no_link(path: Path, what: str) -> None:
    """Raise if a link lies where something of our own belongs: what is written would go elsewhere.

    Args:
        path: where it belongs.
        what: the user can do about it.

    Raises:
        UsageError: naming the link.
    """
    if path.is_symlink():
        raise UsageError(f"{path} is a link, and links are not written through; {what}")


def append_line(path: Path, text: str) -> None:
    """Add a line to a file; a link is not followed.

    Raises:
        OSError: when it cannot be written, or is a link.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o666), "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def safe_names(names: Sequence[str]) -> list[str]:
    """Class names as folder names: no path tricks, no two alike, also where case is ignored.

    >>> safe_names(["cat", "../dog", "CAT"])
    ['cat', '1_.._dog', '2_CAT']
    """
    out: list[str] = []
    taken: set[str] = set()
    for number, name in enumerate(names):
        clean = re.sub(r"[^\w .+()-]", "_", name).strip()
        clean = clean.encode()[:100].decode(errors="ignore")
        plain = clean == name and clean != "" and not clean.startswith(".") and clean[-1] != "."
        chosen = clean if plain and _alike(clean) not in taken else f"{number}_{clean}"
        while _alike(chosen) in taken:
            chosen = f"{number}_{chosen}"
        taken.add(_alike(chosen))
        out.append(chosen)
    return out


def _alike(name: str) -> str:
    """What file systems that ignore case or spelling of accents take for the same name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def plain_mode() -> int:
    """Permissions of a file that is nothing special, as the user's umask has them."""
    return 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path: Path, option: str) -> None:
    """Raise if a file cannot be written, before any work is done for it.

    Raises:
        UsageError: naming the option.
    """
    if path.is_dir() or not path.name:
        raise UsageError(f"{option} {path} is a folder; name a file")
    make_folder(path.parent)
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option} {path} cannot be written: its folder is read-only")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        UsageError: when it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"folder {folder} cannot be made: {error.strerror}; choose another"
        ) from error
