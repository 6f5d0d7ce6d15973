"""Encoded recordings of both splits become two labelled sets of spectrograms."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from condensery.errors import UsageError

from . import store as stores
from .images import UnreadableError
from .pictures import Pair, SplitRows, Splits, Wanted, divide, judge, one_set
from .sound import samples
from .spectrograms import HOP, SIDE, SIZE, USUAL_RATE, WINDOW, frames, one_second, spectrogram
from .store import Memory, Store


@dataclass
class _Block:
    """The spectrograms of one split, and what was found on the way."""

    kept: NDArray[np.bool_]
    rate: int
    cut: int = 0
    padded: int = 0
    resampled: Counter[int] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def decode(splits: Splits, name: str, wanted: Wanted, store: Store | None = None) -> Pair:
    """Decode both splits; the test split follows what training decided and decides nothing.

    Without a rate the recordings keep that of the first of them, at most 16 kHz. Spectrograms go
    into the store; into memory when none is given.
    """
    store = store or Memory()
    if wanted.channels == 3:
        raise UsageError("spectrograms have one channel; leave channels out for recordings")
    size = wanted.size or SIZE
    division = divide(splits, wanted)
    names = division.names
    train = _block(store, division.train, names, size, wanted.rate, "training")
    first = one_set(store, division.train, train.kept, names, name)
    test = _block(store, division.test, names, size, train.rate, "test")
    second = one_set(store, division.test, test.kept, names, name, first)
    n = frames(train.rate)
    padding = f", padded with zeros to {SIDE}×{SIDE}" if n < SIDE else ""
    how = (
        f"recordings became log-magnitude spectrograms: {SIDE} frequencies × {n} frames "
        f"(n_fft {WINDOW}, hop {HOP}){padding}, resized to {size}×{size}; phases are discarded"
    )
    notes = (*division.notes, how, *train.notes, *test.notes)
    return Pair(first, second, notes, train.rate)


def _block(
    store: Store, part: SplitRows, names: tuple[str, ...], size: int, rate: int | None, split: str
) -> _Block:
    """Decode some rows of a split, leaving out what cannot be read."""
    room = len(part.rows)
    block = _Block(np.ones(room, bool), rate or 0)
    bad: dict[int, str] = {}
    held: list[NDArray[np.float32]] = []
    most = max(1, stores.CHUNK // (4 * size * size))
    store.begin(room)
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
        held.append(spectrogram(one_second(x, native, block.rate), size))
        if len(held) == most:
            store.add(np.stack(held)[:, None])
            held = []
    if held:
        store.add(np.stack(held)[:, None])
    block.kept[list(bad)] = False
    block.notes += judge(bad, block.kept, part.labels[part.rows], names, split, "recording")
    _remark(block, room - len(bad), split)
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
