"""Two processes share a pool's networks: the files are those of one process."""

from __future__ import annotations

import dataclasses
import hashlib
import signal
from pathlib import Path
from typing import Any

import pytest

from condensery.cli.main import main
from condensery.data import load
from condensery.methods.pools.networks import PoolTraining
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.runtime.distributed import Ranks
from condensery.runtime.plan import exact_plan
from condensery.utils.checkpoint import Every
from condensery.utils.progress import Progress
from condensery.utils.signals import Interrupted
from tests.condensation.test_ranks import ended, started

#: One worker has the parent that programs are forked from.
pytestmark = pytest.mark.xdist_group("forked")

_WORDS = ["--net", "convnet2:width=4", "--epochs", "2", "--snapshots", "1", "2", "--batch", "256"]
_HOW = ["--data", "digits", "--plan", "exact", "--threads", "1"]


def files_of(pool: Path) -> dict[str, str]:
    """Every file of weights, and the index, by its content."""
    held = [pool / "pool.json", *sorted((pool / "networks").iterdir())]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in held}


def test_two_processes_continue_each_others_networks(tmp_path: Path) -> None:
    """Three networks: two were stopped where two processes had got to, and one was not begun."""
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["pool", *_HOW, *_WORDS, "--count", "3"]
    assert main([*words, "--out", str(one), "--quiet"]) == 0
    _stopped_by_two(two)
    kept = written(two)
    results = ended(started(main, [*words, "--out", str(two)]))
    assert [code for code, *_ in results] == [0, 0], results
    assert "6 snapshots" in results[0][1]
    assert results[1][1] == ""  # the first process speaks for both
    assert files_of(two) == files_of(one)
    assert {name: written(two)[name] for name in kept} == kept, "nothing was trained twice"
    assert not [p for p in (two / "checkpoints").rglob("*") if p.suffix == ".safetensors"]


def written(pool: Path) -> dict[str, int]:
    """When every snapshot was written."""
    return {file.name: file.stat().st_mtime_ns for file in (pool / "networks").iterdir()}


class _StopsAfterAnEpoch(Progress):
    """A signal comes when the first epoch is over."""

    def __init__(self, stops: list[int]) -> None:
        super().__init__(4, "epochs", quiet=True)
        self.stops = stops

    def advance(self, *_: Any, **__: Any) -> None:
        self.stops.append(signal.SIGTERM)


def _stopped_by_two(out: Path) -> None:
    """A pool whose first network has one epoch behind it, and whose second is finished."""
    data, plan, stops = load("digits"), exact_plan("cpu", 1), list[int]()
    settings = pool_settings(data, "convnet2:width=4", epochs=2, snapshots=[1.0, 2.0], batch=256)
    pool = train_pool(data, settings, 1, out, plan=plan)  # writes the index and the plan
    for made in pool.snapshots:
        (out / made.file).unlink()
    pool = dataclasses.replace(pool, snapshots=())
    pool.write()
    training = PoolTraining(data, settings, plan, pool, Every.parse("1it"))
    with pytest.raises(Interrupted):
        training.network(0, None, stops, _StopsAfterAnEpoch(stops), Ranks(0, 2))
    training.network(1, None, [], Progress(4, "epochs", quiet=True), Ranks(1, 2))
    states = sorted(p.relative_to(out).as_posix() for p in out.rglob("state.safetensors"))
    assert states == ["checkpoints/0001/state.safetensors", "checkpoints/state.safetensors"]
