"""Mutated files of every kind that the library reads, and what came of them.

    python benchmarks/fuzz.py --files 10000 --out benchmarks/results/fuzz.json

Each file is one of the seeds (recipe, arrays, tables, sets, checkpoint, pool, pictures, sound) with
random bytes or one random value changed. It is read in a process with a limit on memory, where an
audit hook notes processes that are started, connections, and changes to files outside the folder
of this run. A file that takes longer than --seconds, or kills its process, is counted, and the
next one is read in a new process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fuzzing import Watch, at_random, make_seeds, outcome, readers

from measure import write_report

#: Bytes that a process may take beyond what it has before the first damaged file.
ROOM = 3 * 2**30


def limit_memory(room: int = ROOM) -> None:
    """Allow this process so many bytes more than it has mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _late(*_: object) -> None:
    raise TimeoutError("late")


def worker(work: Path, first: int, last: int, seed: int, seconds: int) -> None:
    """Read files ``first … last``; a line of JSON before each, and one after."""
    import torch

    torch.set_num_threads(1)
    seeds = work / f"seeds-{first}"
    with contextlib.redirect_stdout(sys.stderr):
        data = make_seeds(seeds)
    kinds = readers(seeds, data)
    place = work / f"read-{first}"
    for name, read in kinds.items():  # everything is imported once, with good files
        found = _one(place, name, (seeds / name).read_bytes(), read, None)
        if found[0] != "read":
            raise SystemExit(f"the seed {name} is not read: {found[1]}")
    watch = Watch(work)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit_memory()
    signal.signal(signal.SIGALRM, _late)
    for number in range(first, last):
        rng = random.Random(f"{seed}-{number}")
        name = rng.choice(list(kinds))
        raw = at_random(name, (seeds / name).read_bytes(), rng)
        _say(number=number, kind=name)
        signal.alarm(seconds)
        found = _one(place, name, raw, kinds[name], watch)
        signal.alarm(0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        _say(
            outcome=found[0],
            why=found[1][:300],
            incidents=watch.incidents[:3],
            grown_mb=grown // 1024,
        )
        watch.incidents.clear()


def _one(place: Path, name: str, raw: bytes, read: Any, watch: Watch | None) -> tuple[str, str]:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / name).write_bytes(raw)
    with contextlib.redirect_stdout(sys.stderr):
        if watch is None:
            return outcome(read, place / name)
        watch.on = True
        try:
            return outcome(read, place / name)
        finally:
            watch.on = False


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


class Tally:
    """What came of all files."""

    def __init__(self) -> None:
        self.files = 0
        self.outcomes: Counter[str] = Counter()
        self.kinds: dict[str, Counter[str]] = {}
        self.incidents: list[str] = []
        self.examples: list[dict[str, Any]] = []
        self.grown_mb = 0

    def add(self, number: int, kind: str, found: dict[str, Any]) -> None:
        """Count one file."""
        what = "late" if "TimeoutError: late" in found["why"] else found["outcome"]
        self.files += 1
        self.outcomes[what] += 1
        self.kinds.setdefault(kind, Counter())[what] += 1
        self.grown_mb = max(self.grown_mb, found["grown_mb"])
        self.incidents += [f"{number} {kind}: {words}" for words in found["incidents"]]
        if what not in ("read", "rejected"):
            self.examples.append({"number": number, "kind": kind, what: found["why"]})

    def facts(self) -> dict[str, Any]:
        """As the report has it."""
        names = ("read", "rejected", "traceback", "memory", "late", "crash")
        return {
            "files": self.files,
            "outcomes": {name: self.outcomes[name] for name in names},
            "kinds": {
                kind: dict(sorted(found.items())) for kind, found in sorted(self.kinds.items())
            },
            "code_run_or_files_touched_outside": self.incidents[:20],
            "most_memory_added_mb": self.grown_mb,
            "examples": self.examples[:20],
        }


def run(work: Path, first: int, last: int, options: argparse.Namespace, tally: Tally) -> int:
    """Read files in one process until it ends; the number of the next one to read."""
    job = [sys.executable, __file__, "--work", str(work), "--first", str(first)]
    job += ["--last", str(last), "--seed", str(options.seed), "--seconds", str(options.seconds)]
    current: dict[str, Any] = {}
    log = work / f"log-{first}"
    with log.open("w") as errors:
        process = subprocess.Popen(job, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "number" in said:
                current = said
                continue
            tally.add(current["number"], current["kind"], said)
            current = {}
        process.wait()
    if current:  # it ended while it read this one
        why = f"exit code {process.returncode}"
        lost = {"outcome": "crash", "why": why, "incidents": [], "grown_mb": 0}
        tally.add(current["number"], current["kind"], lost)
        return int(current["number"]) + 1
    if process.returncode:
        raise SystemExit(f"the process failed: {log.read_text()[-2000:]}")
    return last


def main() -> None:
    """Read as many files as asked, or as the time allows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path)
    for name in ("--work", "--first", "--last"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        worker(
            Path(options.work),
            int(options.first),
            int(options.last),
            options.seed,
            options.seconds,
        )
        return
    began, tally, number = time.monotonic(), Tally(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while number < options.files and time.monotonic() - began < options.minutes * 60:
            number = run(Path(folder), number, min(number + 1000, options.files), options, tally)
            print(number, dict(tally.outcomes), flush=True)
    facts = {**tally.facts(), "seconds": round(time.monotonic() - began), "seed": options.seed}
    facts["room_mb"] = ROOM // 2**20
    print(json.dumps(facts, indent=2))
    if options.out:
        write_report(options.out, facts)


if __name__ == "__main__":
    main()
