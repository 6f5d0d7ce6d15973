"""Calls that are timed, and the ground of the sections that time them."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from sections import SMALL, Sections, tiny_data, wait

from condensery.runtime.plan import Plan

from measure import noise_data

Call = Callable[[int], Any]


def paced(work: Call, device: str, seconds: float) -> dict[str, Any]:
    """Median times of a call, which gets the numbers 0, 1, 2, …

    Args:
        work: gives the device its work; its result is not read.
        device: that is waited for.
        seconds: about so long are calls measured; 0 takes as few as there can be.
    """
    number = itertools.count()
    gpu = device.startswith("cuda")
    wait(device)
    held = 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    began = time.perf_counter()
    work(next(number))
    wait(device)
    first = time.perf_counter() - began
    took = first
    rounds = 3 if seconds else 1
    for _ in range(rounds):
        began = time.perf_counter()
        work(next(number))
        wait(device)
        took = time.perf_counter() - began
        if took > seconds:
            break
    alone, host = [], []
    for _ in range(max(rounds - 1, 1, min(20, int(0.3 * seconds / took)))):
        began = time.perf_counter()
        work(next(number))
        host.append(time.perf_counter() - began)
        wait(device)
        alone.append(time.perf_counter() - began)
    count = max(1, min(100, int(0.2 * seconds / statistics.median(alone))))
    each = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            work(next(number))
        wait(device)
        each.append((time.perf_counter() - began) / count)
    peak = torch.cuda.max_memory_allocated() - held if gpu else 0
    return {
        "ms": 1e3 * statistics.median(each),
        "ms_range": [1e3 * min(each), 1e3 * max(each)],
        "host_ms": 1e3 * statistics.median(host),
        "alone_ms": 1e3 * statistics.median(alone),
        "first_ms": 1e3 * first,
        "calls": next(number),
        "peak_mb": peak / 2**20 if gpu else None,
    }


class Timed:
    """Sections over random images of CIFAR-10's shape.

    Args:
        device: torch device.
        small: whether this is a dry run with tiny numbers.
        sections: where results go.
        each: seconds that a call is measured for.
    """

    def __init__(self, device: str, small: bool, sections: Sections, each: float) -> None:
        self.device, self.small, self.sections = device, small, sections
        self.gpu = device.startswith("cuda")
        self.each = 0.0 if small else each
        self.named: list[str] = []
        """Plans that are measured alone; all when empty."""
        self.data = tiny_data() if small else noise_data(10, 512)
        self.more: dict[str, Any] = SMALL if small else {}
        self.net = SMALL["supply.net"] if small else "convnet3"

    def put(self, name: str, work: Call, need: float = 0.0) -> dict[str, Any] | None:
        """Measure a call as a piece of the section."""
        found: dict[str, Any] | None = self.sections.piece(
            name, lambda: paced(work, self.device, self.each), need
        )
        return found

    @contextlib.contextmanager
    def precision(self, kind: str, deterministic: bool = True) -> Iterator[None]:
        """Torch's switches for fp32, tf32 or bf16."""
        if not self.gpu:
            yield
            return
        torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
        try:
            with torch.backends.cudnn.flags(
                enabled=True,
                benchmark=False,
                deterministic=deterministic,
                allow_tf32=kind == "tf32",
            ):
                yield
        finally:
            torch.set_float32_matmul_precision("highest")


def changed(plan: Plan, changes: dict[str, Any]) -> Plan:
    """A plan with other fields."""
    return dataclasses.replace(plan, **changes)
