"""Sound from spectrograms: phases are estimated, so that a condensed spectrogram can be heard."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from condensery.data.spectrograms import HOP, LEAST, SIDE, WINDOW, frames
from condensery.methods.formation.resize import bilinear
from condensery.runtime.randomness import stream

ITERATIONS = 100
"""Of Griffin-Lim."""
#: Of the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard, 2013).
_MOMENTUM = 0.99
#: Spectrograms that are turned into sound together.
_AT_ONCE = 64
#: The sum of squared windows at the first samples is near to nothing; division goes no lower.
_EDGE = 0.01
_TINY = 1e-12
#: Multiplicative steps per iteration where cells overlap.
_STEPS = 5
#: A logarithm beyond any recording's: a full-scale tone has 4.2.
_LOUDEST = 12.0


def griffin_lim(images: Tensor, rate: int, seed: int = 0, iterations: int = ITERATIONS) -> Tensor:
    """One second of sound for each log-magnitude spectrogram (Griffin and Lim, 1984).

    Phases start at random. An iteration makes samples of magnitudes and phases, transforms them
    back, keeps the phases (ahead by a momentum, the fast variant) and corrects the magnitudes until
    they agree with the image: means over the resized cells are given, what lies within them is
    not, and is taken from the sound.

    Args:
        images: N×1×S×S, log(x + 0.001) of magnitudes padded to 128×128 and resized, as data of
            recordings are.
        rate: samples per second.
        seed: where the first phases come from.
        iterations: how many.

    Returns:
        N×rate samples, float64, on the scale of the recordings, not clipped.
    """
    wanted = (images[:, 0].double().clamp(max=_LOUDEST).exp() - LEAST).clamp(min=0)
    parts = [
        _sound(part, rate, seed, first, iterations)
        for first, part in zip(range(0, len(wanted), _AT_ONCE), wanted.split(_AT_ONCE), strict=True)
    ]
    return torch.cat(parts)


def _sound(wanted: Tensor, rate: int, seed: int, first: int, iterations: int) -> Tensor:
    fit = _Fit(wanted, frames(rate))
    magnitudes = fit.start()
    angles = torch.stack(
        [
            torch.from_numpy(stream(seed, "griffin-lim", first + k).random(one.shape))
            for k, one in enumerate(magnitudes)
        ]
    )
    current = torch.polar(magnitudes, 2 * torch.pi * angles)
    before = torch.zeros_like(current)
    for _ in range(iterations):
        consistent = transform(samples_of(current, rate))
        ahead = consistent + _MOMENTUM * (consistent - before)
        before = consistent
        magnitudes = fit.corrected(consistent.abs())
        current = magnitudes * ahead / ahead.abs().clamp(min=_TINY)
    return samples_of(current, rate)


class _Fit:
    """Magnitudes of 128 × frames whose resized image is the given one."""

    def __init__(self, wanted: Tensor, count: int) -> None:
        self.wanted, side = wanted, wanted.shape[-1]
        self.rows = bilinear(side, SIDE, torch.float64, wanted.device)
        # Frames beyond the last are zeros, and have no part in it.
        self.columns = self.rows[:, :count]
        self.total = self._spread(torch.ones_like(wanted))
        self.up = bilinear(SIDE, side, torch.float64, wanted.device)
        # Without overlap one step is exact.
        self.steps = 1 if SIDE % side == 0 else _STEPS

    def _spread(self, image: Tensor) -> Tensor:
        return self.rows.T @ image @ self.columns

    def start(self) -> Tensor:
        """The image resized back, and corrected."""
        large = self.up @ self.wanted @ self.up.T
        return self.corrected(large[..., : self.total.shape[-1]])

    def corrected(self, magnitudes: Tensor) -> Tensor:
        """Multiplicative steps towards the image; what no cell of it has seen is left alone."""
        for _ in range(self.steps):
            found = self.rows @ magnitudes @ self.columns.T
            factor = self._spread(self.wanted / found.clamp(min=_TINY)) / self.total
            magnitudes = torch.where(self.total > _TINY, magnitudes * factor, magnitudes)
        return magnitudes


def _window(device: torch.device) -> Tensor:
    return torch.hann_window(WINDOW, dtype=torch.float64, device=device)


def transform(x: Tensor) -> Tensor:
    """The short-time Fourier transform of :mod:`condensery.data.spectrograms`.

    N×rate samples → N × 128 frequencies × frames, complex.
    """
    n = frames(x.shape[1])
    padded = F.pad(x, (0, HOP * (n - 1) + WINDOW - x.shape[1]))
    cut = padded.unfold(1, WINDOW, HOP) * _window(x.device)
    found: Tensor = torch.fft.rfft(cut).transpose(1, 2)
    return found


def samples_of(spectrum: Tensor, rate: int) -> Tensor:
    """The samples whose transform is nearest to a spectrum (Griffin and Lim, equation 6)."""
    n, window = spectrum.shape[2], _window(spectrum.device)
    cut = torch.fft.irfft(spectrum.transpose(1, 2), WINDOW) * window
    length = HOP * (n - 1) + WINDOW
    weights = (window**2).expand(1, n, WINDOW)
    added, divisor = _overlapped(cut, length), _overlapped(weights, length)
    return (added / divisor.clamp(min=_EDGE))[:, :rate]


def _overlapped(parts: Tensor, length: int) -> Tensor:
    """Frames in their places and added up, N×frames×255 → N×length."""
    whole: Tensor = F.fold(parts.transpose(1, 2), (1, length), (1, WINDOW), stride=(1, HOP))
    return whole[:, 0, 0]
