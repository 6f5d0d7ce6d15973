"""Where decoded images go, a chunk at a time: into memory, or into a file that is then mapped."""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import shutil
import struct
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condensery.errors import DataError
from condensery.runtime.devices import physical_memory
from condensery.utils.reading import json_of
from condensery.utils.text import size_text

CHUNK = 2**24
"""Bytes of decoded images that are held before they are stored."""
#: Where the tensors of a file begin: a page. The header is filled up with spaces.
_HEAD = 4096
_NAMES = {"uint8": "U8", "float32": "F32", "int64": "I64"}
_TYPES = {"U8": torch.uint8, "F32": torch.float32, "I64": torch.int64}
#: Linux does not reserve memory for the whole of such a mapping, which it would refuse for a file
#: larger than the memory; Python names the flag from 3.13 on.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class WriteError(Exception):
    """A file of decoded images cannot be written; it says why."""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Problems of writing are distinguished from those of reading the data."""
    try:
        yield
    except OSError as error:
        raise WriteError(error.strerror or type(error).__name__) from error


class Store(Protocol):
    """Takes the images of one split after the other."""

    def begin(self, room: int) -> None:
        """Start a split of at most this many images."""

    def add(self, images: NDArray[Any]) -> None:
        """Store n×C×H×W more of them."""

    def widen(self) -> None:
        """Grey images become colour ones, also those that were stored."""

    def images(self) -> Tensor:
        """All of the split, N×C×H×W."""

    def parts(self, rows: int) -> Iterator[Tensor]:
        """The split in order, this many images at a time, without holding all of it."""


class Memory:
    """Keeps images in memory."""

    def __init__(self) -> None:
        self._room = self._n = 0
        self._out: NDArray[Any] | None = None

    def begin(self, room: int) -> None:
        """Start a split of at most this many images."""
        self._room, self._n, self._out = room, 0, None

    def add(self, images: NDArray[Any]) -> None:
        """Store n×C×H×W more of them.

        Raises:
            DataError: when all of them would not fit.
        """
        if self._out is None:
            self._check(images)
            self._out = np.empty((self._room, *images.shape[1:]), dtype=images.dtype)
        self._out[self._n : self._n + len(images)] = images
        self._n += len(images)

    def _check(self, images: NDArray[Any]) -> None:
        memory, wanted = physical_memory(), self._room * images[0].nbytes
        if memory is not None and wanted > memory:
            raise DataError(
                f"the decoded images need {size_text(wanted)}, but this machine has "
                f"{size_text(memory)} of memory; keep them in the cache, with CONDENSERY_CACHE on "
                "a disk with enough room, or give a smaller --size"
            )

    def widen(self) -> None:
        """Grey images become colour ones."""
        if self._out is not None:
            self._out = np.repeat(self._out, 3, axis=1)

    def images(self) -> Tensor:
        """All of the split, N×C×H×W."""
        assert self._out is not None  # a split of which nothing can be read was rejected before
        if self._n < self._room:  # what could not be read
            self._out, self._room = self._out[: self._n].copy(), self._n
        return torch.from_numpy(self._out)

    def parts(self, rows: int) -> Iterator[Tensor]:
        """The split in order, this many images at a time."""
        yield from self.images().split(rows)


class File:
    """Writes images into a safetensors file as they come; it needs memory for a chunk only.

    The header comes first in such a file and has to know how many images there are, so that room
    for it is left. Facts, which may be of any length, are a tensor of bytes at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("w+b")
        self._file.write(bytes(_HEAD))
        self._start = self._n = self._room = 0
        self._shape: tuple[int, ...] = ()
        self._type = np.dtype(np.uint8)

    def begin(self, room: int) -> None:
        """Start a split of at most this many images."""
        self._start, self._n, self._room, self._shape = self._file.tell(), 0, room, ()

    def add(self, images: NDArray[Any]) -> None:
        """Store n×C×H×W more of them.

        Raises:
            WriteError: when the disk has no room for all of them, or fails.
        """
        if not self._shape:
            self._shape, self._type = images.shape[1:], images.dtype
            self._check(self._room * self._each)
        with _writing():
            self._file.write(np.ascontiguousarray(images).data)
        self._n += len(images)

    @property
    def _each(self) -> int:
        return math.prod(self._shape) * self._type.itemsize

    def _check(self, wanted: int) -> None:
        """Checked now rather than after hours of decoding."""
        free = shutil.disk_usage(self.path.parent).free
        if wanted > free:
            raise WriteError(
                f"{size_text(wanted)} are needed but only {size_text(free)} of disk space is free"
            )

    def widen(self) -> None:
        """Grey images become colour ones, from the last to the first in the same file."""
        if not self._shape:
            return
        old, plane = self._each, self._shape[1:]
        self._shape = (3, *plane)
        self._check((self._room - self._n) * self._each + 2 * self._n * old)
        rows = max(1, CHUNK // (3 * old))
        with _writing():
            for first in range((self._n - 1) // rows * rows, -1, -rows):
                self._widen(first, min(first + rows, self._n), old)
            self._file.seek(0, 2)

    def _widen(self, first: int, last: int, old: int) -> None:
        self._file.seek(self._start + first * old)
        grey = np.frombuffer(self._file.read((last - first) * old), self._type)
        self._file.seek(self._start + 3 * first * old)
        colour = np.repeat(grey.reshape(-1, 1, *self._shape[1:]), 3, axis=1)
        self._file.write(np.ascontiguousarray(colour).data)

    def images(self) -> Tensor:
        """All of the split, N×C×H×W, mapped."""
        assert self._shape  # a split of which nothing can be read was rejected before
        with _writing():
            self._file.flush()
        kind = torch.uint8 if self._type == np.uint8 else torch.float32
        return mapped(self.path, self._start, (self._n, *self._shape), kind)

    def parts(self, rows: int) -> Iterator[Tensor]:
        """The split in order, this many images at a time, each read anew."""
        with _writing():
            self._file.flush()
        kind = torch.uint8 if self._type == np.uint8 else torch.float32
        yield from pieces(self.path, self._start, (self._n, *self._shape), kind, rows)

    def finish(self, images: Mapping[str, Tensor], more: Mapping[str, Tensor], facts: Any) -> None:
        """Write what is small, and the header.

        Args:
            images: names of the splits, in order, with their images.
            more: other tensors.
            facts: plain values for JSON.
        """
        end = self._file.tell()
        small: dict[str, NDArray[Any]] = {
            "padding": np.zeros(-end % 8, np.uint8),  # int64 begins at a multiple of its size
            **{name: tensor.numpy() for name, tensor in more.items()},
            "facts": np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8),
        }
        header: dict[str, Any] = {}
        place = 0
        everything: dict[str, Any] = {**images, **small}
        for name, one in everything.items():
            header[name] = {
                "dtype": _NAMES[str(one.dtype).removeprefix("torch.")],
                "shape": list(one.shape),
                "data_offsets": [place, place + one.nbytes],
            }
            place += one.nbytes
        raw = json.dumps(header).encode().ljust(_HEAD - 8)
        with _writing():
            for array in small.values():
                self._file.write(np.ascontiguousarray(array).data)
            self._file.seek(0)
            self._file.write(struct.pack("<Q", len(raw)) + raw)
            self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> File:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        # On a full disk closing fails as well, and must not hide what failed before.
        with contextlib.suppress(OSError) if failed else contextlib.nullcontext():
            self.close()


def mapped(path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor in a file: rows are read when they are used, and the system may drop them again.

    Whoever writes to it changes a copy of these pages in memory, and never the file.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    before = offset % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as file:
        where: dict[str, Any] = {"length": before + nbytes, "offset": offset - before}
        if sys.platform == "win32":
            held = mmap.mmap(file.fileno(), access=mmap.ACCESS_COPY, **where)
        else:
            flags, read = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ
            try:
                held = mmap.mmap(file.fileno(), flags=flags, prot=read | mmap.PROT_WRITE, **where)
            except OSError:  # a system that reserves memory all the same
                held = mmap.mmap(file.fileno(), flags=flags, prot=read, **where)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        flat = torch.frombuffer(held, dtype=dtype, count=math.prod(shape), offset=before)
    return flat.reshape(shape)


def pieces(
    path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype, rows: int
) -> Iterator[Tensor]:
    """A tensor in a file, this many rows at a time, each read anew."""
    each = math.prod(shape[1:]) * dtype.itemsize
    with path.open("rb") as file:
        file.seek(offset)
        for first in range(0, shape[0], rows):
            count = min(rows, shape[0] - first)
            raw = bytearray(_read(file, count * each))
            yield torch.frombuffer(raw, dtype=dtype).reshape(count, *shape[1:])


class Kept:
    """What :class:`File` wrote. Opening it reads the header, and nothing else.

    Raises:
        ValueError, KeyError, TypeError, OSError: for a file that is damaged or something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", _read(file, 8))
            if length != _HEAD - 8:
                raise ValueError("another program's header")
            self._header = json_of(_read(file, length))
            end = file.seek(0, 2)
        if end != _HEAD + max(entry["data_offsets"][1] for entry in self._header.values()):
            raise ValueError("cut off")

    def tensor(self, name: str) -> Tensor:
        """A tensor, mapped."""
        start, shape, kind = self._place(name)
        return mapped(self.path, start, shape, kind)

    def parts(self, name: str, rows: int) -> Iterator[Tensor]:
        """A tensor in order, this many rows at a time, without mapping it."""
        start, shape, kind = self._place(name)
        return pieces(self.path, start, shape, kind, rows)

    def _place(self, name: str) -> tuple[int, tuple[int, ...], torch.dtype]:
        entry = self._header[name]
        shape, kind = tuple(int(n) for n in entry["shape"]), _TYPES[entry["dtype"]]
        start, stop = entry["data_offsets"]
        if math.prod(shape) * kind.itemsize != stop - start:
            raise ValueError("sizes contradict each other")
        return _HEAD + start, shape, kind

    def facts(self) -> Any:
        """The plain values."""
        return json_of(self.tensor("facts").numpy().tobytes())


def _read(file: BinaryIO, n: int) -> bytes:
    raw = file.read(n)
    if len(raw) != n:
        raise ValueError("cut off")
    return raw
