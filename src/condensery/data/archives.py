"""``.npz`` archives: plain arrays, no larger than they say and than is reasonable."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from condensery.errors import DataError
from condensery.utils.bounds import BYTES_VARIABLE, most_bytes
from condensery.utils.reading import regular
from condensery.utils.text import size_text

#: What decompressed arrays may take, and how many times the file's own size beyond that: an
#: archive of zeros has a thousandth of their size.
MOST_BYTES, MOST_TIMES = 2**30, 64


def read_npz(path: Path, wanted: Sequence[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Arrays of an ``.npz`` file by name; nothing in it is unpickled.

    Args:
        path: of the file.
        wanted: the arrays to read; the others are not looked at.

    Returns:
        Those of the wanted ones that it has, and the names of all that it holds.

    Raises:
        DataError: when it cannot be read, holds objects, or would grow out of proportion.
    """
    try:
        with regular(path).open("rb") as opened:
            _check(path, opened, wanted)
            with np.load(opened, allow_pickle=False) as file:
                return {n: file[n] for n in wanted if n in file.files}, sorted(file.files)
    except (DataError, MemoryError):
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # zip, its decompressors and numpy raise errors of many kinds
        # An array of objects ends here, too: reading one would need pickle.
        raise DataError(
            f"{path} cannot be read: it is encrypted, damaged or holds objects; save plain arrays "
            "with numpy.savez"
        ) from error


def _check(path: Path, opened: IO[bytes], wanted: Sequence[str]) -> None:
    """Raise if arrays are larger than they should be, before room is made for them."""
    bound = max(most_bytes(MOST_BYTES), MOST_TIMES * path.stat().st_size)
    total = 0
    with zipfile.ZipFile(opened) as archive:
        for entry in archive.infolist():
            if entry.filename.removesuffix(".npy") in wanted:
                total += max(entry.file_size, _claimed(archive, entry))
            if total > bound:
                raise DataError(
                    f"{path} holds arrays of more than {size_text(bound)}, which is out of "
                    "proportion to its size; save them with numpy.savez, uncompressed, or allow "
                    f"more with {BYTES_VARIABLE}"
                )
    opened.seek(0)


def _claimed(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Bytes of an array by its own header, for which numpy makes room at once."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        first = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
    return math.prod(shape) * dtype.itemsize
