"""An augmentation's random parameters as values, drawn once and applied to any batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from condensery.errors import UsageError, unknown_name
from condensery.runtime.devices import to_device as to_device

from .strategy import VALUES, Strategy


@dataclass(frozen=True, eq=False)
class Draw:
    """One op with its parameters as values, for one group (a whole batch) or for every image.

    Siamese augmentation is one draw with one row, applied to the real and to the synthetic batch.
    """

    op: str
    """``color``, ``crop``, ``cutout``, ``flip``, ``scale``, ``rotate`` or ``noise``."""
    values: Tensor
    """G×k float32, each uniform in [0, 1); G is 1 (the whole batch shares them) or N."""

    def __post_init__(self) -> None:
        if self.op not in VALUES:
            raise unknown_name("augmentation op", self.op, VALUES)
        if self.values.dim() != 2 or self.values.shape[1] != VALUES[self.op]:
            shape = "×".join(map(str, self.values.shape))
            raise UsageError(f"op {self.op} takes values of shape G×{VALUES[self.op]}, not {shape}")

    def to(self, device: torch.device | str) -> Draw:
        """The draw on a device; the host does not wait for the copy to a GPU."""
        return Draw(self.op, to_device(self.values, torch.device(device)))

    def expand(self, n: int) -> Draw:
        """One row for each of ``n`` images, so that classes can be batched together."""
        if len(self.values) not in (1, n):
            raise UsageError(f"a draw of {len(self.values)} rows cannot be expanded to {n}")
        return Draw(self.op, self.values.expand(n, -1))


def cat(draws: Sequence[Draw]) -> Draw:
    """Draws of the same op as one: their rows, one draw after another."""
    ops = sorted({draw.op for draw in draws})
    if len(ops) != 1:
        raise UsageError(f"only draws of one op can be joined, got {', '.join(ops) or 'none'}")
    return Draw(ops[0], torch.cat([draw.values for draw in draws]))


def sample(rng: np.random.Generator, op: str, groups: int = 1) -> Draw:
    """One draw of an op; fewer groups from the same generator are the first of more."""
    # float32 straight from the generator is a multiple of 2⁻²⁴ below 1, never rounded up to 1.
    return Draw(op, torch.from_numpy(rng.random((groups, VALUES[op]), dtype=np.float32)))


def sample_one(rng: np.random.Generator, strategy: Strategy, groups: int = 1) -> Draw:
    """One op of the strategy, drawn uniformly (DSA), with values for ``groups`` rows."""
    if not strategy.ops:
        raise UsageError("the augmentation strategy is empty: name an op, or augment with none")
    return sample(rng, strategy.ops[int(rng.integers(len(strategy.ops)))], groups)


def sample_all(rng: np.random.Generator, strategy: Strategy, groups: int = 1) -> tuple[Draw, ...]:
    """Every op of the strategy in order (IDC), with values for ``groups`` rows each."""
    return tuple(sample(rng, op, groups) for op in strategy.ops)
