"""Files that ``torch.save`` wrote, opened without running anything in them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condensery.errors import DataError
from condensery.utils.reading import regular

#: Numbers only: booleans, integers, floating and complex ones.
_KINDS = "biufc"
_TYPES = ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def _dtype(name: Any, align: Any = False, copy: Any = False) -> np.dtype[Any]:
    """A type of plain numbers by its name; anything else that a pickle may ask for is rejected."""
    found = np.dtype(name) if isinstance(name, str) else None
    if found is None or found.kind not in _KINDS:
        raise pickle.UnpicklingError("its numbers are of an unknown type")
    return found


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    """One number from its bytes, as numpy pickles its scalars."""
    plain = isinstance(dtype, np.dtype) and dtype.kind in _KINDS and isinstance(raw, bytes)
    if not plain or len(raw) != dtype.itemsize:
        raise pickle.UnpicklingError("one of its numbers is damaged")
    return np.frombuffer(raw, dtype)[0]


def _allowed() -> list[Any]:
    """What a pickle may name beside tensors: numpy's scalars, under numpy 1's and 2's names."""
    scalars = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*scalars, (_dtype, "numpy.dtype"), *{type(np.dtype(name)) for name in _TYPES}]


def open_torch(path: Path) -> Any:
    """The content of a ``.pt`` file: tensors, numbers, text, and containers of these.

    The file is read by torch's restricted reader, which makes tensors and plain values only.
    The authors' programs keep accuracies beside their images, as numpy scalars: these alone are
    allowed as well, through constructors of our own that make numbers and nothing else.

    Raises:
        DataError: when it holds anything else, or cannot be read.
    """
    try:
        with torch.serialization.safe_globals(_allowed()), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of its own formats; what is rejected is reported below
            return torch.load(regular(path), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is rejected: it holds more than tensors, numbers and text, or is not a file "
            "written by torch.save; opening it could run code, so save only images and labels"
        ) from error
    except MemoryError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise DataError(f"{path} is damaged, or no file that torch.save wrote") from error


def is_whole(tensor: Tensor) -> bool:
    """Whether a tensor has all its numbers in the file: with a stride of 0, one makes any shape."""
    if tensor.layout is not torch.strided:
        return True  # as whole as its kind can be
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
