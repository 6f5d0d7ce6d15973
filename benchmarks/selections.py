"""The selection baselines on one data set, under one protocol, next to the published accuracies.

    python benchmarks/selections.py --data mnist --ipc 1 10 --sets 5 --nets 20 \
        --runs local/selections --out benchmarks/results/mnist_selections.json

Every set has a network of its own, with the set's seed; it is trained once for all methods and
budgets, as long as the checkout is clean (a changed one keeps no networks). What is finished in
``--runs`` is taken as it is, so a stopped benchmark goes on. One JSON file: numbers with n and std,
seeds, protocol, commands, training settings and accuracies, plans, times, commit and hardware.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from condensery.selection import SELECTIONS
from condensery.sets.condensed import load_sets

from measure import write_report
from several import known, run

#: DC, table 1: accuracies in percent and their std, of 5 sets × 20 networks under protocol dc.
PUBLISHED = {
    "mnist": {
        1: {
            "random": (64.9, 3.5),
            "herding": (89.2, 1.6),
            "k_center": (89.3, 1.5),
            "forgetting": (35.5, 5.6),
        },
        10: {
            "random": (95.1, 0.9),
            "herding": (93.7, 0.3),
            "k_center": (84.4, 1.7),
            "forgetting": (68.1, 3.3),
        },
    },
    "cifar10": {
        1: {
            "random": (14.4, 2.0),
            "herding": (21.5, 1.2),
            "k_center": (21.5, 1.3),
            "forgetting": (13.5, 1.2),
        },
        10: {
            "random": (26.0, 1.2),
            "herding": (31.6, 0.7),
            "k_center": (14.7, 0.9),
            "forgetting": (23.3, 1.0),
        },
    },
}

#: Rules of one name in the papers' tables.
CALLED = {"nearest": "herding", "forgetting_toneva": "forgetting"}


def facts_of(place: Path) -> dict[str, Any]:
    """What the folders of a selection tell beside its accuracies."""
    sets = load_sets(place)
    folders = [place] if len(sets) == 1 else [place / str(k) for k in range(len(sets))]
    notes = [json.loads((folder / "run.json").read_text()) for folder in folders]
    out: dict[str, Any] = {
        "set_seeds": [one.about.seed for one in sets],
        "selecting_commit": notes[0]["commit"],
        "selecting_seconds": [note["seconds"] for note in notes],
    }
    if "training" in sets[0].about.config:
        out |= {
            "training": sets[0].about.config["training"],
            "train_accuracies": [one.about.config["train_accuracy"] for one in sets],
            "training_plan": notes[0]["plan"],
        }
    return out


def line_of(row: dict[str, Any]) -> str:
    """One row of the table."""
    there = row["published"]
    beside = f"{there['mean']:5.1f} ± {there['std']:.1f}" if there else "-"
    own = f"{row['mean']:5.1f} ± {row['std']:4.1f} (n={row['n']})"
    return f"{row['set']:<18} {row['ipc']:>4}  {own:<22} {row['protocol']:<16} {beside}"


def main() -> None:
    """Select, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--method", nargs="+", choices=list(SELECTIONS), default=list(SELECTIONS))
    parser.add_argument("--sets", type=int, default=5, help="sets of each method, seeds 0 …")
    parser.add_argument("--nets", type=int, default=20, help="networks on each set")
    parser.add_argument("--protocol", default="dc")
    parser.add_argument("--epochs", type=int, help="shorten the protocol")
    parser.add_argument("--train-epochs", type=int, help="of the networks that are looked through")
    parser.add_argument("--train-net", help="the network that is looked through")
    parser.add_argument("--net", help="the network that is trained on the sets")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    commands = list[str]()
    threads = ["--threads", str(options.threads)] if options.threads else []
    data = ["--data", options.data]
    results = []
    for ipc in options.ipc:
        for method in options.method:
            place = options.runs / f"{method}-ipc{ipc}"
            words = [*data, "--ipc", str(ipc), "--sets", str(options.sets), *threads]
            if method != "random":
                words += ["--epochs", str(options.train_epochs)] if options.train_epochs else []
                words += ["--net", options.train_net] if options.train_net else []
            run(commands, "select", method, *words, "--out", str(place))
            answer = options.runs / f"{method}-ipc{ipc}.{options.protocol}.json"
            how = ["--protocol", options.protocol, "--nets", str(options.nets), *threads]
            how += ["--epochs", str(options.epochs)] if options.epochs else []
            how += ["--net", options.net] if options.net else []
            words = ["evaluate", str(place), *data, *how, "--json", str(answer)]
            row = known(answer, place, options.nets, options.protocol, options.epochs)
            if row is None or (options.net and row["net"] != options.net):
                run(commands, *words)
                (row,) = json.loads(answer.read_text())["results"]
            else:
                commands.append("condensery " + " ".join(words))
            found = PUBLISHED.get(options.data, {}).get(ipc, {}).get(CALLED.get(method, method))
            there = {"paper": "DC, table 1", "mean": found[0], "std": found[1]} if found else None
            results.append({**row, "set": method, "published": there, **facts_of(place)})
    print(f"{'method':<18} {'ipc':>4}  {'measured':<22} {'protocol':<16} published (dc)")
    print("\n".join(line_of(row) for row in results))
    content = {
        "benchmark": "selections",
        "commands": [c.replace(str(options.runs), "RUNS") for c in commands],
        "results": results,
    }
    write_report(options.out, content)


if __name__ == "__main__":
    main()
