"""Two processes with a thread each against one process with two threads, step by step.

    python benchmarks/ranks.py --data cifar10 --recipe dm dc --ipc 10 --rounds 5 \
        --out benchmarks/results/ranks.json

All processes are there all the time; they take turns, so that what else runs on the machine meets
both. A step is the loop's: the draws, the matching, the pixels, and what the network learns after
it. Wall seconds, those of the slower of the two; and the bytes that a process receives in a step.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import load
from condensery.runtime.distributed import joined
from condensery.runtime.malloc import keep_memory
from condensery.runtime.plan import Plan

from measure import noise_data, write_report


def work(options: argparse.Namespace) -> None:
    """Do a step for each line that comes in, and tell how long it took."""
    keep_memory()
    fast = options.compile
    plan = Plan(name="chunked", chunk=32, compile=fast, channels_last=fast, threads=options.threads)
    data = load(options.data) if options.data else noise_data(10)
    config = configure(data, options.recipe[0], {"ipc": options.ipc})
    if options.epochs is not None and "epochs" in config.supply.settings:
        given = {"ipc": options.ipc, "supply.epochs": options.epochs}
        config = configure(data, options.recipe[0], given)
    with joined() as ranks, plan.applied():
        run = Condenser(data, config, plan, ranks)
        for _ in sys.stdin:
            ranks.traffic = 0.0
            ranks.wait()
            told = ranks.traffic
            began = time.perf_counter()
            run.step()
            seconds = time.perf_counter() - began
            line = {"seconds": seconds, "bytes": ranks.traffic - told, "step": run.steps}
            print(json.dumps(line), flush=True)


class Team:
    """Processes that do the same steps together."""

    def __init__(self, world: int, threads: int, words: list[str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        self.members = [
            subprocess.Popen(
                [sys.executable, __file__, "--work", "--threads", str(threads), *words],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]

    def step(self) -> dict[str, Any]:
        """One step: the seconds of the slowest, and the bytes of one."""
        for member in self.members:
            assert member.stdin is not None
            member.stdin.write("\n")
            member.stdin.flush()
        lines = []
        for member in self.members:
            assert member.stdout is not None
            text = member.stdout.readline()
            if not text:
                sys.exit("a process has ended; see its message above")
            lines.append(json.loads(text))
        return {**lines[0], "seconds": max(line["seconds"] for line in lines)}

    def close(self) -> None:
        """No more steps."""
        for member in self.members:
            assert member.stdin is not None
            member.stdin.close()
        for member in self.members:
            member.wait()


def measure(recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """Both teams in turn."""
    words = ["--recipe", recipe, "--ipc", str(options.ipc)]
    words += ["--data", options.data] if options.data else []
    words += ["--epochs", str(options.epochs)] if options.epochs is not None else []
    words += ["--compile"] if options.compile else []
    one, two = Team(1, 2, words), Team(2, 1, words)
    for team in (one, two):  # compile, and touch the memory
        team.step()
    times: dict[str, list[float]] = {"one": [], "two": []}
    received = []
    for _ in range(options.rounds):
        times["one"].append(one.step()["seconds"])
        found = two.step()
        times["two"].append(found["seconds"])
        received.append(found["bytes"])
    for team in (one, two):
        team.close()
    ratios = [a / b for a, b in zip(times["one"], times["two"], strict=True)]
    return {
        "recipe": recipe,
        "ipc": options.ipc,
        "data": options.data or "noise",
        "epochs": options.epochs,
        "rounds": options.rounds,
        "compiled": options.compile,
        "one_process_two_threads_s": statistics.median(times["one"]),
        "two_processes_one_thread_s": statistics.median(times["two"]),
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "bytes_per_step": statistics.median(received),
        "seconds": times,
    }


def main() -> None:
    """Measure and print; write JSON where it is asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--recipe", nargs="+", default=["dm", "dc"])
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--data", help="real data; noise of CIFAR-10's shape by default")
    parser.add_argument("--epochs", type=int, help="of what the network learns after a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", action="store_true", help="be one of the processes")
    parser.add_argument("--threads", type=int, default=1, help="of one of the processes")
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    rows = []
    for recipe in options.recipe:
        rows.append(measure(recipe, options))
        row = rows[-1]
        print(
            f"{recipe} IPC {row['ipc']}: one process, two threads "
            f"{row['one_process_two_threads_s']:.2f} s; two processes, one thread each "
            f"{row['two_processes_one_thread_s']:.2f} s, {row['ratio']:.2f}× "
            f"({row['ratio_range'][0]:.2f} … {row['ratio_range'][1]:.2f}), "
            f"{row['bytes_per_step']:.0f} bytes per step",
            flush=True,
        )
    if options.out:
        facts = {
            "benchmark": "ranks",
            "protocol": "wall seconds of a step, processes taking turns, the slower of two, median",
            "seed": 0,
            "rows": rows,
        }
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
