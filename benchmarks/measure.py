"""What the benchmarks of steps share: clocks, memory, the machine's speed, noise of a gradient."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from condensery.condensation.loop import Condenser
from condensery.condensation.matching.batches import RandomBatches
from condensery.data import Data, load
from condensery.nets.sizes import first_padding
from condensery.runtime.provenance import commit, machine, versions
from condensery.utils.files import write_json


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """A result with what it was measured on: commit, hardware, versions."""
    hardware = {k: v for k, v in machine().items() if k != "host"}
    write_json(path, {**facts, "commit": commit(), "machine": hardware, "versions": versions()})


def noise_data(classes: int, a_class: int = 256) -> Data:
    """Random images of CIFAR-10's shape: the time of a step does not depend on what they show."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), a_class)
    images = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
    few = np.arange(0, len(labels), a_class)
    return load((images, labels), test=(images[few], labels[few]))


def in_place(network: nn.Module) -> nn.Module:
    """A network whose ReLUs write over their input, as the field's programs have it: for twins."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    return network


def plan_step(condenser: Condenser, iteration: int) -> Tensor:
    """The same gradient as the condenser's plan computes it."""
    network = condenser.supply.new(iteration)
    stored = condenser.stored.detach()
    return condenser.matcher.gradient(network, stored, iteration, 0)[1]


def cpu_seconds(work: Any) -> float:
    """Process CPU-seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def peak_memory_mb(work: Any) -> float:
    """Largest resident memory during a call, above what was resident before it (Linux)."""
    status = Path("/proc/self/status")
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return float("nan")

    def field(name: str) -> float:
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))

    reset.write_text("5", encoding="utf-8")
    before = field("VmRSS")
    work()
    return field("VmHWM") - before


def peak_rate(dtype: torch.dtype) -> float:
    """Operations a CPU-second that this processor reaches: the best of a product and convolutions.

    Torch's matrix products may be slower than its convolutions, as those of float32 are on AMD's
    processors, by half. The convolution is ConvNet-3's second one, in both layouts of memory.
    """
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    rates = [2 * 2048**3 / _least_seconds(lambda: a @ b)]
    images, weights = torch.randn(256, 128, 16, 16).to(dtype), torch.randn(128, 128, 3, 3).to(dtype)
    work = 2 * 9 * weights.shape[0] * images.numel()
    for layout in (torch.contiguous_format, torch.channels_last):
        x, w = images.to(memory_format=layout), weights.to(memory_format=layout)
        with torch.no_grad():
            rates.append(work / _least_seconds(partial(torch.conv2d, x, w, padding=1)))
    return max(rates)


def _least_seconds(work: Callable[[], Any]) -> float:
    work()
    return min(cpu_seconds(work) for _ in range(5))


def forward_operations(shape: tuple[int, int, int]) -> int:
    """Convolution operations of ConvNet-3 on one image."""
    _, (side, _) = first_padding(shape)
    maps = [(shape[0], side), (128, side // 2), (128, side // 4)]
    return sum(2 * 128 * inputs * 9 * size * size for inputs, size in maps)


def relative(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖."""
    return float((found - expected).norm() / expected.norm())


def reference_gradients(reference: Condenser, rounds: int) -> list[tuple[Tensor, Tensor]]:
    """``exact``'s gradient, and the same network's with the real batch of another draw."""
    other = copy.copy(reference.matcher)
    reseeded = dataclasses.replace(other.task, seed=other.task.seed + 1)
    other.batches = RandomBatches(reseeded, reference.train, other.real_batch)
    stored = reference.stored.detach()
    return [
        (plan_step(reference, k), other.gradient(reference.supply.new(k), stored, k, 0)[1])
        for k in range(rounds)
    ]
