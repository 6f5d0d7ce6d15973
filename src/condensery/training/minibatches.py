"""Mini-batches, their targets, the pieces that one call takes, and the call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad


def plain_targets(images: Tensor, labels: Tensor) -> Tensor:
    """Targets of images that are not mixed, N×4, whose shares make the loss a mean."""
    n = len(images)
    own, other = images.new_full((n,), 1 / n), images.new_zeros(n)
    classes = labels.to(images.dtype)  # exact: labels are small
    return torch.stack([classes, classes, own, other], 1)


def batches(order: Tensor, size: int, whole: bool) -> list[Tensor]:
    """Mini-batches; batch norm cannot take one image alone, so it joins the batch before."""
    out = list(order.split(size))
    if whole and len(out) > 1 and len(out[-1]) == 1:
        out[-2:] = [torch.cat(out[-2:])]
    return out


def pieces_of(
    images: Tensor, targets: Tensor, chunk: int | None, full: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """Pieces of one shape, evenly filled; what fills the last one has no share in the loss.

    Args:
        images: N×C×H×W.
        targets: N×4.
        chunk: most images of a piece.
        full: images of a full batch, where a smaller one takes the same shape: a call would be
            compiled again for another.
    """
    most = max(len(images), full)
    size = most if chunk is None else -(-most // -(-most // chunk))
    return _pieces(images, targets, size, -(-len(images) // size))


def evenly(images: Tensor, targets: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """This many pieces of one shape; what fills up the last ones has no share in the loss."""
    return _pieces(images, targets, -(-len(images) // count), count)


def _pieces(images: Tensor, targets: Tensor, size: int, count: int) -> list[tuple[Tensor, Tensor]]:
    missing = count * size - len(images)
    if missing:
        images = pad(images, (0, 0) * (images.dim() - 1) + (0, missing))
        targets = pad(targets, (0, 0) * (targets.dim() - 1) + (0, missing))
    return list(zip(images.split(size), targets.split(size), strict=True))


def logits_of(
    template: nn.Module, weights: dict[str, Tensor], images: Tensor, dtype: torch.dtype | None
) -> Tensor:
    """A network's logits with given weights, passes in another data type if one is given."""
    if dtype is not None:
        weights = {name: w.to(dtype) if w.is_floating_point() else w for name, w in weights.items()}
        images = images.to(dtype)
    logits: Tensor = functional_call(template, weights, (images,))
    return logits


def several(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The sum of a loss over networks: weights K×…, images N×K×C×H×W, targets N×K×4."""

    def losses(weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        return torch.vmap(loss, in_dims=(0, 1, 1))(weights, images, targets).sum()

    return losses
