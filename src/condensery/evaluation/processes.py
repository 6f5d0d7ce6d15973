"""Processes that train and test networks beside each other, one thread each.

On CPUs compiled networks one after another, one process per core, are the fastest way; a process is
started as ``python -m condensery.evaluation.worker FOLDER`` and finds in the folder all that a
cell's numbers depend on (:mod:`condensery.evaluation.cell_files`). It reads which networks to train
from its input, and writes how many epochs are done and what they came to, a line each.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from condensery.errors import SENTENCES, ResourceError
from condensery.utils.search_path import path_for_workers

from .cell import Cell, Job, Measured, OnEpoch
from .cell_files import write_cell

#: Larger training data stay where they are: one process reads them.
_LARGEST = 2 * 2**30


#: What a worker says of a network: its accuracy, epochs that are done, or why there will be none.
_Answer = tuple[Job, Measured | int] | BaseException


def measure_together(
    cell: Cell, jobs: Sequence[Job], on_epoch: OnEpoch | None = None
) -> Iterator[tuple[Job, Measured]]:
    """Train and test networks in the plan's processes; results come as they are ready.

    Args:
        cell: what is trained and tested.
        jobs: which networks.
        on_epoch: called now and then while networks are trained.

    Raises:
        ResourceError: when a process ends before its work does, mostly for lack of memory.
    """
    with tempfile.TemporaryDirectory(prefix="condensery-") as folder:
        write_cell(cell, Path(folder))
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        done: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        number = min(cell.plan.processes, len(jobs))
        with contextlib.ExitStack() as stack:
            for _ in range(number):
                worker = stack.enter_context(_process(Path(folder)))
                args = (worker, waiting, done)
                threading.Thread(target=_feed, args=args, daemon=True).start()
            left = len(jobs)
            while left:
                answer = done.get()
                if isinstance(answer, BaseException):
                    raise answer
                job, found = answer
                if isinstance(found, Measured):
                    left -= 1
                    yield job, found
                elif on_epoch is not None:
                    on_epoch(job, found)


def can_be_shared(cell: Cell) -> bool:
    """Whether processes can have the cell's data: they are on the host, and not too large."""
    held = cell.data.train if cell.row.whole else cell.data.test
    return cell.plan.device == "cpu" and held.images.nbytes <= _LARGEST


@contextlib.contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker, which ends with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Where this package and the modules of import paths lie, also for a process of its own.
    environment["PYTHONPATH"] = path_for_workers()
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "condensery.evaluation.worker", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,  # Ctrl-C is for us, and we end it
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()
        for stream in (worker.stdin, worker.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _feed(
    worker: subprocess.Popen[str],
    waiting: queue.SimpleQueue[Job],
    done: queue.SimpleQueue[_Answer],
) -> None:
    """Give a worker one job after another, and pass on what it says."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            print(json.dumps(job), file=worker.stdin, flush=True)
            while "epochs" in (answer := json.loads(worker.stdout.readline())):
                done.put((job, int(answer["epochs"])))
            if "error" in answer:
                done.put(SENTENCES[answer["error"]](answer["text"]))
                return
            done.put((job, Measured.of(answer)))
        except (OSError, ValueError, KeyError):
            code = worker.wait()
            done.put(
                ResourceError(
                    f"a process that trained networks ended early (exit {code}); if memory is "
                    "short, --threads 1 uses a single process"
                )
            )
            return
