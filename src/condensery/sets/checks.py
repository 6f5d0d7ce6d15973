"""Whether a file's tensors are what its metadata claims."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from condensery.config.build import build
from condensery.errors import DataError, UsageError
from condensery.sets.about import About
from condensery.utils.bounds import BYTES_VARIABLE, most_bytes
from condensery.utils.text import size_text

#: What the decoded images of a file may take, and how many times what it stores beyond that: the
#: papers' formations make up to fourteen times as much.
MOST_DECODED, MOST_TIMES = 2**30, 64
#: What decoding may raise on numbers that are not what the metadata claims.
WRONG = (
    *(AttributeError, IndexError, KeyError, MemoryError, OverflowError),
    *(RuntimeError, TypeError, ValueError),
)


def by_class(stored: Tensor, labels: Tensor, about: About, file: Path) -> Tensor:
    """Stored tensors indexed by class first, after checking that they are what they claim."""
    classes = len(about.class_names)
    fits = classes > 0 and stored.is_floating_point() and len(stored) % classes == 0
    if not fits or stored.numel() == 0 or stored.dim() < 2:
        raise DataError(f"{file} is damaged: {tuple(stored.shape)} numbers for {classes} classes")
    expected = torch.arange(classes).repeat_interleave(len(stored) // classes)
    if labels.shape != expected.shape or not bool((labels == expected).all()):
        raise DataError(f"{file} is damaged: its labels are not sorted runs of {classes} classes")
    if not bool(torch.isfinite(stored).all()):
        raise DataError(f"{file} is damaged: it holds values that are not finite")
    out: Tensor = stored.unflatten(0, (classes, -1))
    return out


def check_decoded(stored: Tensor, about: About, file: Path) -> None:
    """Raise if a file's own formation would make far more of it than is reasonable.

    Raises:
        DataError: naming how much.
    """
    try:
        chosen = build("formation", about.formation, foreign=False)
        if hasattr(chosen, "check"):
            chosen.check(*stored.shape[-2:])
        images = len(stored) * chosen.decoded(stored.shape[1])
    except (UsageError, *WRONG) as error:
        raise DataError(f"{file} cannot be decoded: {error}") from error
    wanted = images * math.prod(stored.shape[2:]) * 4
    most = max(most_bytes(MOST_DECODED), MOST_TIMES * stored.numel() * 4)
    if wanted > most:
        raise DataError(
            f"{file} would be decoded to {images} images, {size_text(wanted)}, out of proportion "
            f"to the {size_text(stored.nbytes)} that it stores (at most {size_text(most)}); get it "
            f"with a smaller formation.factor, or allow more with {BYTES_VARIABLE}"
        )
