"""Plain tar files: what lies where in them. Nothing is unpacked to the disk."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from condensery.errors import DataError
from condensery.utils.reading import regular
from condensery.utils.text import plural, size_text

#: Bytes of a member's own head: its name, its times and the like.
_MOST_HEAD = 2**16


def missing(pattern: str, files: Sequence[Path]) -> DataError | None:
    """The error for a pattern of which files are not there."""
    absent = [path for path in files if not path.is_file()]
    if not absent:
        return None
    return DataError(
        f"'{pattern}' stands for {plural(len(files), 'file')}, and there is no "
        f"'{absent[0]}' ({len(absent)} are missing); check the path"
    )


@dataclass(frozen=True)
class Member:
    """A file inside a tar file."""

    shard: Path
    start: int
    size: int

    def content(self, most: int, what: str) -> bytes:
        """What is in it, if that is no more than ``most`` bytes."""
        if self.size > most:
            raise DataError(
                f"{what} has {size_text(self.size)}, and at most {size_text(most)} are read; "
                "write the shard again without it"
            )
        with self.shard.open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


class _Heads(io.BufferedReader):
    """A tar file of which heads alone are read, and none of a size that only an attack has."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Some bytes; members' own heads may claim any number of them."""
        if size is None or not 0 <= size <= _MOST_HEAD:
            raise ValueError("a head in it is too large")
        return super().read(size)


def members(shard: Path) -> Iterator[tuple[str, Member]]:
    """Names of the regular files in a tar file, and where they lie.

    Raises:
        DataError: for anything but a plain tar file that is whole.
    """
    end = 0
    try:
        size = regular(shard).stat().st_size
        with ExitStack() as held:
            opened = held.enter_context(_Heads(shard.open("rb", buffering=0)))
            archive = held.enter_context(tarfile.open(fileobj=opened, mode="r:"))
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # there may be millions
                if member.size < 0 or member.offset < end or member.offset_data < member.offset:
                    raise ValueError("its members overlap")
                end = member.offset_data
                if end + member.size > size:
                    raise ValueError("it is cut off")
                if member.isreg() and not member.issparse():
                    yield _text(member.name), Member(shard, end, member.size)
            opened.seek(archive.offset)
            if opened.read(tarfile.BLOCKSIZE).strip(b"\0"):  # where Python takes it to have ended
                raise ValueError("it is damaged in the middle")
    except tarfile.ReadError as error:
        if size and end == 0:
            raise DataError(
                f"'{shard.name}' is not a plain tar file; if it is compressed, unpack it with "
                "gunzip first"
            ) from error
        _broken(shard, error)
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, RecursionError) as error:
        _broken(shard, error)


def _broken(shard: Path, error: Exception) -> NoReturn:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    raise DataError(f"'{shard.name}' cannot be read ({words}); replace the file") from error


def _text(name: str) -> str:
    """A member's name as text, whatever bytes it has."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
