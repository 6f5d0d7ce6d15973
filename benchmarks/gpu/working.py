"""The queue at work: who takes which job, when each is stopped, and the record it leaves."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs import Job
from processes import Worker, end_of
from state import RECORDS

#: What a record takes out of the numbers that a command wrote.
_NUMBERS = (
    *(
        "address",
        "name",
        "set",
        "net",
        "mean",
        "std",
        "n",
        "sets",
        "accuracies",
        "protocol",
        "plan",
    ),
    *("seed", "scale", "iterations", "verdict_text", "departures", "condensing", "seconds"),
)
#: With less than this left no job is begun.
_WORTH = 5.0


@dataclass(frozen=True)
class Clock:
    """When jobs are stopped, so that all has ended in time."""

    began: float
    """On the monotonic clock."""
    seconds: float
    """All that there are."""

    @property
    def grace(self) -> float:
        """Seconds in which a job that was asked to stop may do so."""
        return min(20.0, self.seconds / 8)

    @property
    def stop(self) -> float:
        """When the last job is asked to stop: then grace, packing, and a quarter of a minute."""
        spare = min(15.0, self.seconds / 8) + min(10.0, self.seconds / 16)
        return self.began + self.seconds - spare - self.grace

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began


@dataclass
class Queue:
    """The jobs that are left, and the records of those that were tried."""

    waiting: list[Job]
    """In order."""
    work: Path
    """Folder of sets, accuracies, logs and caches."""
    out: Path
    """Where records and state go."""
    clock: Clock
    """The time there is."""
    device: str
    """Torch device."""
    workers: int
    """How many share it."""
    commit: str | None
    """Of the code."""
    stopping: bool = False
    """Whether no more jobs are begun."""
    statuses: dict[str, int] = field(default_factory=dict)
    """How many ended how."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, int] = {}
        self._making: dict[str, int] = {}

    def over(self) -> bool:
        """Whether the time is over, or a signal said so."""
        return self.stopping or time.monotonic() >= self.clock.stop

    def take(self) -> Job | None:
        """The first job whose sets nobody else is making."""
        with self._lock:
            for job in self.waiting:
                made = self._made.get(job.makes, 0) >= job.sets
                if made or job.makes not in self._making:
                    self.waiting.remove(job)
                    if job.makes and not made:
                        self._making[job.makes] = job.sets
                    return job
        return None

    def serve(self, worker: Worker) -> None:
        """Give a worker one job after the other."""
        while not self.over() and self.waiting:
            if not worker.begin(self.over):
                if not self.over():
                    print(f"worker {worker.number} does not start:\n{worker.told()}", flush=True)
                return
            job = self.take() if self.clock.stop - time.monotonic() > _WORTH else None
            if job is None:
                time.sleep(0.2)
                continue
            self._one(worker, job)
        worker.end()

    def _one(self, worker: Worker, job: Job) -> None:
        name = re.sub(r"[^\w.=,+@-]", "_", job.name)
        answer, log = self.work / "answers" / f"{name}.json", self.work / "logs" / f"{name}.log"
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.unlink(missing_ok=True)
        commands = job.argv(str(self.work), str(answer), self.device)
        until = min(time.monotonic() + job.limit_s, self.clock.stop)
        found = worker.carry_out(commands, log, until, lambda: self.stopping)
        if found["status"] == "failed" and "traceback" not in found:
            found["traceback"] = end_of(log)
        record = {
            "job": job.name,
            "key": job.key(self.device),
            "argv": [list(one) for one in job.commands],
            **found,
            "numbers": _numbers(answer),
            "commit": self.commit,
            **worker.about,
            "device": self.device,
            "workers": self.workers,
        }
        self._note(worker, job, record)

    def _note(self, worker: Worker, job: Job, record: dict[str, Any]) -> None:
        line = json.dumps(record) + "\n"
        with self._lock:
            for file in (self.out / "results.jsonl", self.work / RECORDS):
                with file.open("a", encoding="utf-8") as opened:
                    opened.write(line)
                    opened.flush()
                    os.fsync(opened.fileno())
            self._making.pop(job.makes, None)
            status = str(record["status"])
            if status == "done":
                self._made[job.makes] = max(job.sets, self._made.get(job.makes, 0))
            self.statuses[status] = self.statuses.get(status, 0) + 1
        told = f"{self.clock.spent:6.1f} s  {worker.number}  {status:7} {job.name}"
        shown = ", ".join(
            f"{one['mean']:.1f} ± {one['std']:.1f} (n={one['n']})"
            for one in record["numbers"]
            if {"mean", "std", "n"} <= set(one)
        )
        if status == "failed":
            shown = str(record["traceback"]).strip().splitlines()[-1]
        print(f"{told}: {record['seconds']:.0f} s{', ' * bool(shown)}{shown}", flush=True)


def _numbers(answer: Path) -> list[dict[str, Any]]:
    """What a command said in its ``--json``, without what a record has already."""
    try:
        held = json.loads(answer.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    rows = held.get("results") or held.get("rows") or [held]
    shared = {name: held[name] for name in ("protocol", "seed", "plan", "nets") if name in held}
    return [{**shared, **{k: row[k] for k in _NUMBERS if k in row}} for row in rows]
