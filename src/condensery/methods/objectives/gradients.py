"""Gradients of classes' mean cross-entropy to a network's parameters, one row per class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from condensery.errors import UsageError
from condensery.nets import chain

from .chain_gradients import chain_gradients

Parameters = Literal["weights", "conv", "all"]

_written_out: ContextVar[bool] = ContextVar("written_out", default=False)


@contextmanager
def written_out() -> Iterator[None]:
    """Gradients of chains of layers are written out, for all classes of a call at once."""
    token = _written_out.set(True)
    try:
        yield
    finally:
        _written_out.reset(token)


def matched_parameters(network: nn.Module, which: Parameters) -> dict[str, torch.Size]:
    """Names and shapes of the parameters that take part, in the network's order.

    Args:
        network: any module.
        which: ``weights``: those with at least 2 dimensions, so neither biases nor the scales of
            norms (DC), but for LayerNorm's, which have one for each element of a map and take part
            in the authors' program as well; ``conv``: those of convolutions (IDC); ``all``.

    Raises:
        UsageError: when there are none.
    """
    least = {"weights": 2, "conv": 4, "all": 0}[which]
    found = {n: p.shape for n, p in network.named_parameters() if p.dim() >= least}
    if not found:
        raise UsageError(
            f"{type(network).__name__} has no parameters of --objective.parameters {which}; "
            "use weights or another --supply.net"
        )
    return found


def class_gradients(
    network: nn.Module, images: Tensor, labels: Tensor, share: Tensor, which: Parameters
) -> Tensor:
    """∇_θ Σᵢ share_cᵢ · cross-entropyᵢ for every class c (DC, equation 9).

    Inside a compiled function, which cannot be differentiated twice, and under :func:`written_out`
    the gradient of a chain of layers is written out; elsewhere autograd makes it. Where gradients
    are recorded, the result is differentiable with respect to ``images``.

    Args:
        network: gives logits.
        images: N×C×H×W.
        labels: N.
        share: k×N; row c is each example's share in class c. Written-out code wants the classes one
            after another in the batch, equally many images of each; some may have no share.
        which: which parameters take part, see :func:`matched_parameters`.

    Returns:
        k×P in the type of ``share``: the parameters' gradients, flattened, one after another.
    """
    names = list(matched_parameters(network, which))
    spelled = torch.compiler.is_compiling() or _written_out.get()
    layers = chain(network) if spelled else None
    if layers is not None:
        k = len(share)
        found = chain_gradients(layers, images, labels, share.sum(0), frozenset(names), k)
        return torch.cat([found[name].reshape(k, -1).to(share.dtype) for name in names], 1)
    rows = [_by_autograd(network, images, labels, one, names) for one in share]
    return torch.stack(
        [torch.cat([slope.reshape(-1).to(share.dtype) for slope in row]) for row in rows]
    )


def compiles(network: nn.Module) -> bool:
    """Whether :func:`class_gradients` of a network can be compiled."""
    return chain(network) is not None


def _by_autograd(
    network: nn.Module, images: Tensor, labels: Tensor, share: Tensor, names: list[str]
) -> list[Tensor]:
    again = torch.is_grad_enabled()
    named = dict(network.named_parameters())
    with torch.enable_grad():
        leaves = {name: named[name].detach().requires_grad_() for name in names}
        logits = functional_call(network, leaves, (images,))
        losses = cross_entropy(logits.to(share.dtype), labels, reduction="none")
        slopes = torch.autograd.grad(
            (losses * share).sum(), list(leaves.values()), create_graph=again, allow_unused=True
        )
    # A parameter that the output does not depend on, such as a bias before an instance norm's
    # neighbour in a foreign module, has a gradient of zero.
    return [
        torch.zeros_like(leaf) if slope is None else slope
        for leaf, slope in zip(leaves.values(), slopes, strict=True)
    ]
