"""Recordings as images: one second, its short-time Fourier transform, its logarithm."""

from __future__ import annotations

from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from .sound import Samples

WINDOW, HOP, SIDE = 255, 128, 128
"""Samples of a window and between two windows; frequencies, and frames after padding."""
SIZE = 64
"""Side of the images when none is requested."""
USUAL_RATE = 16_000
MOST_RATE = HOP * SIDE  # one second more often sampled would have more frames than the image
LEAST = 1e-3
"""Added before the logarithm."""


def frames(rate: int) -> int:
    """Frames of one second: one for every 128 samples started.

    >>> frames(16000), frames(8000)
    (125, 63)
    """
    return -(-rate // HOP)


def one_second(x: Samples, native: int, rate: int) -> Samples:
    """The first second at another rate: cut at the end, or padded with zeros there."""
    if native != rate:
        from scipy.signal import resample_poly

        common = gcd(native, rate)
        # The filter reaches over a few samples only: what comes after a tenth more has no say.
        x = resample_poly(x[: native + native // 10 + 1], rate // common, native // common)
    x = x[:rate]
    return np.pad(x, (0, rate - len(x)))


def magnitudes(x: Samples) -> NDArray[np.float64]:
    """|STFT| of one second, 128 frequencies × frames.

    Frame t has a periodic Hann window on samples 128t … 128t+254, with zeros after the last
    sample; nothing is scaled. Frequencies rise from row 0, which is 0 Hz.
    """
    n = frames(len(x))
    padded = np.pad(x, (0, HOP * (n - 1) + WINDOW - len(x)))
    cut = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    window = torch.hann_window(WINDOW, dtype=torch.float64).numpy()
    return np.abs(np.fft.rfft(cut * window, axis=1)).T


def spectrogram(x: Samples, size: int) -> NDArray[np.float32]:
    """The image of one second, size×size: rows are frequencies, columns time.

    Magnitudes are padded with zeros to 128×128, resized bilinearly, and become log(x + 0.001).
    """
    held = magnitudes(x)
    square = torch.from_numpy(np.pad(held, ((0, 0), (0, SIDE - held.shape[1]))))
    small = F.interpolate(square[None, None], (size, size), mode="bilinear", align_corners=False)
    return (small[0, 0] + LEAST).log().float().numpy()
