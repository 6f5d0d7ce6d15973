"""Peak memory of one pixel step of multi-level gradient matching with many classes.

    python benchmarks/many_classes.py --classes 200 --size 64 --memory 1 --out result.json

Noise images at ten images per class; the whole process counts: Python, torch, data, compiled code.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import load
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan, fast_bfloat16

from measure import write_report


def main() -> None:
    """One step, its time and the process's peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="gm_md")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--real-batch", type=int, default=256)
    parser.add_argument("--memory", type=float, default=4.0, help="the plan's memory_gb")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_memory()
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(options.classes), options.real_batch)
    shape = (len(labels), 3, options.size, options.size)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    data = load(
        (images, labels), test=(images[:: options.real_batch], labels[:: options.real_batch])
    )
    given = {"ipc": options.ipc, "real_batch": options.real_batch}
    config = configure(data, options.recipe, given)
    plan = Plan(
        chunk=max(4, 32 * 32 * 32 // options.size**2),
        compile=True,
        channels_last=True,
        real_dtype="bfloat16" if fast_bfloat16("cpu") else "float32",
        memory_gb=options.memory,
        threads=options.threads,
    )
    run = Condenser(data, config, plan)
    network = run.supply.new(0)
    began = time.perf_counter()
    with plan.applied():
        run.matcher.gradient(network, run.stored.detach(), 0, 0)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    facts = {
        "benchmark": "many_classes",
        "protocol": "one pixel step of a fresh process, compiling included; peak resident memory",
        **{k: v for k, v in vars(options).items() if k != "out"},
        "net": config.supply.settings["net"],
        "weights": sum(p.numel() for p in network.parameters()),
        "seconds": round(seconds, 1),
        "peak_gib": round(peak, 2),
        "seed": 0,
        "n": 1,
    }
    print(json.dumps({k: facts[k] for k in ("classes", "size", "net", "seconds", "peak_gib")}))
    if options.out:
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
