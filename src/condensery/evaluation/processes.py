"""Processes that train and test networks beside each other, one thread each.

On CPUs compiled networks one after another, one process a core, are the fastest way; a process is
started as ``python -m condensery.evaluation.processes FOLDER`` and finds in the folder all that a
cell's numbers depend on: tensors as safetensors, which all processes map, and plain values as JSON.
It reads which networks to train from its input, and writes what they came to, a line each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from condensery.data import Data, LabelledSet
from condensery.errors import ResourceError
from condensery.runtime.plan import Plan
from condensery.sets.candidate import Candidate
from condensery.training.protocol import Protocol
from condensery.training.whole_split import WholeSchedule

from .cell import Cell, Measured
from .rows import Row

_TENSORS, _VALUES = "cell.safetensors", "cell.json"
#: Larger training data stay where they are: one process reads them.
_LARGEST = 2 * 2**30

#: A set's number in its row, and a network's number.
Job = tuple[int, int]


def measure_together(cell: Cell, jobs: Sequence[Job]) -> Iterator[tuple[Job, Measured]]:
    """Train and test networks in the plan's processes; results come as they are ready.

    Args:
        cell: what is trained and tested.
        jobs: which networks.

    Raises:
        ResourceError: when a process ends before its work does, for want of memory mostly.
    """
    with tempfile.TemporaryDirectory(prefix="condensery-") as folder:
        write_cell(cell, Path(folder))
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        done: queue.SimpleQueue[tuple[Job, Measured] | BaseException] = queue.SimpleQueue()
        number = min(cell.plan.processes, len(jobs))
        with contextlib.ExitStack() as stack:
            for _ in range(number):
                worker = stack.enter_context(_process(Path(folder)))
                args = (worker, waiting, done)
                threading.Thread(target=_feed, args=args, daemon=True).start()
            for _ in jobs:
                found = done.get()
                if isinstance(found, BaseException):
                    raise found
                yield found


def can_be_shared(cell: Cell) -> bool:
    """Whether processes can have the cell's data: they are on the host, and not too large."""
    held = cell.data.train if cell.row.whole else cell.data.test
    return cell.plan.device == "cpu" and held.images.nbytes <= _LARGEST


@contextlib.contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker, which ends with the block."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Where this package and the modules of import paths lie, also for a process of its own.
    environment["PYTHONPATH"] = os.pathsep.join([p or str(Path.cwd()) for p in sys.path])
    worker = subprocess.Popen(
        [sys.executable, "-m", "condensery.evaluation.processes", str(folder)],
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
    done: queue.SimpleQueue[tuple[Job, Measured] | BaseException],
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
            answer = json.loads(worker.stdout.readline())
            done.put((job, Measured(float(answer["accuracy"]), float(answer["seconds"]))))
        except (OSError, ValueError, KeyError):
            code = worker.wait()
            done.put(
                ResourceError(
                    f"a process that trained networks ended before its work did (exit {code}); "
                    "where memory is short, --threads 1 takes one process"
                )
            )
            return


def write_cell(cell: Cell, folder: Path) -> None:
    """All that the cell's numbers depend on, in a folder."""
    tensors: dict[str, Tensor] = {}
    data, row = cell.data, cell.row

    def split(name: str, held: LabelledSet) -> dict[str, Any]:
        tensors[f"{name}.images"], tensors[f"{name}.labels"] = held.images, held.labels
        return {
            "class_names": held.class_names,
            "mean": held.mean,
            "std": held.std,
            "name": held.name,
            "fingerprint": held.fingerprint,
        }

    sets = []
    for number, one in enumerate(row.sets):
        tensors[f"{number}.images"], tensors[f"{number}.labels"] = one.images, one.labels
        names = ("mean", "std", "method", "ipc", "stored_bytes", "decoded")
        sets.append({name: getattr(one, name) for name in names})
    values = {
        "train": split("train", data.train) if row.whole else None,
        "test": split("test", data.test),
        "sets": sets,
        "row": {"name": row.name, "whole_epochs": row.whole_epochs},
        "data": {"name": data.name, "spec": data.spec, "flip": data.flip, "net": data.net},
        "net": cell.net,
        "asked": cell.asked,
        "training": dataclasses.asdict(cell.training),
        "steps": cell.schedule.steps if cell.schedule else None,
        "plan": {**cell.plan.as_dict(), "processes": 1},
        "seed": cell.seed,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, folder / _TENSORS)
    (folder / _VALUES).write_text(json.dumps(values), encoding="utf-8")


def read_cell(folder: Path) -> Cell:
    """What :func:`write_cell` wrote."""
    values = json.loads((folder / _VALUES).read_text(encoding="utf-8"))
    tensors = load_file(folder / _TENSORS)

    def split(name: str) -> LabelledSet:
        held: Any = {k: _tupled(v) for k, v in values[name].items()}
        return LabelledSet(tensors[f"{name}.images"], tensors[f"{name}.labels"], **held)

    sets = []
    for number, one in enumerate(values["sets"]):
        facts: Any = {k: _tupled(v) for k, v in one.items()}
        images, labels = tensors[f"{number}.images"], tensors[f"{number}.labels"]
        sets.append(Candidate(images, labels, **facts))
    test = split("test")
    training = Protocol(**values["training"])
    return Cell(
        row=Row(sets=tuple(sets), **values["row"]),
        data=Data(split("train") if values["train"] else test, test, **values["data"]),
        net=values["net"],
        code=None,
        asked=values["asked"],
        training=training,
        schedule=WholeSchedule(training, values["steps"]) if values["steps"] else None,
        plan=Plan(**values["plan"]),
        seed=values["seed"],
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def serve(folder: Path, jobs: IO[str], answers: IO[str]) -> None:
    """Train and test the networks that are asked for, until nobody asks any more."""
    from condensery.runtime.malloc import keep_memory

    from .evaluator import Bench

    keep_memory()
    bench = Bench(read_cell(folder))
    for line in jobs:
        number, network = json.loads(line)
        found = bench.measure(number, network)
        print(json.dumps(dataclasses.asdict(found)), file=answers, flush=True)


if __name__ == "__main__":
    _answers, sys.stdout = sys.stdout, sys.stderr  # what anything else prints is no answer
    try:
        serve(Path(sys.argv[1]), sys.stdin, _answers)
    except (BrokenPipeError, KeyboardInterrupt):  # nobody waits for an answer any more
        os._exit(1)
