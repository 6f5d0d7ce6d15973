"""MNIST's own files, ``train-images-idx3-ubyte`` and the like, plain or as ``.gz``."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from condensery.errors import DataError
from condensery.utils.bounds import BYTES_VARIABLE, leads_out, most_bytes
from condensery.utils.reading import regular
from condensery.utils.text import size_text

_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?", re.I)
#: Where torchvision puts them below the folder that it is given.
_BELOW = (".", "raw", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw")
#: What the numbers of a file may take.
MOST_BYTES = 2**30
_BYTES = 8  # the code of unsigned bytes in the third byte of a file


def files_of(folder: Path) -> Mapping[str, Path] | None:
    """The files of a folder by ``train images``, ``train labels``, ``test images``, ….

    Raises:
        DataError: where one of a pair is missing, or two files are the same part.
    """
    found: dict[str, Path] = {}
    for place in (folder / below for below in _BELOW):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if match is None or leads_out(path, folder.resolve()):
                continue
            split = "train" if match[1].lower() == "train" else "test"
            part = f"{split} {match[2].lower()}"
            if part in found and found[part].stem != path.stem.removesuffix(".gz"):
                if found[part].name != path.name.removesuffix(".gz"):
                    raise DataError(
                        f"'{found[part].name}' and '{path.name}' are both {part}; keep one of them"
                    )
                continue  # the same file, and its .gz
            found.setdefault(part, path)
    if not found:
        return None
    for one, other in (("images", "labels"), ("labels", "images")):
        for split in ("train", "test"):
            if f"{split} {one}" in found and f"{split} {other}" not in found:
                raise DataError(
                    f"'{found[f'{split} {one}'].name}' has no file of {other} beside it; add it"
                )
    if "train images" not in found:
        raise DataError(f"folder '{folder.name}' has no train-images file; add it and its labels")
    return found


def read(path: Path, axes: int) -> NDArray[np.uint8]:
    """The bytes of a file with so many axes: 3 for images, 1 for labels.

    Raises:
        DataError: when it is torn, or does not hold what its head says.
    """
    try:
        raw = regular(path).open("rb")
        with raw, gzip.open(raw) if path.suffix.lower() == ".gz" else raw as opened:
            head = opened.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes((0, 0, _BYTES, axes)):
                raise DataError(
                    f"'{path.name}' does not begin as an idx file of {axes} axes and bytes; "
                    "replace it"
                )
            shape = struct.unpack(f">{axes}I", head[4:])
            count = math.prod(shape)
            if count > most_bytes(MOST_BYTES):
                raise DataError(
                    f"'{path.name}' claims {size_text(count)}; if that is true, allow it with "
                    f"{BYTES_VARIABLE}"
                )
            content = opened.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path.name}' cannot be read ({error}); replace it") from error
    if len(content) != count:
        found = "fewer" if len(content) < count else "more"
        raise DataError(f"'{path.name}' has {found} bytes than its head says; replace it")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
