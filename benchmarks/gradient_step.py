"""One gradient matching step, and an outer iteration with its training, against a slow twin.

    python benchmarks/gradient_step.py --recipe dc dsa --ipc 1 10 --data cifar10 \
        --out benchmarks/results/gradient_step.json

The twin is written straight from the paper: class by class, eager, float32, the whole real batch
at once, and no needless work. Twin and plans take turns in one process with one thread and are
measured in process CPU-seconds. An outer iteration is composed of measured parts: T steps, and the
training after all but the last of them. Beside the ratios stand the floor (the operations at the
machine's measured peak rates), the peak memory, and the error of the pixel gradient,
next to the noise of drawing another real batch.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import gc
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from condensery.augment import augment_batch, parse_strategy
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.draws import draw_step
from condensery.data import Data, load
from condensery.nets.sizes import first_padding
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import stream

from measure import (
    cpu_seconds,
    in_place,
    noise_data,
    peak_memory_mb,
    peak_rate,
    reference_gradients,
    relative,
    write_report,
)


def twin_distance(a: list[Tensor], b: list[Tensor], norm: bool) -> Tensor:
    """GM, equations 8 and 9, over output rows of all layers."""
    total = torch.zeros(())
    for one, other in zip(a, b, strict=True):
        x, y = one.flatten(1), other.flatten(1)
        total = total + (1 - (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1) + 1e-6)).sum()
        if norm:
            total = total + (x - y).norm(dim=1).sum()
    return total


def twin_step(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """DC's algorithm 1, lines 5 to 7 (GM's with the mean): the gradient to the pixels."""
    train, augmentation = run.train, run.augmentation
    draws = draw_step(train, augmentation, run.task, run.config.real_batch, k, 0)
    in_place(network).requires_grad_(True)
    weights = [p for p in network.parameters() if p.dim() >= 2]
    norm = "l2" in run.config.objective.settings["distance"]
    multi = run.config.objective.settings["level"] == "multi"
    slopes, reals, mades, pixels = [], [], [], []
    for c, rows in enumerate(draws.rows):
        images = augmentation.apply(train.normalised(rows), draws.augmentation[c])
        loss = cross_entropy(network(images), train.labels[rows])
        real = list(torch.autograd.grad(loss, weights))
        leaf = run.stored[c].detach().requires_grad_()
        made_images = augmentation.apply(leaf, draws.augmentation[c])
        loss = cross_entropy(network(made_images), torch.full((len(leaf),), c))
        made = list(torch.autograd.grad(loss, weights, create_graph=True))
        if multi:
            reals.append(real)
            mades.append(made)
            pixels.append(leaf)
        else:
            slopes.append(torch.autograd.grad(twin_distance(made, real, norm), leaf)[0])
    if multi:
        classes = len(reals)
        total = torch.stack(
            [twin_distance(a, b, norm) for a, b in zip(mades, reals, strict=True)]
        ).sum()
        mean_real = [torch.stack(layer).mean(0) for layer in zip(*reals, strict=True)]
        mean_made = [torch.stack(layer).mean(0) for layer in zip(*mades, strict=True)]
        total = total + classes * twin_distance(mean_made, mean_real, norm)
        slopes = list(torch.autograd.grad(total, pixels))
    return torch.stack(slopes)


def twin_epochs(run: Condenser, network: nn.Module, epochs: int) -> None:
    """The network's training on the synthetic set: eager, one batch an epoch or more."""
    settings = run.config.supply.settings
    in_place(network).train().requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), lr=settings["rate"], momentum=settings["momentum"])
    images, labels = run.context().synthetic()
    strategy = parse_strategy(settings["strategy"])
    for epoch in range(epochs):
        rng = stream(0, "twin", epoch)
        for rows in torch.from_numpy(rng.permutation(len(images))).split(settings["batch"]):
            batch = images[rows]
            if settings["augmentation"] == "batch_op":
                batch = augment_batch(batch, rng, strategy)
            sgd.zero_grad()
            cross_entropy(network(batch), labels[rows]).backward()
            sgd.step()


def plan_epochs(run: Condenser, network: nn.Module, epochs: int) -> None:
    """The same by the plan."""
    course = run.context().course(network, run.supply._protocol)  # type: ignore[attr-defined]
    course.epochs(*run.context().synthetic(), range(epochs), (0, 0))


def plan_step(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """The gradient as the plan computes it."""
    return run.matcher.gradient(network, run.stored.detach(), k, 0)[1]


def plans() -> dict[str, Plan]:
    """The plans that are compared."""
    single = Plan(chunk=32, compile=True, channels_last=True)
    half = dataclasses.replace(single, real_dtype="bfloat16", update_dtype="bfloat16")
    return {"float32": single, "bfloat16 real and training": half}


def operations(data: Data, ipc: int, real: int) -> dict[str, float]:
    """Convolution operations of ConvNet-3: both branches of a step, and an epoch of training."""
    shape = data.train.shape
    _, (side, _) = first_padding(shape)
    maps = [(shape[0], side), (128, side // 2), (128, side // 4)]
    each = [2 * 128 * inputs * 9 * size * size for inputs, size in maps]
    forward, inner = sum(each), sum(each[1:])
    first = 2 * forward + inner  # forward, to the weights, and to the inputs of all but one layer
    # Back through these: one each for what is linear in the pixels' side (forward, to the inputs),
    # two for what is bilinear in it (to the weights).
    second = forward + inner + 2 * forward
    made = data.train.classes * ipc
    return {"real": real * first, "made": made * (first + second), "epoch": made * first}


def _step_of(name: str) -> Any:
    return twin_step if name == "twin" else plan_step


def _epochs_of(name: str) -> Any:
    return twin_epochs if name == "twin" else plan_epochs


def memory_of(name: str, recipe: str, ipc: int, classes: int, spec: str | None) -> float:
    """Peak memory of a step beyond what is there before it, in a process of its own."""
    words = ["--memory-of", name, "--recipe", recipe, "--ipc", str(ipc), "--classes", str(classes)]
    words += ["--data", spec] if spec else []
    done = subprocess.run(
        [sys.executable, __file__, *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def print_memory(name: str, recipe: str, ipc: int, classes: int, spec: str | None) -> None:
    """What :func:`memory_of` reads. Freed memory goes back to the system here."""
    data = load(spec) if spec and classes == 10 else noise_data(classes, 512)
    config = configure(data, recipe, {"ipc": ipc})
    run = Condenser(data, config, {"twin": exact_plan("cpu", 1), **plans()}[name])
    _step_of(name)(run, run.supply.new(0), 0)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    print(peak_memory_mb(lambda: _step_of(name)(run, run.supply.new(1), 1)))


def measure(recipe: str, ipc: int, classes: int, spec: str | None, rounds: int) -> dict[str, Any]:
    """Twin and plans in turn."""
    data = load(spec) if spec and classes == 10 else noise_data(classes, 512)
    config = configure(data, recipe, {"ipc": ipc})
    twin = Condenser(data, config, exact_plan("cpu", 1))
    runs = {name: Condenser(data, config, plan) for name, plan in plans().items()}
    epochs = min(5, int(twin.supply._epochs_after(0)))  # type: ignore[attr-defined]
    steps = int(config.supply.settings["steps"])
    each = config.supply.settings["epochs"]
    zeta = each if isinstance(each, list) else [each]
    total = sum(zeta[min(t, len(zeta) - 1)] for t in range(steps - 1))
    for name, run in {"twin": twin, **runs}.items():  # compile, and touch the memory
        _step_of(name)(run, run.supply.new(0), 0)
        _epochs_of(name)(run, run.supply.new(0), 1)
    times: dict[str, dict[str, list[float]]] = {
        name: {"step": [], "epoch": []} for name in ("twin", *runs)
    }
    for k in range(1, rounds + 1):
        for name, run in {"twin": twin, **runs}.items():
            network = run.supply.new(k)
            step, train = _step_of(name), _epochs_of(name)
            spent = cpu_seconds(lambda s=step, r=run, n=network, k=k: s(r, n, k))
            times[name]["step"].append(spent)
            if total:
                spent = cpu_seconds(lambda t=train, r=run, n=network: t(r, n, epochs))
                times[name]["epoch"].append(spent / epochs)
    # With more classes a step takes minutes: many_classes.py measures the memory of those.
    memory = {name: memory_of(name, recipe, ipc, classes, spec) for name in times if classes == 10}
    found = {name: {what: statistics.median(v or [0.0]) for what, v in one.items()}
             for name, one in times.items()}  # fmt: skip
    single, half = peak_rate(torch.float32), peak_rate(torch.bfloat16)
    work_of = operations(data, ipc, sum(min(n, config.real_batch) for n in data.train.counts))
    row: dict[str, Any] = {
        "recipe": recipe,
        "ipc": ipc,
        "classes": classes,
        "data": data.name if spec and classes == 10 else "noise",
        "rounds": rounds,
        "steps": steps,
        "epochs": total,
        "float32_gflops": single / 1e9,
        "bfloat16_gflops": half / 1e9,
        "floor_float32_s": (work_of["real"] + work_of["made"]) / single,
        "floor_bfloat16_real_s": work_of["real"] / half + work_of["made"] / single,
        "floor_epoch_float32_s": work_of["epoch"] / single,
        "floor_epoch_bfloat16_s": work_of["epoch"] / half,
        "twin": {"step_s": found["twin"]["step"], "epoch_s": found["twin"]["epoch"],
                 "iteration_s": steps * found["twin"]["step"] + total * found["twin"]["epoch"],
                 "memory_mb": memory.get("twin")},
        "plans": {},
    }  # fmt: skip
    for name in runs:
        ratios = [t / p for t, p in zip(times["twin"]["step"], times[name]["step"], strict=True)]
        whole = steps * found[name]["step"] + total * found[name]["epoch"]
        row["plans"][name] = {
            "step_s": found[name]["step"],
            "epoch_s": found[name]["epoch"],
            "iteration_s": whole,
            "step_ratio": statistics.median(ratios),
            "step_ratio_range": [min(ratios), max(ratios)],
            "iteration_ratio": row["twin"]["iteration_s"] / whole,
            "memory_mb": memory.get(name),
        }
    return row


def errors(recipe: str, ipc: int, spec: str, networks: int) -> dict[str, Any]:
    """Each plan's pixel gradient against exact's, and that of another real batch."""
    data = load(spec)
    config = configure(data, recipe, {"ipc": ipc})
    exact = Condenser(data, config, exact_plan("cpu", 1))
    pairs = reference_gradients(exact, networks)
    out: dict[str, Any] = {
        "recipe": recipe,
        "ipc": ipc,
        "networks": networks,
        "another_real_batch": statistics.mean(relative(other, mine) for mine, other in pairs),
    }
    for name, plan in plans().items():
        run = Condenser(data, config, plan)
        found = [plan_step(run, run.supply.new(k), k) for k in range(networks)]
        out[name] = {
            "error": statistics.mean(
                relative(f, e) for f, (e, _) in zip(found, pairs, strict=True)
            ),
            "cosine": min(
                float(cosine_similarity(f.flatten(), e.flatten(), 0))
                for f, (e, _) in zip(found, pairs, strict=True)
            ),
        }
    return out


def report(row: dict[str, Any]) -> None:
    """A row for people."""
    twin = row["twin"]
    print(
        f"{row['recipe']} IPC {row['ipc']}, {row['classes']} classes: twin step "
        f"{twin['step_s']:.2f} CPU-s, iteration {twin['iteration_s']:.1f}, "
        f"{twin['memory_mb'] or 0:.0f} MB; floor {row['floor_float32_s']:.2f} s float32, "
        f"{row['floor_bfloat16_real_s']:.2f} s with the real branch in bfloat16"
    )
    for name, plan in row["plans"].items():
        print(
            f"  {name:<28} step {plan['step_s']:.2f} s {plan['step_ratio']:.2f}×, "
            f"iteration {plan['iteration_s']:.1f} s {plan['iteration_ratio']:.2f}×, "
            f"{plan['memory_mb'] or 0:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Measure and print; write JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", nargs="+", default=["dc"])
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--classes", type=int, nargs="+", default=[10])
    parser.add_argument("--data", help="real data of 32×32 for 10 classes and for the errors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=3, help="of the errors; 0 leaves them out")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory-of", help="print the peak memory of this plan, or of the twin")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        one = options.recipe[0], options.ipc[0], options.classes[0]
        print_memory(options.memory_of, *one, options.data)
        return
    keep_memory()
    rows, noise = [], []
    for recipe in options.recipe:
        for classes in options.classes:
            for ipc in options.ipc:
                rounds = options.rounds if classes == 10 else 1
                rows.append(measure(recipe, ipc, classes, options.data, rounds))
                report(rows[-1])
        for ipc in options.ipc if options.data and options.networks else []:
            noise.append(errors(recipe, ipc, options.data, options.networks))
            print(noise[-1], flush=True)
    if options.out:
        facts = {
            "benchmark": "gradient_step",
            "protocol": "process CPU-seconds, one thread, interleaved, median of rounds; glibc "
            "keeps memory for twin and plans; iteration = steps·step + epochs·epoch; "
            "peak memory of a step in a process of its own, beyond what is there before it",
            "seed": 0,
            "rows": rows,
            "errors": noise,
        }
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
