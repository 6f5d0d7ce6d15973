"""What every objective offers the loop."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """A comparison of real with synthetic batches through a network, in three parts.

    The *statistic* of classes' batches, *compare* on the statistics of all classes, and the pull
    back of the comparison's gradient to each class's pixels, which autograd does. Chunks and ranks
    exchange statistics, not images.
    """

    separable: bool
    """Whether ``compare`` is a sum over classes, so that a few classes can be compared alone."""
    additive: bool
    """Whether the statistic of a batch is the weighted sum of its examples' statistics, so that a
    class's batch can be taken in pieces."""

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """The statistics of k classes, k×…

        Args:
            network: what one looks through.
            images: N×C×H×W.
            labels: N.
            weights: k×N; row c is each example's share in class c.
        """

    def compare(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The loss, a scalar, from the statistics of the same classes."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take :meth:`state` back."""
