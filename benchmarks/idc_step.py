"""An inner iteration of IDC, all classes' pixels and the network's update, against a slow twin.

    python benchmarks/idc_step.py --ipc 1 10 50 --data cifar10 \
        --out benchmarks/results/idc_step.json

The twin is written straight from the paper: class by class, eager, float32, the real batch without
a second derivative, and the network's steps on real images one after another. Twin and plans take
turns in one process with one thread and are measured in process CPU-seconds. The floor is the
convolutions' operations at the machine's measured peak rate.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from condensery.augment import augment_sequence, cutmix, parse_strategy
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.draws import draw_step
from condensery.data import load
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import stream

from measure import (
    cpu_seconds,
    forward_operations,
    in_place,
    peak_memory_mb,
    peak_rate,
    reference_gradients,
    relative,
    write_report,
)


def decoded(stored: Tensor, run: Condenser) -> Tensor:
    """The quarters of each stored image at full size, by torch's own upsampling."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (run.train.mean, run.train.std))
    half = stored.shape[-1] // 2
    cells = [stored[..., a : a + half, b : b + half] for a in (0, half) for b in (0, half)]
    made = [interpolate(cell, stored.shape[-2:], mode="bilinear") for cell in cells]
    return (torch.stack(made, 1).flatten(0, 1) - mean) / std


def twin_match(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """The slope of the distances between the convolutions' gradients, class by class."""
    train, augmentation = run.train, run.augmentation
    draws = draw_step(train, augmentation, run.task, run.config.real_batch, k, 0)
    whole = run.formation.decoded(run.stored.shape[1])
    taken = min(whole, run.config.synthetic_batch or whole)
    rows = draws.with_synthetic(run.task, whole, taken, k, 0).synthetic if taken < whole else None
    in_place(network).requires_grad_(True)
    weights = [p for p in network.parameters() if p.dim() == 4]
    out = []
    for c, members in enumerate(draws.rows):
        images = augmentation.apply(train.normalised(members), draws.augmentation[c])
        loss = cross_entropy(network(images), train.labels[members])
        real = torch.autograd.grad(loss, weights)
        leaf = run.stored[c].detach().requires_grad_()
        made = decoded(leaf, run)
        made = made if rows is None else made[rows[c]]
        made = augmentation.apply(made, draws.augmentation[c])
        loss = cross_entropy(network(made), torch.full((len(made),), c))
        found = torch.autograd.grad(loss, weights, create_graph=True)
        total = torch.stack([(a - b).square().sum() for a, b in zip(real, found, strict=True)])
        out.append(torch.autograd.grad(total.sum(), leaf)[0])
    network.requires_grad_(False)
    return torch.stack(out)


def twin_update(run: Condenser, network: nn.Module, k: int) -> None:
    """The network's steps on real images."""
    settings, train = run.config.supply.settings, run.train
    in_place(network).train().requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    rng = stream(0, "update-real", k, 0)
    picked = torch.from_numpy(rng.choice(len(train), settings["images"], replace=False))
    strategy = parse_strategy(settings["strategy"])
    for rows in picked.split(settings["batch"]):
        images = augment_sequence(train.normalised(rows), rng, strategy)
        images, one, other, share = cutmix(images, train.labels[rows], rng, p=settings["cutmix"])
        logits = network(images)
        loss = share * cross_entropy(logits, one) + (1 - share) * cross_entropy(logits, other)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    network.requires_grad_(False)


def plans() -> dict[str, Plan]:
    """What is measured beside the twin."""
    compiled: dict[str, Any] = {"chunk": 32, "compile": True, "channels_last": True}
    half: dict[str, Any] = {"real_dtype": "bfloat16", "update_dtype": "bfloat16"}
    return {
        "compiled float32": Plan(name="compiled", memory_gb=4.0, **compiled),
        "compiled bfloat16": Plan(name="compiled bf16", memory_gb=4.0, **compiled, **half),
    }


Part = Callable[[Condenser, nn.Module, int], Any]


def parts_of(name: str) -> dict[str, Part]:
    """Matching and the network's update, as the twin or a plan does them."""
    if name == "twin":
        return {"match": twin_match, "update": twin_update}

    def match(run: Condenser, network: nn.Module, k: int) -> Tensor:
        found: Tensor = run.matcher.gradient(network, run.stored.detach(), k, 0)[1]
        return found

    def update(run: Condenser, network: nn.Module, k: int) -> None:
        course = run.supply._learner.course(run.context(), network)  # type: ignore[attr-defined]
        course.some(run.context().real, run.config.supply.settings["images"], (k, 0))

    return {"match": match, "update": update}


def condenser(name: str, spec: str, ipc: int) -> Condenser:
    """A run under a plan; the twin uses its data and draws alone."""
    data = load(spec)
    config = configure(data, "idc", {"ipc": ipc})
    return Condenser(data, config, {"twin": exact_plan("cpu", 1), **plans()}[name])


def print_memory(name: str, spec: str, ipc: int) -> None:
    """Peak memory of a matching step and an update, beyond what is there before them."""
    run, parts = condenser(name, spec, ipc), parts_of(name)
    for part in parts.values():
        part(run, run.supply.new(0), 0)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    network = run.supply.new(1)
    print(peak_memory_mb(lambda: [part(run, network, 1) for part in parts.values()]))


def memory_of(name: str, spec: str, ipc: int) -> float:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", name, "--ipc", str(ipc), "--data", spec],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def measure(spec: str, ipc: int, rounds: int) -> dict[str, Any]:
    """Twin and plans in turn."""
    runs = {name: condenser(name, spec, ipc) for name in ("twin", *plans())}
    for name, run in runs.items():  # compile, and touch the memory
        network = run.supply.new(0)
        for part in parts_of(name).values():
            part(run, network, 0)
    times: dict[str, dict[str, list[float]]] = {n: {"match": [], "update": []} for n in runs}
    for k in range(1, rounds + 1):
        for name, run in runs.items():
            network = run.supply.new(k)
            for what, part in parts_of(name).items():
                spent = cpu_seconds(lambda p=part, r=run, n=network, k=k: p(r, n, k))
                times[name][what].append(spent)
    found = {n: {w: statistics.median(v) for w, v in t.items()} for n, t in times.items()}
    twin = runs["twin"]
    one = forward_operations(twin.train.shape)
    taken = min(twin.formation.decoded(ipc), twin.config.synthetic_batch or 10**9)
    classes, settings = twin.train.classes, twin.config.supply.settings
    learned = 3 * one * (classes * twin.config.real_batch + settings["images"])
    made = 7 * one * classes * taken  # about: twice back through forward and backward
    single, half = peak_rate(torch.float32), peak_rate(torch.bfloat16)
    return {
        "ipc": ipc,
        "data": twin.train.name,
        "rounds": rounds,
        "taken_a_class": taken,
        "float32_gflops": single / 1e9,
        "bfloat16_gflops": half / 1e9,
        "floor_float32_s": (learned + made) / single,
        "floor_bfloat16_s": learned / half + made / single,
        "rows": {
            n: {
                **{f"{w}_s": v for w, v in t.items()},
                "iteration_s": sum(t.values()),
                "match_ratio": found["twin"]["match"] / t["match"],
                "update_ratio": found["twin"]["update"] / t["update"],
                "iteration_ratio": sum(found["twin"].values()) / sum(t.values()),
                "memory_mb": memory_of(n, spec, ipc),
            }
            for n, t in found.items()
        },
    }


def errors(spec: str, ipc: int, networks: int) -> dict[str, Any]:
    """Each plan's pixel gradient against exact's, and that of another real batch."""
    exact = condenser("twin", spec, ipc)
    pairs = reference_gradients(exact, networks)
    twin = [twin_match(exact, exact.supply.new(k), k) for k in range(networks)]
    out: dict[str, Any] = {
        "ipc": ipc,
        "networks": networks,
        "another_real_batch": statistics.mean(relative(other, mine) for mine, other in pairs),
        "twin": statistics.mean(
            relative(t, mine) for t, (mine, _) in zip(twin, pairs, strict=True)
        ),
    }
    for name in plans():
        run = condenser(name, spec, ipc)
        match = parts_of(name)["match"]
        found = [match(run, run.supply.new(k), k) for k in range(networks)]
        out[name] = statistics.mean(relative(f, e) for f, (e, _) in zip(found, pairs, strict=True))
    return out


def report(row: dict[str, Any]) -> None:
    """A row for people."""
    print(
        f"IPC {row['ipc']}, {row['taken_a_class']} images per class: floor "
        f"{row['floor_bfloat16_s']:.2f} s bfloat16, {row['floor_float32_s']:.2f} s float32"
    )
    for name, one in row["rows"].items():
        print(
            f"  {name:<20} match {one['match_s']:.2f} s {one['match_ratio']:.2f}×, update "
            f"{one['update_s']:.2f} s {one['update_ratio']:.2f}×, iteration "
            f"{one['iteration_s']:.1f} s {one['iteration_ratio']:.2f}×, {one['memory_mb']:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Measure and print; write JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--data", default="cifar10", help="real data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=2, help="of the errors")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", help="print the peak memory of this plan, or of the twin")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print_memory(options.memory_of, options.data, options.ipc[0])
        return
    keep_memory()
    rows, noise = [], []
    for ipc in options.ipc:
        rows.append(measure(options.data, ipc, options.rounds))
        report(rows[-1])
        noise.append(errors(options.data, ipc, options.networks))
        print(noise[-1], flush=True)
    if options.out:
        facts = {
            "benchmark": "idc_step",
            "protocol": "process CPU-seconds, one thread, interleaved, median of rounds; glibc "
            "keeps memory for all; peak memory of a matching step and an update in a process of "
            "its own, beyond what is there before them",
            "seed": 0,
            "rows": rows,
            "errors": noise,
        }
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
