"""A network with more classes than the one whose weights it continues with."""

from __future__ import annotations

import torch
from torch import nn

from condensery.errors import UsageError

from .sizes import Shape
from .zoo import build


def widened(network: nn.Module, spec: str, shape: Shape, classes: int) -> nn.Module:
    """The same network with a wider last layer, whose old rows are kept.

    New rows are initialised by torch's own rule, from its global generator.

    Args:
        network: with fewer classes, or as many.
        spec: what :func:`build` builds it of.
        shape: C, H, W of one image.
        classes: of the new network.

    Raises:
        UsageError: when the two differ in more than the rows of the last layer.
    """
    wide = build(spec, shape, classes)
    held, new = network.state_dict(), wide.state_dict()
    for name, old in held.items():
        into = new.get(name)
        fits = into is not None and into.shape[1:] == old.shape[1:] and into.dim() == old.dim()
        if into is None or not fits or (old.dim() and len(into) < len(old)):
            raise UsageError(
                f"the network '{spec}' cannot be widened to {classes} classes: {name} differs in "
                "more than its rows; give one with a single linear classifier"
            )
        with torch.no_grad():
            (into[: len(old)] if old.dim() else into).copy_(old)
    first = next(network.parameters())
    return wide.to(device=first.device, dtype=first.dtype)
