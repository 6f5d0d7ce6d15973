"""The file of a set, opened and checked; nothing in it is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from condensery.errors import DataError
from condensery.utils.reading import regular

from .about import About
from .checks import WRONG, by_class
from .eight_bits import LOW, STEP, EightBits

#: Of the metadata, and what the names of a formation's weights begin with.
KEY, WEIGHTS = "condensery", "formation."


def opened(file: Path) -> tuple[About, dict[str, Tensor]]:
    """Metadata and tensors of a file.

    Raises:
        DataError: when it is not a condensed set, is damaged, or is from a newer version.
    """
    try:
        with safe_open(regular(file), framework="pt") as found:
            about = About.parse((found.metadata() or {})[KEY])
            more = [n for n in found.keys() if n.startswith(WEIGHTS) or n in (LOW, STEP)]  # noqa: SIM118
            names = ["stored", "labels", *more]
            return about, {name: found.get_tensor(name) for name in names}
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{file} cannot be opened: {error}") from error
    except SafetensorError as error:
        raise DataError(f"{file} is not a condensed set, or it is damaged") from error
    except WRONG as error:
        raise DataError(f"{file} is not a condensed set, or it is damaged: {error}") from error


def checked(
    about: About, tensors: Mapping[str, Tensor], file: Path
) -> tuple[Tensor, EightBits | None]:
    """The stored numbers by class, and their 8 bits where the file has these.

    Raises:
        DataError: for tensors that are not what the metadata claims.
    """
    stored, labels = tensors["stored"], tensors["labels"]
    try:
        eight = EightBits.held(tensors, file)
        return by_class(stored if eight is None else eight.restored(), labels, about, file), eight
    except DataError:
        raise
    except WRONG as error:  # numbers of an unusual type, or none at all
        raise DataError(
            f"{file} is damaged: its tensors are {stored.dtype} of shape "
            f"{tuple(stored.shape)} and {labels.dtype} of shape {tuple(labels.shape)}"
        ) from error
