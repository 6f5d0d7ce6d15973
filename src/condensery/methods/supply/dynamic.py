"""Dynamic bi-level optimisation: accuracies in two queues decide how long to stay (CAFE)."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from condensery import nets
from condensery.errors import UsageError
from condensery.methods.task import Task
from condensery.training.protocol import Protocol

from .base import Context
from .learner import Learner, check_learning, protocol_of
from .random_networks import freeze_batch_norm, still
from .schedules import fixed_schedule

#: An accuracy check costs a forward pass, a third of what training on an image does.
_FORWARD = 1 / 3
#: For that estimate; more classes only make it lower than it is.
_CLASSES = 10


class Queue:
    """The last few accuracies; the oldest drops out when a new one comes to a full queue."""

    def __init__(self, length: int, values: Sequence[float] = ()) -> None:
        self._values: deque[float] = deque(values, maxlen=length)

    def add(self, accuracy: float) -> None:
        """One more."""
        self._values.append(accuracy)

    @property
    def full(self) -> bool:
        """Whether it holds as many as it can."""
        return len(self._values) == self._values.maxlen

    @property
    def spread(self) -> float:
        """Largest minus smallest: div(·) of CAFE's algorithm 1."""
        return max(self._values) - min(self._values)

    def values(self) -> list[float]:
        """The oldest first."""
        return list(self._values)


@dataclass(kw_only=True)
class Dynamic:
    """Networks that learn from the synthetic set while that teaches them (CAFE, algorithm 1).

    After each pixel step the accuracy on real training images enters the outer queue. When the
    full queue spreads less than λ1, the network has converged and a fresh one is taken. Otherwise
    the network is trained on the synthetic set, epoch by epoch, until the full inner queue spreads
    more than λ2. Caps end either loop where the queues would not.
    """

    net: str = "convnet3"
    """The network, with options, such as ``convnet3:width=64``."""
    norm: Literal["none", "batch", "layer", "instance", "group"] | None = None
    """Its normalisation; the network's own by default."""
    gamma: int = 10
    """Length of both queues (γ)."""
    lambda1: float = 0.05
    """The network is left when the outer queue's accuracies, 0 … 1, spread less (λ1)."""
    lambda2: float = 0.05
    """Pixels take their turn again when the inner queue's accuracies spread more (λ2)."""
    query: int = 128
    """Real training images per class that an accuracy is taken on."""
    redraw: Literal["network", "check"] = "check"
    """When those images are drawn: for each network, or afresh at each check."""
    step_cap: int | None = 100
    """Most pixel steps with one network (l_out); null: DC's for the budget, and no fewer than
    ``gamma``, so that the queue can fill."""
    epoch_cap: int | None = 50
    """Most epochs after a pixel step (l_in); null: DC's for the budget, and no fewer than
    ``gamma``."""
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
    _outer: Queue = field(init=False, repr=False)
    _left: list[dict[str, Any]] = field(init=False, repr=False, default_factory=list)
    _now: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        least = {"gamma": 2, "query": 1, "batch": 1, "freeze_with": 1}
        caps = {name: 1 for name in ("step_cap", "epoch_cap") if getattr(self, name) is not None}
        check_learning(self, {**least, **caps})
        for name in ("lambda1", "lambda2"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"supply.{name} is a difference of accuracies, 0 … 1, got {getattr(self, name)}"
                )

    @property
    def spec(self) -> str:
        """The network's full name."""
        return nets.with_norm(self.net, self.norm) if self.norm else self.net

    def settled(self, ipc: int) -> Dynamic:
        """With the caps of a budget in numbers."""
        steps, epochs = (max(self.gamma, number) for number in fixed_schedule(ipc))
        return dataclasses.replace(
            self,
            step_cap=steps if self.step_cap is None else self.step_cap,
            epoch_cap=epochs if self.epoch_cap is None else self.epoch_cap,
        )

    @property
    def _caps(self) -> tuple[int, int]:
        """Of pixel steps and of epochs, once they are settled."""
        assert self.step_cap is not None
        assert self.epoch_cap is not None
        return self.step_cap, self.epoch_cap

    def notes(self, ipc: int) -> list[str]:
        """What a user should know about the queues."""
        settled = self.settled(ipc)
        short = [
            f"supply.{name} {cap} is below supply.gamma {self.gamma}"
            for name, cap in zip(("step_cap", "epoch_cap"), settled._caps, strict=True)
            if cap < self.gamma
        ]
        return [f"{one}: that queue never fills, so the cap ends every loop" for one in short]

    def start(self, task: Task) -> None:
        """Remember the task; raise if the network cannot be built for it."""
        settled = self.settled(task.ipc)
        self.step_cap, self.epoch_cap = settled.step_cap, settled.epoch_cap
        nets.try_out(self.spec, task.shape, task.classes)
        self._learner = Learner(self.spec, task, self._protocol)
        self._outer = Queue(self.gamma)

    def effort(self, synthetic: int) -> tuple[float, float]:
        """Twice the queue's length in steps, and thrice in epochs and checks after each."""
        most, longest = self._caps
        steps = min(2.0 * self.gamma, most)
        epochs = min(3.0 * self.gamma, longest)
        checks = (epochs + 1) * self.query * _CLASSES * _FORWARD
        return steps, steps * (epochs * synthetic + checks)

    def new(self, iteration: int) -> nn.Module:
        """The random network of this iteration."""
        self._outer = Queue(self.gamma)
        self._now = {"epochs": 0, "epochs_capped": 0}
        return self._learner.new(iteration)

    def prepare(self, network: nn.Module, context: Context) -> None:
        """Freeze batch statistics; nothing else mixes the images of a class."""
        freeze_batch_norm(still(network), context, self.freeze_with)

    def advance(self, network: nn.Module, context: Context) -> nn.Module | None:
        """Leave the network when it has converged; train it until its accuracy moves otherwise."""
        self._outer.add(self._accuracy(network, context, 0))
        steps = context.step + 1
        if self._outer.full and self._outer.spread < self.lambda1:
            self._leave(steps, "converged")
            return None
        if steps >= self._caps[0]:
            self._leave(steps, "capped")
            return None
        self._train(network, context)
        return network

    def _train(self, network: nn.Module, context: Context) -> None:
        """The inner loop."""
        images, labels = context.synthetic()
        course = self._learner.course(context, network)
        inner = Queue(self.gamma)
        for epoch in range(self._caps[1]):
            course.epochs(
                images, labels, range(epoch, epoch + 1), (context.iteration, context.step)
            )
            self._now["epochs"] += 1
            inner.add(self._accuracy(network, context, epoch + 1))
            if inner.full and inner.spread > self.lambda2:
                return
        self._now["epochs_capped"] += 1

    def _accuracy(self, network: nn.Module, context: Context, check: int) -> float:
        number = check if self.redraw == "check" else None
        return self._learner.course(context, network).accuracy(context.query(self.query, number))

    def _leave(self, steps: int, why: str) -> None:
        self._left.append({"steps": steps, **self._now, "ended": why})
        self._learner.drop()

    @property
    def _protocol(self) -> Protocol:
        return protocol_of(self)

    def report(self) -> dict[str, Any]:
        """Every network left since the last report: its steps, epochs, and why it was left.

        ``epochs_capped`` counts the inner loops that the cap ended.
        """
        left, self._left = self._left, []
        return {"networks": left} if left else {}

    def state(self) -> dict[str, Any]:
        """The network in use, its momentum and the outer queue; the inner one is empty then."""
        return {
            "left": [dict(one) for one in self._left],
            "now": dict(self._now),
            "outer": self._outer.values(),
            **self._learner.state(),
        }

    def load_state(self, state: dict[str, Any]) -> nn.Module | None:
        """Restore :meth:`state`."""
        self._left = [dict(one) for one in state["left"]]
        self._now = dict(state["now"])
        self._outer = Queue(self.gamma, state["outer"])
        return self._learner.load_state(state)
