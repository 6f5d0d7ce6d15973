"""How a branch's classes are divided into network calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Batch:
    """Some classes' images, one class after another, with each image's share in its class."""

    images: Tensor
    """N×C×H×W."""
    labels: Tensor
    """N."""
    share: Tensor
    """k×N: row c holds 1/n_c for the images of class c, 0 elsewhere."""


@dataclass(frozen=True)
class Layout:
    """Blocks of classes that are prepared together, and pieces of blocks that one call takes."""

    sizes: tuple[int, ...]
    """Images of each class."""
    blocks: tuple[range, ...]
    """Consecutive classes; every block is prepared (decoded, augmented) as one batch."""
    piece: int
    """Images that one network call takes at most."""
    fixed: bool
    """Whether every call must have the same shape, as compiled calls do."""

    @classmethod
    def of(
        cls,
        sizes: Sequence[int],
        limit: int | None,
        *,
        splittable: bool,
        fixed: bool,
        single: bool = False,
        equal: bool = False,
    ) -> Layout:
        """The layout for calls of at most ``limit`` images.

        Args:
            sizes: images of each class.
            limit: images per call; None takes each class alone and whole.
            splittable: whether a class may be spread over several calls.
            fixed: whether calls are padded to one shape.
            single: whether every class is a block of its own.
            equal: whether classes of one call need equally many images; smaller ones are filled.
        """
        if equal:
            sizes = [max(sizes)] * len(sizes)
        blocks = class_blocks(sizes, None if single else limit)
        largest = max(sum(sizes[c] for c in block) for block in blocks)
        piece = largest
        if limit is not None and splittable:
            # Pieces of one size waste no padding: 256 images in calls of at most 41 are 7 × 37.
            piece = -(-largest // -(-largest // limit))
        return cls(tuple(sizes), tuple(blocks), piece, fixed)

    @classmethod
    def whole(cls, sizes: Sequence[int]) -> Layout:
        """All classes in one call, for networks that mix examples."""
        return cls(tuple(sizes), (range(len(sizes)),), sum(sizes), False)

    def sizes_of(self, block: range) -> list[int]:
        """Images of each class of a block."""
        return [self.sizes[c] for c in block]

    def pieces(self, batch: Batch) -> list[Batch]:
        """A block's batch as the calls that take it."""
        n, k = len(batch.images), len(self.blocks[0])
        out = []
        for start in range(0, n, self.piece):
            part = slice(start, start + self.piece)
            piece = Batch(batch.images[part], batch.labels[part], batch.share[:, part].contiguous())
            out.append(_padded(piece, k, self.piece) if self.fixed else piece)
        return out


def class_blocks(sizes: Sequence[int], limit: int | None) -> list[range]:
    """Runs of classes whose batches together hold at most ``limit`` images, evenly filled.

    ``None`` puts every class in a block of its own; so does a class larger than the limit.

    >>> class_blocks([10] * 10, 64)
    [range(0, 5), range(5, 10)]
    """
    classes = len(sizes)
    most = 1 if limit is None else max(1, limit // max(sizes))
    each = -(-classes // -(-classes // most))
    return [range(a, min(a + each, classes)) for a in range(0, classes, each)]


def share_matrix(
    sizes: Sequence[int],
    dtype: torch.dtype,
    device: torch.device,
    room: Sequence[int] | None = None,
) -> Tensor:
    """k×N: each image's share in its class's mean, so that a product gives the class means.

    Args:
        sizes: images of each class.
        dtype: of the shares.
        device: where they go.
        room: places of each class, when there are more than images; those left over count nothing.
    """
    columns = [
        pad(torch.full((1, n), 1.0 / n, dtype=dtype), (0, places - n))
        for n, places in zip(sizes, room or sizes, strict=True)
    ]
    share: Tensor = torch.block_diag(*columns)
    return share.to(device)


def _padded(piece: Batch, classes: int, images: int) -> Batch:
    """With images of zeros that have no share in any class, and classes without images."""
    more, rows = images - len(piece.images), classes - len(piece.share)
    if more == 0 and rows == 0:
        return piece
    return Batch(
        pad(piece.images, (0, 0) * (piece.images.dim() - 1) + (0, more)),
        pad(piece.labels, (0, more)),
        pad(piece.share, (0, more, 0, rows)),
    )


def unfilled(rows: Tensor, sizes: Sequence[int], room: Sequence[int]) -> Tensor:
    """The rows of the images alone: :func:`filled` and the padding of calls undone."""
    if list(sizes) == list(room):
        return rows[: sum(sizes)]
    parts = zip(rows[: sum(room)].split(list(room)), sizes, strict=True)
    return torch.cat([part[:n] for part, n in parts])


def filled(images: Tensor, sizes: Sequence[int], room: Sequence[int]) -> Tensor:
    """Classes one after another with images of zeros (or labels of 0) in the places left over."""
    if list(sizes) == list(room):
        return images
    rest = (0, 0) * (images.dim() - 1)
    parts = zip(images.split(list(sizes)), sizes, room, strict=True)
    return torch.cat([pad(part, (*rest, 0, places - n)) for part, n, places in parts])
