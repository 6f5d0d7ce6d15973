"""What ``--optimizer.rate auto`` picks, and what it is worth on the test split.

    CONDENSERY_DATA=/path/to/data python benchmarks/rates.py --data usps --ipc 1 --iterations 100

For each seed: the trials, a set at the recipe's rate and one at the rate that was taken, and
networks that were trained on both. A line of JSON is written for each seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from condensery import evaluate, load
from condensery.condensation.api import condense
from condensery.condensation.configure import plan_for, resolved
from condensery.condensation.rate_trials import try_rates
from condensery.runtime.malloc import keep_memory
from condensery.runtime.provenance import commit, machine


def main() -> None:
    """Measure, and add to the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipe", default="dm")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--usual", type=float, help="in place of the recipe's rate")
    parser.add_argument("--net", default="convnet3:width=32")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--nets", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rates.jsonl"))
    options = parser.parse_args()
    keep_memory()
    data = load(options.data)
    for seed in range(options.seeds):
        fields = {"ipc": options.ipc, "iterations": options.iterations, "seed": seed}
        fields |= {"supply.net": options.net}
        if options.usual is not None:
            fields["optimizer.rate"] = options.usual
        config = resolved(data, options.recipe, fields).config
        tried = try_rates(data, config, plan_for(data, config, threads=1), say=print)
        found = {}
        for name, rate in (("usual", config.optimizer.rate), ("auto", tried.rate)):
            made = condense(
                data, options.recipe, threads=1, overrides={**fields, "optimizer.rate": rate}
            )
            how = {"protocol": "dsa", "epochs": options.epochs, "threads": 1}
            (result,) = evaluate(made, data, network=options.net, repeats=options.nets, **how)
            found[name] = result.as_dict()
            print(f"{options.data} seed {seed} {name}: {result.mean:.2f} ± {result.std:.2f}")
        record = {
            **{key: getattr(options, key) for key in ("data", "recipe", "ipc", "iterations")},
            **{"seed": seed, "trials": tried.as_dict(), "results": found},
            **{"commit": commit(), "machine": {k: v for k, v in machine().items() if k != "host"}},
        }
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
