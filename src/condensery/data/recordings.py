"""Encoded recordings of both splits become two labelled sets of spectrograms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from condensery.errors import UsageError

from .images import UnreadableError
from .pictures import Pair, Part, Splits, Wanted, divide, judge, two_sets
from .sound import samples
from .spectrograms import HOP, SIDE, SIZE, USUAL_RATE, WINDOW, frames, one_second, spectrogram


@dataclass
class _Block:
    """The spectrograms of one split, and what was met on the way."""

    images: NDArray[np.float32]
    kept: NDArray[np.bool_]
    rate: int
    cut: int = 0
    padded: int = 0
    resampled: Counter[int] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def decode(splits: Splits, name: str, wanted: Wanted) -> Pair:
    """Decode both splits; the test split follows what training decided and decides nothing.

    Without a rate the recordings keep that of the first of them, at most 16 kHz.
    """
    if wanted.channels == 3:
        raise UsageError("spectrograms have one channel; leave channels out for recordings")
    size = wanted.size or SIZE
    division = divide(splits, wanted)
    train = _block(division.train, division.names, size, wanted.rate, "training")
    test = _block(division.test, division.names, size, train.rate, "test")
    n = frames(train.rate)
    padding = f", padded with zeros to {SIDE}×{SIDE}" if n < SIDE else ""
    how = (
        f"recordings became log-magnitude spectrograms: {SIDE} frequencies × {n} frames "
        f"(n_fft {WINDOW}, hop {HOP}){padding}, resized to {size}×{size}; they cannot be played"
    )
    notes = (*division.notes, how, *train.notes, *test.notes)
    first, second = two_sets(division, train.images, train.kept, test.images, test.kept, name)
    return Pair(first, second, notes, train.rate)


def _block(part: Part, names: tuple[str, ...], size: int, rate: int | None, split: str) -> _Block:
    """Decode some rows of a split, leaving out what cannot be read."""
    room = len(part.rows)
    block = _Block(np.empty((room, 1, size, size), np.float32), np.ones(room, bool), rate or 0)
    bad: dict[int, str] = {}
    n = 0
    for row, (item, content) in enumerate(part.pictures.pick(part.rows)):
        try:
            x, native = samples(content, item)
        except UnreadableError as error:
            bad[row] = f"{item}: {error}"
            continue
        block.rate = block.rate or min(native, USUAL_RATE)
        block.cut += len(x) > native
        block.padded += len(x) < native
        block.resampled[native] += native != block.rate
        block.images[n, 0] = spectrogram(one_second(x, native, block.rate), size)
        n += 1
    block.kept[list(bad)] = False
    block.notes += judge(bad, block.kept, part.labels[part.rows], names, split, "recording")
    block.images = block.images if n == room else block.images[:n].copy()
    _remark(block, n, split)
    return block


def _remark(block: _Block, n: int, split: str) -> None:
    """What was done to the lengths and the rates."""
    if block.cut or block.padded:
        block.notes.append(
            f"{split} recordings brought to one second: {block.cut} of {n} cut at the end, "
            f"{block.padded} padded with silence"
        )
    others = +block.resampled
    if others:
        rates = ", ".join(f"{hz} Hz" for hz, _ in others.most_common(5)) + ", …" * (len(others) > 5)
        block.notes.append(
            f"{split} recordings resampled to {block.rate} Hz: {others.total()} of {n} (from "
            f"{rates})"
        )
