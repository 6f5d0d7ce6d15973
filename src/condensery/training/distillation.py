"""Distillation: a network in training follows what an earlier one said of the old classes.

T² · KL(old/T ‖ new/T) over the old classes (Li and Hoiem, 2017, as IDC's appendix C.3 and DC's
section 3.2 use it). What the earlier network says travels beside the labels, as further columns of
a mini-batch's targets, so that pieces of a batch are cut and filled as they always are.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

#: Columns of targets before those of the teacher: two labels and their shares.
LABELS = 4


@dataclass(frozen=True)
class Distillation:
    """The constants of a distillation loss."""

    weight: float = 1.0
    """What it counts beside the cross-entropy."""
    temperature: float = 2.0
    """T, which logits are divided by."""


class Teacher:
    """An earlier network, which stays as it is.

    Args:
        network: whose classes are the first ones of the network that follows it; copied.
        how: the constants of the loss.
    """

    def __init__(self, network: nn.Module, how: Distillation) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.how = how

    @torch.no_grad()
    def beside(self, images: Tensor, targets: Tensor) -> Tensor:
        """Targets with the teacher's softened probabilities beside them, N×(4+K).

        Args:
            images: N×C×H×W, augmented.
            targets: N×4.
        """
        said = softmax(self.network(images) / self.how.temperature, 1)
        return torch.cat([targets, said.to(targets.dtype)], 1)


def distillation_loss(logits: Tensor, targets: Tensor, how: Distillation) -> Tensor:
    """The loss of a batch, or of a part of it whose rows have their shares of the mean.

    Args:
        logits: N×C of the network in training, C ≥ K.
        targets: N×(4+K); rows that only fill a piece have no share.
        how: the constants.
    """
    said, shares = targets[:, LABELS:], targets[:, 2:LABELS].sum(1)
    ours = log_softmax(logits[:, : said.shape[1]] / how.temperature, 1)
    apart = torch.special.xlogy(said, said) - said * ours
    mean: Tensor = (apart.sum(1) * shares).sum()
    return how.weight * how.temperature**2 * mean
