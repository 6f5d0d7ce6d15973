"""Losses and hits of a network as functions of its weights, compiled where the plan says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from condensery.nets import has_batch_norm, mixes_examples
from condensery.runtime.compile import compiled
from condensery.runtime.plan import Plan

from .distillation import LABELS, Distillation, distillation_loss
from .minibatches import logits_of, several

Loss = Callable[[dict[str, Tensor], Tensor, Tensor], Any]


class Losses:
    """The functions of one architecture: a new network does not compile them again.

    Args:
        plan: whether they are compiled.
        dtype: type of the passes; None leaves everything as it is.
    """

    def __init__(self, plan: Plan, dtype: torch.dtype | None) -> None:
        self.plan, self.dtype = plan, dtype
        self._losses: dict[tuple[Any, ...], Loss] = {}
        self._several: Loss | None = None
        self._hits: Loss | None = None

    def of(
        self,
        network: nn.Module,
        dtype: torch.dtype | None,
        *,
        learning: bool = True,
        watched: bool = False,
        distilled: Distillation | None = None,
    ) -> Loss:
        """The loss as a function of weights, so that a new network does not recompile.

        Args:
            network: of the architecture of all networks here.
            dtype: of the passes; None leaves everything as it is.
            learning: whether the network is in training mode, with its dropout.
            watched: whether it also gives which images are classified correctly.
            distilled: whether, and how, it also follows a teacher.
        """
        key = (dtype, learning, watched, distilled)
        if key in self._losses:
            return self._losses[key]
        template = copy.deepcopy(network).train(learning)
        self._losses[key] = self._fast(loss_of(template, dtype, watched, distilled), template)
        return self._losses[key]

    def of_several(self, network: nn.Module) -> Loss:
        """The sum of the losses of several networks, as a function of their stacked weights.

        Args:
            network: one of them, none of which mixes examples.
        """
        if self._several is None:
            template = copy.deepcopy(network).train()
            self._several = self._fast(several(loss_of(template, self.dtype)), template)
        return self._several

    def hits(self, network: nn.Module) -> Loss:
        """How many images are classified correctly in evaluation mode, as a function of weights.

        Networks with batch norm, which are trained in their weights' type, are tested in it too.
        """
        if self._hits is None:
            template = copy.deepcopy(network).eval()
            dtype = None if has_batch_norm(network) else self.dtype

            def hits(weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
                found = logits_of(template, weights, images, dtype).argmax(1)
                return ((found == targets[:, 0].long()) & (targets[:, 2] > 0)).sum()

            self._hits = self._fast(hits, template)
        return self._hits

    def _fast(self, function: Loss, template: nn.Module) -> Loss:
        return compiled(function) if self.plan.compile and not mixing(template) else function


def loss_of(
    template: nn.Module,
    dtype: torch.dtype | None,
    watched: bool = False,
    distilled: Distillation | None = None,
) -> Loss:
    """The loss of a network as a function of its weights, a batch and its targets.

    Args:
        template: the network, in the mode that it is run in.
        dtype: of the passes; None leaves everything as it is.
        watched: whether it also gives which images are classified correctly.
        distilled: whether, and how, it also follows a teacher, whose columns targets then have.
    """

    def loss(weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> Any:
        logits = logits_of(template, weights, images, dtype).to(targets.dtype)
        picked = log_softmax(logits, 1).gather(1, targets[:, :2].long())
        mean = -(picked * targets[:, 2:LABELS]).sum()
        if distilled is not None:
            mean = mean + distillation_loss(logits, targets, distilled)
        return (mean, logits.argmax(1) == targets[:, 0].long()) if watched else mean

    return loss


def mixing(network: nn.Module) -> bool:
    """Whether a batch must go through the network whole."""
    return mixes_examples(network)
