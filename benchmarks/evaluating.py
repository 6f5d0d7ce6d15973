"""Training and testing networks on small sets, against plain eager float32, one after another.

    python benchmarks/evaluating.py --ipc 1 10 50 --out benchmarks/results/evaluating.json

The twin is the loop that the field writes: an eager ConvNet-3, one optimiser step a mini-batch of
256, class labels, DSA's augmentation by the same functions. Twin and plans take turns in one
process with one thread and are measured in process CPU-seconds: epochs on the set, and the pass
over the test split. Then whole evaluations are timed by the clock, in one process and in two. The
floor is the convolutions' operations at the machine's measured peak rate.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condensery import select_random
from condensery.augment import augment_batch, parse_strategy
from condensery.data import Data, load
from condensery.evaluation.evaluator import Evaluator, measure_all
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.nets import build
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import stream
from condensery.training.trainer import Course, Split, Tensors

from measure import (
    cpu_seconds,
    forward_operations,
    in_place,
    peak_memory_mb,
    peak_rate,
    write_report,
)

Epochs = Callable[[int], None]


def twin(images: Tensor, labels: Tensor, classes: int) -> tuple[nn.Module, Epochs]:
    """A plain network and the loop that trains it for some epochs."""
    shape = images.shape[1], images.shape[2], images.shape[3]
    network = in_place(build("convnet3", shape, classes))
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    strategy = parse_strategy("color_crop_cutout_flip_scale_rotate")

    def epochs(count: int) -> None:
        network.train()
        for epoch in range(count):
            rng = stream(0, "twin", 0, epoch)
            for rows in torch.from_numpy(rng.permutation(len(images))).split(256):
                batch = augment_batch(images[rows], rng, strategy)
                sgd.zero_grad()
                cross_entropy(network(batch), labels[rows]).backward()
                sgd.step()

    return network, epochs


@torch.no_grad()
def twin_test(network: nn.Module, data: Data) -> float:
    """The pass over the test split, in batches of 256."""
    network.eval()
    test, right = data.test, 0
    for rows in torch.arange(len(test)).split(256):
        right += int((network(test.normalised(rows)).argmax(1) == test.labels[rows]).sum())
    return right / len(test)


def plans() -> dict[str, Plan]:
    """What is measured beside the twin."""
    compiled: dict[str, Any] = {"chunk": 32, "compile": True, "channels_last": True}
    return {
        "compiled float32": Plan(name="compiled", **compiled),
        "compiled bfloat16": Plan(name="compiled bf16", update_dtype="bfloat16", **compiled),
    }


def contestants(data: Data, ipc: int) -> dict[str, tuple[Epochs, Callable[[], float]]]:
    """Each as a call that trains for some epochs, and one that tests."""
    chosen = select_random(data, ipc=ipc)
    network, epochs = twin(chosen.images, chosen.labels, data.train.classes)
    out = {"twin": (epochs, lambda: twin_test(network, data))}
    for name, plan in plans().items():
        row = Row.named("set", chosen, data)
        evaluator = Evaluator(
            cell_of(row, data, "convnet3", "dsa", EvaluationSettings(1, plan=plan))
        )
        course = Course(evaluator.trainer, build("convnet3", evaluator.shape, evaluator.classes))
        source = Tensors(chosen.images, chosen.labels)

        def train(count: int, course: Course = course, source: Tensors = source) -> None:
            for epoch in range(count):
                course.epoch(source, stream(0, "training", 0, epoch), 0)

        def test(course: Course = course, split: Split = evaluator.test) -> float:
            return course.accuracy(split)

        out[name] = (train, test)
    return out


def measure(data: Data, ipc: int, rounds: int, each: int) -> dict[str, Any]:
    """CPU-seconds of an epoch and of a test pass, in turn."""
    found = contestants(data, ipc)
    for train, test in found.values():
        train(2)
        test()
    times: dict[str, list[float]] = {name: [] for name in found}
    tests: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, (train, test) in found.items():
            times[name].append(cpu_seconds(lambda t=train: t(each)) / each)
            tests[name].append(cpu_seconds(test))
    count = ipc * data.train.classes
    one = forward_operations(data.train.shape)
    first, second = peak_rate(torch.float32), peak_rate(torch.bfloat16)
    middle = {name: statistics.median(values) for name, values in times.items()}
    tested = {name: statistics.median(values) for name, values in tests.items()}
    return {
        "images": count,
        "rounds": rounds,
        "floor_epoch_s": {"float32": 3 * one * count / first, "bfloat16": 3 * one * count / second},
        "rows": {
            name: {
                "epoch_s": middle[name],
                "networks_epochs_per_cpu_second": 1 / middle[name],
                "epoch_ratio": middle["twin"] / middle[name],
                "epoch_ratios": [a / b for a, b in zip(times["twin"], times[name], strict=True)],
                "test_s": tested[name],
                "test_ratio": tested["twin"] / tested[name],
            }
            for name in found
        },
    }


def print_memory(name: str, data: Data, ipc: int) -> None:
    """What :func:`memory_of` reads: peaks of an epoch and of a test pass, beyond what is there."""
    train, test = contestants(data, ipc)[name]
    train(1)
    test()
    for work in (lambda: train(1), test):
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        print(peak_memory_mb(work))


def memory_of(name: str, spec: str, ipc: int) -> dict[str, float]:
    """Megabytes of an epoch and of a test pass, in a process of their own."""
    words = ["--memory-of", name, "--data", spec, "--ipc", str(ipc)]
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    epoch, test = (float(line) for line in done.stdout.split()[-2:])
    return {"epoch_mb": epoch, "test_mb": test}


def by_the_clock(data: Data, ipc: int, networks: int, epochs: int) -> dict[str, Any]:
    """Seconds of whole evaluations: eager, compiled, and compiled in two processes."""
    row = Row.named("set", select_random(data, ipc=ipc), data)
    compiled, half = plans().values()
    wanted = {
        "eager, one process of one thread": exact_plan("cpu", 1),
        "compiled, one process of one thread": compiled,
        "compiled, two processes of one thread": dataclasses.replace(compiled, processes=2),
        "compiled bf16, two processes of one thread": dataclasses.replace(half, processes=2),
    }
    out: dict[str, Any] = {"images": ipc * data.train.classes, "networks": networks}
    for name, plan in wanted.items():
        cell = cell_of(
            row, data, "convnet3", "dsa", EvaluationSettings(networks, epochs=epochs, plan=plan)
        )
        list(measure_all(cell, [(0, k) for k in range(plan.processes)]))  # fills compiler's caches
        began = time.perf_counter()
        accuracies = [m.accuracy for _, m in measure_all(cell, [(0, k) for k in range(networks)])]
        spent = time.perf_counter() - began
        out[name] = {"seconds": spent, "accuracies": accuracies, "epochs": epochs}
        print(f"  {name}: {spent:.1f} s for {networks} networks of {epochs} epochs", flush=True)
    return out


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--rounds", type=int, default=5, help="0: nothing but by the clock")
    parser.add_argument("--cpu-seconds", type=float, default=3.0, help="of the twin, a round")
    parser.add_argument("--networks", type=int, default=8, help="by the clock; 0 for none")
    parser.add_argument("--epochs", type=int, nargs="*", default=[200], help="by the clock, by IPC")
    parser.add_argument("--memory", action="store_true", help="measure memory as well")
    parser.add_argument("--memory-of", help="print the peak memory of the twin, or of this plan")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load(options.data)
    if options.memory_of:
        print_memory(options.memory_of, data, options.ipc[0])
        return
    keep_memory()
    rows = []
    for ipc in options.ipc if options.rounds else []:
        each = max(1, round(options.cpu_seconds / (0.004 * ipc * data.train.classes)))
        rows.append(measure(data, ipc, options.rounds, each))
        for name, one in rows[-1]["rows"].items():
            print(
                f"{rows[-1]['images']} images, {name}: {one['epoch_s'] * 1000:.1f} ms an epoch, "
                f"{one['epoch_ratio']:.2f}×; test {one['test_s']:.1f} s, {one['test_ratio']:.2f}×",
                flush=True,
            )
    few = options.networks
    pairs = zip(options.ipc, options.epochs, strict=False) if few else ()
    clock = [by_the_clock(data, ipc, few, epochs) for ipc, epochs in pairs]
    memory = []
    for ipc in options.ipc if options.memory else []:
        ways = {name: memory_of(name, options.data, ipc) for name in ["twin", *plans()]}
        memory.append({"images": ipc * data.train.classes, **ways})
        print(memory[-1], flush=True)
    if options.out:
        content = {
            "benchmark": "evaluating",
            "protocol": "rows: process CPU-seconds, one thread, interleaved, median of rounds; "
            "clock: wall seconds of whole evaluations; memory: peaks beyond what is there "
            "before, in a process of their own",
            "seed": 0,
            "data": data.name,
            "rows": rows,
            "clock": clock,
            "memory": memory,
        }
        write_report(options.out, content)


if __name__ == "__main__":
    main()
