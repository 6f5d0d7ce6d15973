"""Networks trained in one call against one after another, on the device that is there.

    python benchmarks/together.py --ipc 1 10 --networks 20 --out benchmarks/results/together.json

Epochs of ConvNet-3 on random images under DSA's augmentation, the same draws in both ways, taking
turns: process CPU-seconds on a CPU, seconds by the clock with the device waited for on a GPU.
Beside them the twin of the field: eager float32, one network after another. What a way keeps in
memory is the device's peak (GPUs only).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from condensery import select_random
from condensery.data import Data, load
from condensery.evaluation.evaluator import Evaluator
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, choose_plan, exact_plan
from condensery.training.stacked import StackedNetworks

from measure import noise_data, write_report

Way = Callable[[int], None]


def ways(data: Data, ipc: int, networks: int, device: str) -> dict[str, Way]:
    """Each as a call that trains all networks for some epochs."""
    row = Row.named("set", select_random(data, ipc=ipc), data)
    auto = choose_plan("auto", shape=data.train.shape, images=1e9, device=device, threads=1)
    fast = dataclasses.replace(auto, update_dtype="float32", real_dtype="float32", tf32=False)

    def evaluator_of(plan: Plan) -> Evaluator:
        return Evaluator(cell_of(row, data, "convnet3", "dsa", EvaluationSettings(1, plan=plan)))

    def alone(plan: Plan) -> Way:
        evaluator = evaluator_of(plan)
        return lambda epochs: one_by_one(evaluator, networks, epochs)

    def together(plan: Plan) -> Way:
        evaluator = evaluator_of(plan)
        return lambda epochs: at_once(evaluator, networks, epochs)

    return {
        "eager, one after another": alone(exact_plan(device, 1)),
        f"{'compiled' if fast.compile else 'eager'}, one after another": alone(fast),
        f"{'compiled' if fast.compile else 'eager'}, together": together(fast),
    }


def shortened(evaluator: Evaluator, epochs: int) -> Any:
    """The evaluator's trainer with a protocol of this many epochs."""
    evaluator.trainer.protocol = evaluator.cell.training.changed(epochs=epochs)
    return evaluator.trainer


def one_by_one(evaluator: Evaluator, networks: int, epochs: int) -> None:
    """Train networks one after another."""
    trainer = shortened(evaluator, epochs)
    with evaluator.cell.plan.applied():
        for number in range(networks):
            trainer.train(evaluator._new(0, number), evaluator._source(0), number)


def at_once(evaluator: Evaluator, networks: int, epochs: int) -> None:
    """Train networks in one call."""
    trainer = shortened(evaluator, epochs)
    with evaluator.cell.plan.applied():
        built = [evaluator._new(0, number) for number in range(networks)]
        StackedNetworks(trainer, built).train(evaluator._source(0), range(networks))


def seconds_of(work: Callable[[], None], device: str) -> float:
    """CPU-seconds on a CPU, seconds by the clock on a GPU."""
    if device == "cpu":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(data: Data, ipc: int, networks: int, device: str, rounds: int) -> dict[str, Any]:
    """Seconds of an epoch of a network, in turn, beginnings left out."""
    found = ways(data, ipc, networks, device)
    few, many = (2, 12) if device == "cpu" else (10, 110)
    times: dict[str, list[float]] = {name: [] for name in found}
    peaks: dict[str, int] = {}
    for way in found.values():
        way(1)  # compiles
    for _ in range(rounds):
        for name, way in found.items():
            short = seconds_of(lambda way=way: way(few), device)  # type: ignore[misc]
            long = seconds_of(lambda way=way: way(many), device)  # type: ignore[misc]
            times[name].append((long - short) / (many - few) / networks)
            peaks[name] = 0 if device == "cpu" else torch.cuda.max_memory_allocated()
    middle = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(middle.values()))
    return {
        "images": ipc * data.train.classes,
        "networks": networks,
        "rounds": rounds,
        "ways": {
            name: {
                "network_epoch_s": middle[name],
                "ratio": first / middle[name],
                "times": times[name],
                "peak_device_mb": peaks[name] / 2**20,
            }
            for name in found
        },
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="random images of CIFAR-10's shape by default")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    data = load(options.data) if options.data else noise_data(10)
    rows = []
    for ipc in options.ipc:
        rows.append(measure(data, ipc, options.networks, options.device, options.rounds))
        for name, one in rows[-1]["ways"].items():
            print(
                f"{rows[-1]['images']} images, {options.networks} networks, {name}: "
                f"{one['network_epoch_s'] * 1000:.2f} ms a network's epoch, {one['ratio']:.2f}×",
                flush=True,
            )
    if options.out:
        facts = {
            "benchmark": "together",
            "protocol": "an epoch of one of the networks, interleaved, median of rounds; "
            + ("process CPU-seconds" if options.device == "cpu" else "seconds by the clock"),
            "device": options.device,
            "seed": 0,
            "rows": rows,
        }
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
