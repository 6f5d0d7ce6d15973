"""What every supply of networks offers the loop, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from condensery.methods.task import Task
from condensery.training.protocol import Protocol as TrainingProtocol
from condensery.training.trainer import Course, Subset, TrainingSet


@dataclass(frozen=True)
class Context:
    """What a supply may look at when it decides how to continue. Nothing here touches test data."""

    iteration: int
    """Outer iteration."""
    step: int
    """Pixel steps done with this network."""
    synthetic: Callable[[], tuple[Tensor, Tensor]]
    """The decoded synthetic set and its labels, without gradient."""
    query: Callable[[int, int | None], Subset]
    """This many real training images per class, of a numbered draw of this step; None: of the one
    draw for all steps of the network."""
    statistics: Callable[[int], Subset]
    """This many real training images per class, for the statistics of batch norm in this step."""
    mixed: Callable[[int], tuple[Tensor, Tensor]]
    """This many real training images of any class and their labels, drawn for this step."""
    real: TrainingSet
    """The training split, to train networks on."""
    course: Callable[[nn.Module, TrainingProtocol], Course]
    """Start training a network, by the execution plan of the run."""


class Supply(Protocol):
    """A source of networks."""

    def start(self, task: Task) -> None:
        """Receive the task; called once, before anything else."""

    def effort(self, synthetic: int) -> tuple[float, float]:
        """About how much an outer iteration takes, with this many synthetic images.

        Returns:
            Pixel steps, and images that networks are trained on.
        """

    def new(self, iteration: int) -> nn.Module:
        """The network that an outer iteration starts with, on the task's device."""

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Make the network ready for one pixel step, such as freezing its batch statistics."""

    def advance(self, network: nn.Module, context: Context) -> nn.Module | None:
        """The network of the next pixel step, or None to end the outer iteration."""

    def report(self) -> dict[str, Any]:
        """What it did since the last report, for ``metrics.jsonl``."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Restore :meth:`state`; the network in use then, None between outer iterations."""
