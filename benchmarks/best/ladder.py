"""What each part of recipe ``best`` adds in a given time, and how it stands beside the baselines.

    python benchmarks/best/ladder.py --minutes 10 --out benchmarks/results/best_cifar10_ipc10.jsonl

Every rung is a command of its own, with a cache of its own, so that no pool is there before. All
have the same minutes, all told, and are tested by one protocol through two architectures. A line of
JSON is written for each; rungs that the file has are passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from condensery.runtime.provenance import commit, machine, versions

#: Name → arguments of the command, without data, budget and minutes. From ``dm_mf`` on, each rung
#: has what the one before has, and one thing more, up to ``best``; those after it change one thing.
_TILES = ("--formation.factor", "3")
_BATCHES = ("--real-batch", "64", "--synthetic-batch", "30")
_SMALL = (*_BATCHES, "--optimizer.rate", "10")
_NARROW = ("--supply.net", "convnet3:width=64")
_WIDE = ("--supply.net", "convnet3")
_LARGE = ("--real-batch", "256", "--synthetic-batch", "180")
_NO_POOL = ("--supply.kind", "fresh", "--objective.classification", "0")
_ADAM = ("--optimizer.algorithm", "adam", "--optimizer.rate", "0.1")
_ALL_OPS = ("--augmentation.kind", "siamese_sequence")
_ONE_OP = ("--augmentation.kind", "siamese_op")
_CHROMA = ("--formation.chroma", "half")
_LATE = os.path.relpath(Path(__file__).with_name("late_networks.yaml"))
RUNGS: dict[str, tuple[str, ...]] = {
    "random": ("select", "random"),
    "dm": ("condense", "--recipe", "dm"),
    "dm_mf": ("condense", "--recipe", "dm_mf"),
    "tiles": ("condense", "--recipe", "dm_mf", *_TILES),
    "batches": ("condense", "--recipe", "dm_mf", *_TILES, *_SMALL),
    "narrow": ("condense", "--recipe", "dm_mf", *_TILES, *_SMALL, *_NARROW),
    "all_ops": ("condense", "--recipe", "dm_mf", *_TILES, *_SMALL, *_NARROW, *_ALL_OPS),
    "chroma": ("condense", "--recipe", "dm_mf", *_TILES, *_SMALL, *_NARROW, *_ALL_OPS, *_CHROMA),
    "decay": ("condense", "--recipe", "best", *_BATCHES, *_NO_POOL, *_NARROW),
    "snapshots": ("condense", "--recipe", _LATE, *_BATCHES, "--objective.classification", "0"),
    "class_term": ("condense", "--recipe", _LATE, *_BATCHES),
    "larger_batches": ("condense", "--recipe", _LATE),
    "best": ("condense", "--recipe", "best"),
    "best_wide": ("condense", "--recipe", "best", *_WIDE),
    "best_large_batches": ("condense", "--recipe", "best", *_LARGE),
    "best_one_op": ("condense", "--recipe", "best", *_ONE_OP),
    "best_16_tiles": ("condense", "--recipe", "best", "--formation.factor", "4"),
    "best_adam": ("condense", "--recipe", "best", *_ADAM),
    "best_full_chroma": ("condense", "--recipe", "best", "--formation.chroma", "full"),
    "best_kmeans": ("condense", "--recipe", "best", "--formation.start_from", "kmeans"),
}


def measured(name: str, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Make one rung's set, test it, and say all about it."""
    place = work / name
    where = {**os.environ, "CONDENSERY_CACHE": str(place / "cache")}
    about = ("--data", options.data, "--ipc", str(options.ipc), "--seed", str(options.seed))
    made = (*RUNGS[name], *about, "--out", str(place / "run"), "--quiet")
    if RUNGS[name][0] == "condense":
        made = (*made, "--minutes", f"{options.minutes:g}")
    began = time.monotonic()
    _condensery(made, where)
    seconds = time.monotonic() - began
    answer = place / "tested.json"
    nets = ("--net", *options.net, "--nets", str(options.nets))
    how = ("--protocol", "idc", "--epochs", str(options.epochs), "--quiet", "--json", str(answer))
    data = ("--data", options.data, "--seed", str(options.seed))
    _condensery(("evaluate", str(place / "run"), *data, *nets, *how), where)
    rows = json.loads(answer.read_text(encoding="utf-8"))["results"]
    kept = ("net", "protocol", "n", "mean", "std", "accuracies", "stored_bytes", "plan")
    facts = json.loads((place / "run" / "run.json").read_text(encoding="utf-8"))
    return {
        "name": name,
        "data": options.data,
        "ipc": options.ipc,
        "minutes": options.minutes,
        "seed": options.seed,
        "command": [_placed(word, place) for word in made],
        "seconds": round(seconds, 1),
        "plan": facts.get("plan"),
        "recipe": _placed((place / "run" / "recipe.yaml").read_text(encoding="utf-8"), place),
        "results": [{key: row.get(key) for key in kept} for row in rows],
    }


def _placed(text: str, place: Path) -> str:
    """Without the folders of the machine that it was measured on."""
    return text.replace(str(place / "cache"), "CACHE").replace(str(place), "PLACE")


def _condensery(arguments: tuple[str, ...], where: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "condensery", *arguments], env=where, check=True)


def key(record: dict[str, Any] | argparse.Namespace, name: str) -> tuple[Any, ...]:
    """What tells rungs of a file apart."""
    held = record if isinstance(record, dict) else vars(record)
    return (name, *(held[field] for field in ("data", "ipc", "minutes", "seed")))


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of each rung, all told")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(RUNGS), default=list(RUNGS))
    parser.add_argument("--net", nargs="+", default=["convnet3", "resnet10"])
    parser.add_argument("--nets", type=int, default=3, help="networks for each architecture")
    parser.add_argument("--epochs", type=int, default=60, help="of protocol idc")
    parser.add_argument("--work", type=Path, help="folder for the sets; a temporary one by default")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/best_cifar10_ipc10.jsonl")
    )
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Work through the rungs that are not there yet."""
    options = parsed(words)
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.exists() else []
    done = {key(record, record["name"]) for record in map(json.loads, lines)}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only:
            if key(options, name) in done:
                print(f"{name}: there already")
                continue
            record = measured(name, options, options.work or Path(temporary))
            hardware = {k: v for k, v in machine().items() if k != "host"}
            record |= {"commit": commit(), "machine": hardware, "versions": versions()}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            shown = ", ".join(
                f"{row['net']} {row['mean']:.1f} ± {row['std']:.1f}" for row in record["results"]
            )
            print(f"{name}: {shown}, after {record['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
