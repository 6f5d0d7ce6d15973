"""One DM step against a slow twin written straight from the paper.

    python benchmarks/dm_step.py --ipc 1 10 50 --out benchmarks/results/dm_step.json

The twin goes class by class, eager, float32, the whole real batch at once, and does no needless
work. Twin and plans take turns in one process with one thread and are measured in process
CPU-seconds, because wall times swing with whatever else runs. Beside the ratio stand the floor
(the operations of the convolutions at the machine's measured peak rate), the peak memory
and the error of the pixel gradient, next to the noise of drawing another real batch.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.draws import draw_step
from condensery.nets import embed
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, exact_plan

from measure import (
    cpu_seconds,
    in_place,
    noise_data,
    peak_memory_mb,
    peak_rate,
    plan_step,
    reference_gradients,
    relative,
    write_report,
)


def twin_step(condenser: Condenser, iteration: int) -> Tensor:
    """DM, algorithm 1: the gradient to the pixels, class by class."""
    config, train = condenser.config, condenser.train
    network = in_place(condenser.supply.new(iteration))
    draws = draw_step(
        train, condenser.augmentation, condenser.task, config.real_batch, iteration, 0
    )
    out = []
    for c, rows in enumerate(draws.rows):
        with torch.no_grad():
            images = condenser.augmentation.apply(train.normalised(rows), draws.augmentation[c])
            real = embed(network, images).mean(0)
        pixels = condenser.stored[c].detach().requires_grad_()
        made = embed(network, condenser.augmentation.apply(pixels, draws.augmentation[c])).mean(0)
        out.append(torch.autograd.grad((real - made).square().sum(), pixels)[0])
    return torch.stack(out)


def wall_seconds(condenser: Condenser, iteration: int) -> float:
    """Wall time of a step under the plan's own threads."""
    with condenser.plan.applied():
        began = time.perf_counter()
        plan_step(condenser, iteration)
        return time.perf_counter() - began


def operations(classes: int, ipc: int, real: int = 256) -> tuple[float, float]:
    """Convolution operations of the real and the synthetic branch (forward, and to the pixels)."""
    blocks = [(3, 32), (128, 16), (128, 8)]
    forward = sum(2 * 128 * inputs * 9 * side * side for inputs, side in blocks)
    return classes * real * forward, classes * ipc * forward * 2


def plans(threads: int = 1, eager: bool = False) -> dict[str, Plan]:
    """The plans that are compared."""
    single = Plan(chunk=32, threads=threads)
    half = dataclasses.replace(single, real_dtype="bfloat16")
    out = {"eager fp32": single, "eager bf16 real": half} if eager else {}
    for name, plan in (("compiled fp32", single), ("compiled bf16 real", half)):
        out[name] = dataclasses.replace(plan, compile=True, channels_last=True)
    return out


def measure(ipc: int, classes: int, rounds: int, eager: bool, compared: int) -> dict[str, Any]:
    """Twin and plans in turn; errors over ``compared`` networks."""
    # Twice the batch, so that another real batch is another one.
    data = noise_data(classes, 512)
    config = configure(data, "dm", {"ipc": ipc})
    twin = Condenser(data, config, exact_plan("cpu", 1))
    runs = {name: Condenser(data, config, p) for name, p in plans(eager=eager).items()}
    for condenser in runs.values():
        plan_step(condenser, 0)  # compiles
    times: dict[str, list[float]] = {name: [] for name in ("twin", *runs)}
    memory: dict[str, float] = {}

    def timed(name: str, work: Any) -> None:
        memory[name] = peak_memory_mb(lambda: times[name].append(cpu_seconds(work)))

    for k in range(1, rounds + 1):
        timed("twin", lambda k=k: twin_step(twin, k))
        for name, condenser in runs.items():
            timed(name, lambda c=condenser, k=k: plan_step(c, k))
    real, made = operations(classes, ipc)
    single, half = peak_rate(torch.float32), peak_rate(torch.bfloat16)
    row: dict[str, Any] = {
        "ipc": ipc,
        "classes": classes,
        "rounds": rounds,
        "twin_cpu_s": statistics.median(times["twin"]),
        "twin_memory_mb": memory["twin"],
        "floor_fp32_s": (real + made) / single,
        "floor_bf16_real_s": real / half + made / single,
        "plans": {},
    }
    expected = reference_gradients(Condenser(data, config, exact_plan("cpu", 1)), compared)
    if expected:
        row["another_real_batch"] = statistics.mean(relative(m, e) for e, m in expected)
    for name, condenser in runs.items():
        ratios = [t / p for t, p in zip(times["twin"], times[name], strict=True)]
        row["plans"][name] = {
            "cpu_s": statistics.median(times[name]),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "memory_mb": memory[name],
        }
        if expected:
            row["plans"][name]["gradient_error"] = statistics.mean(
                relative(plan_step(condenser, k), e) for k, (e, _) in enumerate(expected)
            )
    return row


def measure_wall(ipc: int, classes: int, rounds: int) -> dict[str, Any]:
    """The fastest plan with one thread and with two, in turn, in wall time."""
    data = noise_data(classes, 512)
    config = configure(data, "dm", {"ipc": ipc})
    fastest = list(plans(1))[-1]
    runs = [Condenser(data, config, plans(threads)[fastest]) for threads in (1, 2)]
    for condenser in runs:
        wall_seconds(condenser, 0)  # compiles
    times = [[wall_seconds(c, k) for c in runs] for k in range(1, rounds + 1)]
    speedups = [one / two for one, two in times]
    return {
        "ipc": ipc,
        "classes": classes,
        "rounds": rounds,
        "plan": fastest,
        "one_thread_wall_s": statistics.median(one for one, _ in times),
        "two_threads_wall_s": statistics.median(two for _, two in times),
        "speedup": statistics.median(speedups),
        "speedup_min": min(speedups),
        "speedup_max": max(speedups),
    }


def report(row: dict[str, Any]) -> None:
    """A row for people."""
    print(
        f"IPC {row['ipc']}, {row['classes']} classes: twin {row['twin_cpu_s']:.2f} CPU-s, "
        f"{row['twin_memory_mb']:.0f} MB; floor {row['floor_fp32_s']:.2f} s fp32, "
        f"{row['floor_bf16_real_s']:.2f} s with the real branch in bf16; "
        f"another real batch changes the gradient by {row.get('another_real_batch', 0):.2f}"
    )
    for name, plan in row["plans"].items():
        print(
            f"  {name:<20} {plan['cpu_s']:.2f} CPU-s  {plan['ratio']:.2f}× "
            f"({plan['ratio_min']:.2f}–{plan['ratio_max']:.2f})  {plan['memory_mb']:.0f} MB  "
            f"gradient error {plan.get('gradient_error', float('nan')):.1e}",
            flush=True,
        )


def main() -> None:
    """Measure and print; write JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--classes", type=int, nargs="+", default=[10])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--eager", action="store_true", help="measure the eager plans, too")
    parser.add_argument("--wall", type=int, nargs="*", default=[10], help="IPC of the wall times")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as the command does; the twin gains most
    rows = []
    for classes in options.classes:
        for ipc in options.ipc:
            many = classes > 10
            row = measure(
                ipc, classes, 1 if many else options.rounds, options.eager, 0 if many else 3
            )
            rows.append(row)
            report(row)
    wall = [measure_wall(ipc, min(options.classes), options.rounds) for ipc in options.wall]
    for row in wall:
        print(f"IPC {row['ipc']}: two threads {row['speedup']:.2f}× one, wall ({row['plan']})")
    if options.out:
        facts = {
            "benchmark": "dm_step",
            "protocol": "process CPU-seconds, one thread, interleaved, median of rounds",
            "keep_memory": True,
            "seed": 0,
            "rows": rows,
            "wall": wall,
        }
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
