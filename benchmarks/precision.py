"""Whether networks trained in bfloat16 come to the same accuracies as in float32.

    python benchmarks/precision.py --data usps --recipe dm --ipc 1 --nets 40 \
        --out benchmarks/results/precision.json

The same sets, seeds and draws under two plans that differ in the type of the passes alone; the
weights are float32 in both. Networks are paired by their seeds: the difference is tested on pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from condensery import condense, evaluate, load, select_random
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan

from measure import write_report


def plan(dtype: Any) -> Plan:
    """Compiled, one thread."""
    return Plan(name=dtype, compile=True, channels_last=True, chunk=64, update_dtype=dtype)


def main() -> None:
    """Evaluate twice, test, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="usps")
    parser.add_argument("--net", help="that is trained on the sets")
    parser.add_argument("--recipe", default="dm", help="beside random images; none for those alone")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--nets", type=int, default=40)
    parser.add_argument("--protocol", default="dsa")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    data = load(options.data)
    how: dict[str, Any] = {"protocol": options.protocol, "epochs": options.epochs}
    how["nets"] = options.net or data.net
    rows = []
    for ipc in options.ipc:
        sets = {"random": select_random(data, ipc=ipc)}
        if options.recipe != "none":
            sets[options.recipe] = condense(
                data, options.recipe, ipc=ipc, iterations=options.iterations, plan=plan("bfloat16")
            )
        for name, one in sets.items():
            found = {
                dtype: evaluate(one, data, repeats=options.nets, plan=plan(dtype), **how)[0]
                for dtype in ("float32", "bfloat16")
            }
            first, second = (np.array(found[d].accuracies) for d in ("float32", "bfloat16"))
            test = stats.ttest_rel(second, first)
            low, high = test.confidence_interval(0.95)
            row = {
                "set": name,
                "ipc": ipc,
                "net": how["nets"],
                "n": len(first),
                **{
                    d: {"mean": r.mean, "std": r.std, "seconds": r.seconds}
                    for d, r in found.items()
                },
                "accuracies": {d: list(r.accuracies) for d, r in found.items()},
                "difference": float((second - first).mean()),
                "interval_95": [float(low), float(high)],
                "p": float(test.pvalue),
                "protocol": found["float32"].protocol,
            }
            rows.append(row)
            print({k: v for k, v in row.items() if k != "accuracies"}, flush=True)
    if options.out:
        content = {
            "benchmark": "precision",
            "data": data.name,
            "iterations": options.iterations,
            "seed": 0,
            "rows": rows,
        }
        write_report(options.out, content)


if __name__ == "__main__":
    main()
