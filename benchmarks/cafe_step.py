"""A CAFE step with its watchers against a slow twin that does no needless work.

    python benchmarks/cafe_step.py --ipc 1 10 50 --data cifar10 \
        --out benchmarks/results/cafe_step.json

A step is the matching of features, the outer check of accuracy, and as many inner epochs with a
check each as the queue is long (the fewest that can end an inner loop). The twin is written
straight from the paper: eager, float32, class by class, the real branch and the watchers without
graph. Twin and plans take turns in one process with one thread and are measured in process
CPU-seconds; the whole is put together from the parts. The floor is the convolutions' operations at
the machine's measured peak rate.
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
from torch.nn.functional import avg_pool2d, cross_entropy, group_norm

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.draws import draw_step
from condensery.data import load
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, exact_plan

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


def layers_of(network: Any, images: Tensor) -> list[Tensor]:
    """CAFE's five maps of a ConvNet, by plain functions."""
    out = []
    for block in network.blocks:
        conv, norm = block.conv, block.norm
        images = torch.conv2d(images, conv.weight, conv.bias, padding=conv.padding)
        images = group_norm(images, norm.num_groups, norm.weight, norm.bias).relu()
        out.append(images)
        images = avg_pool2d(images, 2)
    return [*out, images, images.flatten(1)]


def twin_match(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """Equations 1 to 4 and their gradient to the pixels."""
    train, settings = run.train, run.config.objective.settings
    draws = draw_step(train, run.augmentation, run.task, run.config.real_batch, k, 0)
    means, rows, labels = [], [], []
    in_place(network)
    with torch.no_grad():
        for c, members in enumerate(draws.rows):
            layers = layers_of(network, train.normalised(members))
            means.append([layer.mean(0) for layer in layers])
            rows.append(layers[-1])
            labels.append(torch.full((len(members),), c))
    leaf = run.stored.detach().requires_grad_()
    loss, centers = torch.zeros(()), []
    for c, real in enumerate(means):
        made = [layer.mean(0) for layer in layers_of(network, leaf[c])]
        for weight, a, b in zip(settings["weights"], real, made, strict=True):
            loss = loss + weight * (a - b).square().sum()
        centers.append(made[-1])
    logits = torch.cat(rows) @ torch.stack(centers).T
    loss = loss + settings["discrimination"] * cross_entropy(
        logits, torch.cat(labels), reduction=settings["reduction"]
    )
    slope: Tensor = torch.autograd.grad(loss, leaf)[0]
    return slope


def twin_check(run: Condenser, network: nn.Module, number: int) -> float:
    """The accuracy on 128 images per class, 256 at a time."""
    images, labels = run.context().query(run.config.supply.settings["query"], number).all()
    in_place(network)
    with torch.no_grad():
        pairs = zip(images.split(256), labels.split(256), strict=True)
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in pairs)
    return right / len(images)


def twin_epoch(run: Condenser, network: nn.Module) -> None:
    """One epoch on the synthetic set."""
    in_place(network).train().requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), lr=run.config.supply.settings["rate"])
    images, labels = run.context().synthetic()
    order = torch.randperm(len(images))
    for rows in order.split(run.config.supply.settings["batch"]):
        sgd.zero_grad()
        cross_entropy(network(images[rows]), labels[rows]).backward()
        sgd.step()
    network.requires_grad_(False)


def plans() -> dict[str, Plan]:
    """What is measured beside the twin."""
    compiled: dict[str, Any] = {
        "chunk": 32,
        "compile": True,
        "channels_last": True,
        "memory_gb": 4.0,
    }
    half: dict[str, Any] = {"real_dtype": "bfloat16", "update_dtype": "bfloat16"}
    return {
        "compiled float32": Plan(name="compiled", **compiled),
        "compiled bfloat16": Plan(name="compiled bf16", **compiled, **half),
    }


Part = Callable[[Condenser, nn.Module, int], Any]


def parts_of(name: str) -> dict[str, Part]:
    """Matching, a check and an epoch, as the twin or a plan does them."""
    if name == "twin":
        return {
            "match": twin_match,
            "check": twin_check,
            "epoch": lambda run, net, k: twin_epoch(run, net),
        }

    def course(run: Condenser, network: nn.Module) -> Any:
        return run.supply._learner.course(run.context(), network)  # type: ignore[attr-defined]

    def check(run: Condenser, network: nn.Module, k: int) -> float:
        query = run.context().query(run.config.supply.settings["query"], k)
        return float(course(run, network).accuracy(query))

    def epoch(run: Condenser, network: nn.Module, k: int) -> None:
        course(run, network).epochs(*run.context().synthetic(), range(k, k + 1), (0, 0))

    def match(run: Condenser, network: nn.Module, k: int) -> Tensor:
        found: Tensor = run.matcher.gradient(network, run.stored.detach(), k, 0)[1]
        return found

    return {"match": match, "check": check, "epoch": epoch}


def condenser(name: str, spec: str, ipc: int) -> Condenser:
    """A run under a plan; the twin uses its data and draws alone."""
    data = load(spec)
    config = configure(data, "cafe", {"ipc": ipc})
    return Condenser(data, config, {"twin": exact_plan("cpu", 1), **plans()}[name])


def print_memory(name: str, spec: str, ipc: int) -> None:
    """Peak memory of a matching step, a check and an epoch, beyond what is there before them."""
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
    twin = runs["twin"]
    for name, run in runs.items():  # compile, and touch the memory
        network = run.supply.new(0)
        for part in parts_of(name).values():
            part(run, network, 0)
    times: dict[str, dict[str, list[float]]] = {
        name: {"match": [], "check": [], "epoch": []} for name in runs
    }
    for k in range(1, rounds + 1):
        for name, run in runs.items():
            network = run.supply.new(k)
            for what, part in parts_of(name).items():
                spent = cpu_seconds(lambda p=part, r=run, n=network, k=k: p(r, n, k))
                times[name][what].append(spent)
    settings = twin.config.supply.settings
    epochs = settings["gamma"]
    found = {n: {w: statistics.median(v) for w, v in t.items()} for n, t in times.items()}
    whole = {
        n: t["match"] + t["check"] + epochs * (t["epoch"] + t["check"]) for n, t in found.items()
    }
    one = forward_operations(twin.train.shape)
    classes = twin.train.classes
    made = 3 * classes * ipc * one  # forward, and back to weights or pixels and activations
    real = classes * twin.config.real_batch * one
    checks = (epochs + 1) * classes * settings["query"] * one
    single, half = peak_rate(torch.float32), peak_rate(torch.bfloat16)
    return {
        "ipc": ipc,
        "data": twin.train.name,
        "rounds": rounds,
        "inner_epochs": epochs,
        "float32_gflops": single / 1e9,
        "bfloat16_gflops": half / 1e9,
        "floor_match_bfloat16_s": (real + made) / half,
        "floor_bfloat16_s": (real + checks + made * (1 + epochs)) / half,
        "floor_float32_s": (real + checks + made * (1 + epochs)) / single,
        "rows": {
            n: {
                **{f"{w}_s": v for w, v in found[n].items()},
                "step_s": whole[n],
                "match_ratio": found["twin"]["match"] / found[n]["match"],
                "check_ratio": found["twin"]["check"] / found[n]["check"],
                "step_ratio": whole["twin"] / whole[n],
                "memory_mb": memory_of(n, spec, ipc),
            }
            for n in runs
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
        f"IPC {row['ipc']}: floor {row['floor_bfloat16_s']:.2f} s bfloat16, "
        f"{row['floor_float32_s']:.2f} s float32 (matching alone "
        f"{row['floor_match_bfloat16_s']:.2f} s bfloat16)"
    )
    for name, one in row["rows"].items():
        print(
            f"  {name:<20} match {one['match_s']:.2f} s {one['match_ratio']:.2f}×, check "
            f"{one['check_s']:.2f} s {one['check_ratio']:.2f}×, epoch {one['epoch_s']:.3f} s, "
            f"step {one['step_s']:.1f} s {one['step_ratio']:.2f}×, {one['memory_mb']:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Measure and print; write JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--data", default="cifar10", help="real data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=3, help="of the errors")
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
            "benchmark": "cafe_step",
            "protocol": "process CPU-seconds, one thread, interleaved, median of rounds; a step is "
            "match + check + γ·(epoch + check); glibc keeps memory for all; peak memory of "
            "a matching step, a check and an epoch in a process of its own, beyond what is "
            "there before them",
            "seed": 0,
            "rows": rows,
            "errors": noise,
        }
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
