"""Networks that learn from the synthetic set as it is learned (DC, GM)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from condensery import nets
from condensery.errors import UsageError
from condensery.methods.task import Task
from condensery.training.protocol import Protocol
from condensery.training.trainer import Course

from .base import Context
from .learner import Learner, check_learning, protocol_of
from .random_networks import freeze_batch_norm, still
from .schedules import fixed_schedule, is_published


@dataclass(kw_only=True)
class TrainedOnSynthetic:
    """A network that is trained on the synthetic set between pixel steps (DC, algorithm 1).

    Each outer iteration takes a fresh random network, and T times a pixel step and then ζ epochs
    on the synthetic set; after the last of the T steps the network is dropped untrained. GM's ζ
    depends on the step (equation 12) or on when the network overfits (section 3.3).
    """

    net: str = "convnet3"
    """The network, with options, such as ``convnet3:width=64``."""
    norm: Literal["none", "batch", "layer", "instance", "group"] | None = None
    """Its normalisation; the network's own by default."""
    steps: int | None = None
    """Pixel steps per network (T); DC's for the budget by default."""
    epochs: list[int] | int | None = None
    """Epochs after each pixel step (ζ): a number, or one for each step of which the last one stays;
    DC's for the budget by default."""
    until: Literal["epochs", "overfit", "gap"] = "epochs"
    """``overfit``: until the loss of real images rises; ``gap``: until it exceeds the loss of the
    synthetic ones by ``gap``; both instead of ``epochs``, and at most ``cap`` epochs."""
    cap: int = 50
    """Most epochs after a pixel step, for ``overfit`` and ``gap``."""
    gap: float = 0.5
    """Difference of the losses that ends training, for ``gap``."""
    validation: int = 256
    """Real images of any class whose loss is watched, for ``overfit`` and ``gap``."""
    rate: float = 0.01
    """Learning rate of the network."""
    momentum: float = 0.0
    """Momentum of the network's SGD, kept over the steps of an outer iteration."""
    weight_decay: float = 0.0
    """Weight decay of the network's SGD."""
    batch: int = 256
    """Synthetic images per step of the network."""
    augmentation: Literal["none", "batch_op"] = "none"
    """``batch_op``: one op per mini-batch with parameters of its own for each image (DSA)."""
    strategy: str = "color_crop_cutout_flip_scale_rotate"
    """The ops of ``batch_op``; flip goes where data may not be flipped."""
    freeze_with: int = 16
    """Real images per class whose statistics batch norm keeps during a pixel step."""
    _learner: Learner = field(init=False, repr=False)
    _done: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_learning(self, {"cap": 1, "validation": 1, "batch": 1, "freeze_with": 1})
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"supply.steps must be at least 1, got {self.steps}")
        if self.epochs == [] or min(_listed(self.epochs or 0)) < 0:
            raise UsageError(f"supply.epochs must be one number or more, ≥ 0, got {self.epochs}")
        if not 0 <= self.gap < math.inf:
            raise UsageError(f"supply.gap must be finite and not negative, got {self.gap}")

    def settled(self, ipc: int) -> TrainedOnSynthetic:
        """A copy whose schedule is in numbers."""
        steps, epochs = fixed_schedule(ipc)
        return dataclasses.replace(
            self,
            steps=steps if self.steps is None else self.steps,
            epochs=epochs if self.epochs is None and self.until == "epochs" else self.epochs,
        )

    def notes(self, ipc: int) -> list[str]:
        """What a user should know about the schedule."""
        steps, epochs = fixed_schedule(ipc)
        given = [(self.steps, steps, "steps"), (self.epochs, epochs, "epochs")]
        lines = [f"{dcs} {name}" for mine, dcs, name in given if mine == dcs]
        if is_published(ipc) or not lines:
            return []
        return [
            f"no paper gives a schedule for {ipc} images per class: {' and '.join(lines)} are "
            "interpolated linearly between the neighbouring budgets (--supply.steps and "
            "--supply.epochs set others)"
        ]

    def start(self, task: Task) -> None:
        """Remember the task; raise if the network cannot be built for it."""
        settled = self.settled(task.ipc)
        self.steps, self.epochs = settled.steps, settled.epochs
        nets.try_out(self.spec, task.shape, task.classes)
        self._learner = Learner(self.spec, task, self._protocol)

    @property
    def spec(self) -> str:
        """The network's full name."""
        return nets.with_norm(self.net, self.norm) if self.norm else self.net

    def effort(self, synthetic: int) -> tuple[float, float]:
        """T pixel steps, and the epochs between them."""
        steps = self.steps or 1
        each = [self._epochs_after(t) for t in range(steps - 1)]
        total = sum(each) if self.until == "epochs" else self.cap * len(each) / 2
        return float(steps), float(total * synthetic)

    def new(self, iteration: int) -> nn.Module:
        """The random network of this iteration."""
        return self._learner.new(iteration)

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Freeze batch statistics; nothing else mixes the images of a class."""
        freeze_batch_norm(still(network), context, self.freeze_with)

    def advance(self, network: nn.Module, context: Context) -> nn.Module | None:
        """Train the network on the synthetic set, unless this was the last of its steps."""
        if context.step + 1 >= (self.steps or 1):
            self._learner.drop()
            return None
        course = self._learner.course(context, network)
        if self.until == "epochs":
            numbers = range(self._epochs_after(context.step))
            self._train(course, context, *context.synthetic(), numbers)
        else:
            self._train_until(course, context, *context.synthetic())
        return network

    def _train(
        self, course: Course, context: Context, images: Tensor, labels: Tensor, numbers: range
    ) -> None:
        course.epochs(images, labels, numbers, (context.iteration, context.step))
        self._count("epochs", len(numbers))

    def _train_until(
        self, course: Course, context: Context, images: Tensor, labels: Tensor
    ) -> None:
        """Epoch by epoch, until the criterion of GM's section 3.3 says that it overfits."""
        held_out = context.mixed(self.validation)
        before = float(course.loss(*held_out))
        for epoch in range(self.cap):
            self._train(course, context, images, labels, range(epoch, epoch + 1))
            after = float(course.loss(*held_out))
            if self.until == "overfit" and after > before:
                return
            if self.until == "gap" and after - float(course.loss(images, labels)) > self.gap:
                return
            before = after
        self._count("capped", 1)

    def _epochs_after(self, step: int) -> int:
        each = _listed(self.epochs or 0)
        return each[min(step, len(each) - 1)]

    @property
    def _protocol(self) -> Protocol:
        return protocol_of(self)

    def _count(self, what: str, more: int) -> None:
        self._done[what] = self._done.get(what, 0) + more

    def report(self) -> dict[str, Any]:
        """Epochs of training since the last report, and how often the cap ended it."""
        done, self._done = self._done, {}
        return done

    def state(self) -> dict[str, Any]:
        """The network in use and its momentum; nothing between outer iterations."""
        return {"done": dict(self._done), **self._learner.state()}

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Restore :meth:`state`."""
        self._done = dict(state["done"])
        return self._learner.load_state(state)


def _listed(epochs: list[int] | int) -> list[int]:
    return [epochs] if isinstance(epochs, int) else epochs
