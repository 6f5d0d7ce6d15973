"""Works through the list of jobs for some minutes, and packs what the next visit needs.

    python benchmarks/gpu/run.py --minutes 5 --out OUT --workers 4 --state .gpu/state

For a machine with a GPU and no network; README.md says how the data and the missing packages get
there. With ``--tiny`` every job is a dry run on the CPU.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import Job, jobs, tiny
from processes import ROOT, Worker, environment, warm
from state import RECORDS, pack, read_records, unpack
from working import Clock, Queue


def left(listed: Sequence[Job], records: Sequence[dict[str, Any]], device: str) -> list[Job]:
    """Jobs without a result, those that failed with the newest record last."""
    last = {record.get("key"): record.get("status") for record in records}
    done = {record.get("key") for record in records if record.get("status") == "done"}
    keyed = [(job, job.key(device)) for job in listed]
    open_jobs = [(job, last.get(key) == "failed") for job, key in keyed if key not in done]
    return [job for job, _ in sorted(open_jobs, key=lambda pair: pair[1])]


def work_through(
    listed: Sequence[Job],
    *,
    out: Path,
    minutes: float,
    workers: int = 1,
    device: str = "cuda",
    state: Path | None = None,
    work: Path | None = None,
    began: float | None = None,
) -> Queue:
    """Do jobs until the time is over, and pack.

    Args:
        listed: jobs, in order.
        out: folder of ``results.jsonl`` and of the tars.
        minutes: all that there are.
        workers: processes that share the device.
        device: torch device.
        state: folder with an earlier visit's tars and records.
        work: the queue's own folder; one that holds work already is gone on with.
        began: when the minutes began, on the monotonic clock.
    """
    clock = Clock(time.monotonic() if began is None else began, 60 * minutes)
    out.mkdir(parents=True, exist_ok=True)
    temporary = work is None
    place = Path(tempfile.mkdtemp(prefix="queue-")) if work is None else work.resolve()
    place.mkdir(parents=True, exist_ok=True)
    if state is not None and not (place / RECORDS).exists():
        print(f"from earlier: {', '.join(unpack(state, place)) or 'no tar'}", flush=True)
    earlier = sorted(state.glob("*.jsonl")) if state is not None else []
    records = read_records(place / RECORDS, *earlier)
    _write_records(place / RECORDS, records)
    todo = left(listed, records, device)
    print(f"{len(todo)} of {len(listed)} jobs are left, {workers} at a time", flush=True)
    queue = Queue(todo, place, out, clock, device, workers, _commit())
    _carry_out(queue, workers)
    missing = pack(place, out, queue.commit)
    if missing:
        print(f"no room in the state for: {', '.join(missing[:20])}", flush=True)
    told = ", ".join(f"{count} {status}" for status, count in sorted(queue.statuses.items()))
    sizes = sum(file.stat().st_size for file in out.glob("state-*.tar")) / 2**20
    print(
        f"{told or 'nothing done'}; {len(queue.waiting)} were not begun; "
        f"state {sizes:.1f} MiB; {clock.spent:.0f} s",
        flush=True,
    )
    if temporary:
        shutil.rmtree(place, ignore_errors=True)
    return queue


def _carry_out(queue: Queue, workers: int) -> None:
    env = environment(queue.work, workers)

    def asked(number: int, frame: Any) -> None:
        queue.stopping = True

    main_thread = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGINT, signal.SIGTERM) if main_thread else ()
    before = {number: signal.signal(number, asked) for number in signals}
    warming = warm(list(dict.fromkeys(job.data for job in queue.waiting)), env)
    held = [Worker(k + 1, queue.work, env, queue.clock.grace) for k in range(workers)]
    threads = [threading.Thread(target=_first, args=(queue, one, warming[:1])) for one in held]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.1)  # join would keep signals waiting
    finally:
        queue.stopping = True
        for thread in threads:
            thread.join()
        for process in warming:
            process.kill()
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _first(queue: Queue, worker: Worker, warming: list[subprocess.Popen[bytes]]) -> None:
    """Start a worker while the first data set is decoded, then serve it jobs."""
    try:
        if queue.waiting:
            worker.begin(queue.over)
        while any(process.poll() is None for process in warming) and not queue.over():
            time.sleep(0.1)
        queue.serve(worker)
    finally:
        worker.end()


def _write_records(file: Path, records: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(record) + "\n" for record in records)
    file.write_text(text, encoding="utf-8")


def _commit() -> str | None:
    """What ``pack.py`` noted: there is no git where the queue runs."""
    file = ROOT / ".gpu" / "commit"
    return file.read_text(encoding="utf-8").strip() if file.exists() else None


def _wanted(only: Sequence[str]) -> list[Job]:
    def named(job: Job) -> bool:
        return any(fnmatch.fnmatch(job.name, glob) or job.group == glob for glob in only)

    return [job for job in jobs() if not only or named(job)]


def _once(listed: list[Job], device: str) -> list[Job]:
    """The first of each key: as dry runs, many jobs are the same."""
    found: dict[str, Job] = {}
    for job in listed:
        found.setdefault(job.key(device), job)
    return list(found.values())


def main() -> int:
    """The command line."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, required=True, help="all that there are")
    parser.add_argument("--out", type=Path, required=True, help="results.jsonl and state-N.tar")
    parser.add_argument("--state", type=Path, help="folder of an earlier visit's tars")
    parser.add_argument("--work", type=Path, help="folder to work in, kept; temporary if not given")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the GPU")
    parser.add_argument("--only", nargs="+", default=[], help="names (* for anything) or groups")
    parser.add_argument("--device", help="torch device (default cuda; cpu with --tiny)")
    parser.add_argument("--dry-run", action="store_true", help="list the jobs that are left")
    parser.add_argument("--tiny", action="store_true", help="dry runs of all jobs, on the CPU")
    asked = parser.parse_args()
    listed = _wanted(asked.only)
    device = asked.device or ("cpu" if asked.tiny else "cuda")
    if asked.tiny:
        listed = _once([tiny(job) for job in listed], device)
    if asked.dry_run:
        return _list(listed, asked.state, device)
    queue = work_through(
        listed,
        out=asked.out,
        minutes=asked.minutes,
        workers=max(1, asked.workers),
        device=device,
        state=asked.state if asked.state is not None and asked.state.is_dir() else None,
        work=asked.work,
        began=began,
    )
    return 1 if queue.waiting and not queue.statuses else 0


def _list(listed: list[Job], state: Path | None, device: str) -> int:
    with tempfile.TemporaryDirectory() as place:
        files = []
        if state is not None and state.is_dir():
            unpack(state, Path(place))
            files = [Path(place) / RECORDS, *sorted(state.glob("*.jsonl"))]
        todo = left(listed, read_records(*files), device)
    for job in todo:
        print(f"{job.key(device)}  {job.seconds:5.0f} s (at most {job.limit_s:.0f})  {job.name}")
    print(f"{len(todo)} of {len(listed)} jobs, about {sum(j.seconds for j in todo) / 60:.0f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main())
