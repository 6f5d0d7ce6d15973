"""What an epoch of a pool's network takes."""

from __future__ import annotations

import itertools
import math
import statistics
from time import perf_counter

import torch

from condensery import nets
from condensery.data import Data
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.trainer import Course, Subset

from .networks import divide, pool_trainer
from .store import PoolSettings

#: Training steps that are measured, after one that also compiles; seconds after which no further
#: one is begun, and their share of the time that there is.
_STEPS, _PATIENCE, _SHARE = 5, 10.0, 1 / 8


def seconds_per_epoch(
    data: Data, settings: PoolSettings, plan: Plan, within: float = math.inf
) -> float:
    """What an epoch takes, from a few steps on full batches; compiling is not counted.

    Data of less than a batch are one step, which is measured as often.

    Args:
        data: what is trained on.
        settings: of the training.
        plan: of the training.
        within: seconds that there are for all of it. Where the first step takes as long, it is the
            only one.
    """
    device = torch.device(plan.device)
    train = data.train.to(device)
    rows = divide(train, settings.held_out, settings.seed)[0]
    part = Subset(train, rows, plan.torch_dtype)
    with fork_rng(settings.seed, "pool-network"):
        network = nets.build(settings.net, train.shape, settings.classes)
    trainer = pool_trainer(settings, plan, train)
    course = Course(trainer, network.to(device=device, dtype=plan.torch_dtype))
    with plan.applied(), fork_rng(0, "pool-timing", device=device):
        full = max(1, len(part) // settings.batch)
        return _a_step(course, part, full, device, within) * course.steps_of(part)


def _a_step(course: Course, part: Subset, full: int, device: torch.device, within: float) -> float:
    """Seconds of a step, from those on the ``full`` batches with which an epoch begins."""
    took: list[float] = []
    rng = stream(0, "pool-timing")
    for epoch in itertools.count():
        began = perf_counter()
        for step in course.steps(part, rng, epoch):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if step < full:
                took.append(perf_counter() - began)
            if took and took[0] > within:
                return took[0]
            if len(took) > _STEPS or sum(took[1:]) > min(_PATIENCE, within * _SHARE):
                return statistics.fmean(took[1:])
            began = perf_counter()
    raise AssertionError("epochs do not end")
