"""Where the tiles of a stored image lie."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

#: Cells of one stored image: rows and columns, from and to.
Tile = tuple[slice, slice]


@lru_cache(maxsize=64)
def tiles(height: int, width: int, factor: int, along: str) -> tuple[Tile, ...]:
    """The grid that packing and decoding share, in reading order; sizes differ by one at most.

    >>> [(c.start, c.stop) for _, c in tiles(4, 7, 2, "time")]
    [(0, 4), (4, 7)]
    """
    columns = _stretches(width, factor)
    rows = _stretches(height, factor) if along == "area" else [slice(0, height)]
    return tuple((row, column) for row in rows for column in columns)


def _stretches(side: int, parts: int) -> list[slice]:
    edges = [(2 * i * side + parts) // (2 * parts) for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]
