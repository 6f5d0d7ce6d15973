"""What every objective offers the loop."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from condensery.methods.task import Step


class Objective(Protocol):
    """A comparison of real with synthetic batches through a network, in three parts.

    The *statistic* of classes' batches, *compare* on these statistics, and the pull back of the
    comparison's gradient to each class's pixels, which autograd does. Chunks and ranks exchange
    statistics, not images.

    An objective that also compares real images one by one has two members more: ``observes``, true
    where it does, and ``observe(network, images, labels, weights)``, which takes what ``statistic``
    takes and returns the statistics and a row of each image, N×d. ``compare`` finds these rows,
    class after class, in ``step.observed``. Such an objective is not separable.

    An objective that asks less of real images than of synthetic ones has ``real_statistic``, which
    takes what ``statistic`` takes, for the real branch.

    Where several processes share a run, each compares its own classes, or all of them where they
    are tied. An objective that remembers something (``state``) is rejected then, unless it has
    ``splits``, true where what it remembers is the same on all of them.
    """

    separable: bool
    """Whether ``compare`` is a sum over classes, so that a few classes can be compared alone."""
    additive: bool
    """Whether the statistic of a batch is the weighted sum of its examples' statistics, so that a
    class's batch can be taken in pieces."""
    single: bool
    """Whether a call takes one class, or several of equally many images (``Plan.together``)."""
    passes: float
    """Work of a real image's statistic, in forward passes of the network."""

    def compiles(self, network: nn.Module) -> bool:
        """Whether the statistic of this network may be compiled."""

    def levels(self, step: Step) -> tuple[float, float]:
        """What counts in this step: the comparison of each class, and that of the classes' mean.

        The mean weighs classes by the sizes of their batches (GM, equation 5). The second is for
        separable objectives.
        """

    def statistic(
        self, network: nn.Module, images: Tensor, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """The statistics of k classes, k×…

        Args:
            network: the matching network.
            images: N×C×H×W.
            labels: N.
            weights: k×N; row c is each example's share in class c.
        """

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        """The loss, a scalar, from the statistics of the same classes (or of their mean)."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state`."""
