"""Distances between gradients, as pure functions over rows.

A row is what belongs to one output of a layer: a convolution's weight, out×in×k×k, is ``out`` rows
of in·k·k numbers, a linear layer's ``out`` rows of ``in`` (DC, section 2.4; GM, equation 8). All
functions take k×out×len for k classes and return k×out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.linalg import vector_norm

from condensery.errors import UsageError, unknown_name

Distance = Callable[[Tensor, Tensor], Tensor]

#: Keeps the cosine of vanishing gradients finite, as in the authors' programs.
COSINE_EPS = 1e-6


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """1 − ⟨a, b⟩ / (‖a‖‖b‖ + 10⁻⁶): d1 of GM's table 2, DC's distance (equation 10)."""
    norms: Tensor = vector_norm(a, dim=-1) * vector_norm(b, dim=-1)
    return 1 - (a * b).sum(-1) / (norms + COSINE_EPS)


def l2(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖: d2 of GM's table 2; its slope is taken as 0 where a = b."""
    norm: Tensor = vector_norm(a - b, dim=-1)
    return norm


def squared(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖²: d3 of GM's table 2, and the sum of squares of IDC."""
    return (a - b).square().sum(-1)


def mean_squared(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖² / len: d4 of GM's table 2."""
    return (a - b).square().mean(-1)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Σ |a − b|: IDC's other distance."""
    return (a - b).abs().sum(-1)


DISTANCES: dict[str, Distance] = {
    "cosine": cosine,
    "l1": l1,
    "l2": l2,
    "mean_squared": mean_squared,
    "squared": squared,
}
_ALIASES = {"cosine_l2": "cosine+l2", "mse": "squared"}
#: A plus, but not that of 1e+3.
_PLUS = re.compile(r"(?<![0-9][eE])\+")


@lru_cache(maxsize=64)
def parse_distance(text: str) -> Mapping[str, float]:
    """A weighted sum of distances: each one's name and weight.

    Args:
        text: such as ``cosine``, ``cosine+l2``, ``cosine+100*mean_squared``; ``cosine_l2`` and
            ``mse`` (the sum of squares) are other names of ``cosine+l2`` and ``squared``.

    Raises:
        UsageError: for a name that does not exist, a weight that is not a positive number, or a
            distance that is named twice.

    >>> parse_distance("cosine+0.1*l2")
    {'cosine': 1.0, 'l2': 0.1}
    """
    out: dict[str, float] = {}
    for part in _PLUS.split(text):
        weight, _, name = part.strip().rpartition("*")
        for one in _ALIASES.get(name.strip(), name.strip()).split("+"):
            if not one:
                raise UsageError(f"the distance '{text}' has an empty term; write cosine+0.1*l2")
            if one not in DISTANCES:
                raise unknown_name("distance", one, [*DISTANCES, *_ALIASES])
            if one in out:
                raise UsageError(f"the distance '{text}' names {one} twice; add up its weights")
            out[one] = _weight(weight.strip() or "1", text)
    return out


def _weight(text: str, distance: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(
            f"'{text}' in the distance '{distance}' must be a positive number, as in cosine+0.1*l2"
        )
    return value


def row_distance(
    real: Tensor, synthetic: Tensor, shapes: Sequence[torch.Size], terms: Mapping[str, float]
) -> Tensor:
    """Σ over classes, parameters and rows of a weighted sum of distances (DC, section 2.4).

    Args:
        real: k×P, gradients of the real batches.
        synthetic: k×P, gradients of the synthetic batches.
        shapes: of the parameters whose flattened gradients make up P. One of fewer than two
            dimensions (a bias, a norm's scale) is one row.
        terms: as :func:`parse_distance` gives them.

    Returns:
        A scalar.
    """
    total = synthetic.new_zeros(())
    lengths = [shape.numel() for shape in shapes]
    for shape, a, b in zip(
        shapes, real.split(lengths, 1), synthetic.split(lengths, 1), strict=True
    ):
        rows = shape[0] if len(shape) > 1 else 1
        a, b = a.unflatten(1, (rows, -1)), b.unflatten(1, (rows, -1))
        for name, weight in terms.items():
            total = total + weight * DISTANCES[name](b, a).sum()
    return total
