"""Every random draw, addressed by what it is for.

A draw is a function of (seed, purpose, iteration, step, group): never of the clock, nor of the
draws before it. So neither chunks, nor ranks, nor a resume can change what is drawn. Philox is a
counter-based generator, which makes the address literally its key and counter: two addresses
can never share a stream (docs/decisions/0002-randomness.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch

from condensery.errors import UsageError

_WORD = 2**64


@lru_cache(maxsize=256)
def _purpose_key(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def stream(
    seed: int, purpose: str, iteration: int = 0, step: int = 0, group: int = 0
) -> np.random.Generator:
    """The generator at one address.

    Args:
        seed: the run's seed, 0 ≤ seed < 2⁶⁴.
        purpose: what is drawn, such as ``"real-batch"``.
        iteration: outer iteration (or the network's number, in evaluation).
        step: step within the iteration (or the epoch).
        group: usually the class.

    >>> a, b = stream(0, "x", 3), stream(0, "x", 3)
    >>> bool(a.random() == b.random())
    True
    """
    for name, value in (("seed", seed), ("iteration", iteration), ("step", step), ("group", group)):
        if not 0 <= value < _WORD:
            raise UsageError(f"{name} must lie in 0 … 2^64−1, got {value}")
    # The counter's lowest word counts the draws of one stream; 2^64 blocks never run out.
    key = np.array([seed, _purpose_key(purpose)], dtype=np.uint64)
    counter = np.array([0, group, step, iteration], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def private_generator(
    seed: int, purpose: str, iteration: int = 0, step: int = 0, group: int = 0
) -> torch.Generator:
    """A generator of torch's that gives what its global one gives inside :func:`fork_rng`.

    Args:
        seed: as for :func:`stream`.
        purpose: as for :func:`stream`.
        iteration: as for :func:`stream`.
        step: as for :func:`stream`.
        group: as for :func:`stream`.
    """
    value = int(stream(seed, purpose, iteration, step, group).integers(2**63))
    return torch.Generator().manual_seed(value)


@contextmanager
def fork_rng(
    seed: int,
    purpose: str,
    iteration: int = 0,
    step: int = 0,
    group: int = 0,
    device: torch.device | None = None,
) -> Iterator[None]:
    """Seed torch's global generators for the block, and put them back afterwards.

    Modules initialise themselves, and drop units out, from the global generators, and cannot
    be told otherwise. This is the only place that touches them.

    Args:
        seed: as for :func:`stream`.
        purpose: as for :func:`stream`.
        iteration: as for :func:`stream`.
        step: as for :func:`stream`.
        group: as for :func:`stream`.
        device: where the block draws, when that is not the CPU.
    """
    value = int(stream(seed, purpose, iteration, step, group).integers(2**63))
    on_gpu = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(value)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(value)
        yield
