"""Stored tensors in 8 bits: a quarter of the size, each number at most half a step away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from condensery.errors import DataError

#: Names of a file's tensors: the codes go by the name that floating numbers have.
STORED, LOW, STEP = "stored", "stored.low", "stored.step"
#: Steps from the least to the largest number.
_STEPS = 255


@dataclass(frozen=True, eq=False)
class EightBits:
    """Numbers as ``low + step * code``, on a scale per channel that reaches from end to end.

    Learned pixels overshoot black and white. The scale holds them all, so nothing is clipped.
    """

    codes: Tensor
    """Stored images × …, uint8."""
    low: Tensor
    """What code 0 means: float32, one number per channel, or a single one."""
    step: Tensor
    """What one more means; 0 where all numbers are equal."""

    @classmethod
    def of(cls, stored: Tensor) -> EightBits:
        """The nearest numbers in 8 bits.

        Args:
            stored: stored images × …, floating; those with four axes have a scale per channel.
        """
        exact = stored.double()
        by_channel = exact.transpose(0, 1).flatten(1) if exact.dim() == 4 else exact.reshape(1, -1)
        low = by_channel.amin(1).float()
        step = ((by_channel.amax(1) - low) / _STEPS).float()
        shape = _along(exact)
        divisor = torch.where(step > 0, step, 1).double().view(shape)
        codes = ((exact - low.double().view(shape)) / divisor).round().clamp(0, _STEPS)
        return cls(codes.byte(), low, step)

    @classmethod
    def held(cls, tensors: Mapping[str, Tensor], file: Path) -> EightBits | None:
        """What a file holds in 8 bits; None where its numbers are floating.

        Raises:
            DataError: for codes without a scale, or with one that does not fit.
        """
        codes = tensors[STORED]
        if codes.dtype != torch.uint8:
            return None
        channels = codes.shape[1] if codes.dim() == 4 else 1
        for name in (LOW, STEP):
            scale = tensors.get(name)
            fits = scale is not None and scale.dtype == torch.float32 and scale.shape == (channels,)
            if scale is None or not fits or not bool(torch.isfinite(scale).all()):
                raise DataError(f"{file} is damaged: its 8-bit numbers have no valid scale")
        return cls(codes, tensors[LOW], tensors[STEP])

    def restored(self) -> Tensor:
        """The numbers, float32, shaped as the codes are."""
        shape = _along(self.codes)
        low, step = self.low.double().view(shape), self.step.double().view(shape)
        return (low + step * self.codes).float()

    def tensors(self) -> dict[str, Tensor]:
        """What a file keeps of them."""
        return {STORED: self.codes, LOW: self.low, STEP: self.step}

    @property
    def nbytes(self) -> int:
        """Their size, with the scale."""
        return sum(one.nbytes for one in self.tensors().values())


def bytes_in_eight_bits(stored: Tensor) -> int:
    """What stored tensors, classes × stored images × …, would take."""
    channels = stored.shape[2] if stored.dim() == 5 else 1
    return stored.numel() + 2 * 4 * channels


def _along(numbers: Tensor) -> tuple[int, ...]:
    """The shape that lays a scale along the channels."""
    return (1, -1, 1, 1) if numbers.dim() == 4 else (1,) * numbers.dim()
