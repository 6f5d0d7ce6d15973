"""The queue of long jobs: it goes on after failures and limits, and where it ended before."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "gpu"))

import pack  # noqa: E402
import state  # noqa: E402
from jobs import Job, jobs, tiny  # noqa: E402
from run import left, work_through  # noqa: E402
from working import Clock  # noqa: E402

from tests.programs import FORKING  # noqa: E402

sys.path.remove(str(ROOT / "benchmarks" / "gpu"))

#: Objectives of the tests' own: one that fails, and one that is slow until a file says otherwise.
OBJECTIVES = """
import os
import time
from dataclasses import dataclass
from typing import Any

from condensery.nets import embed


@dataclass(kw_only=True)
class Slow:
    separable = True
    additive = True
    single = False
    passes = 1.0

    def compiles(self, network: Any) -> bool:
        return False

    def levels(self, step: Any) -> tuple[float, float]:
        return 1.0, 0.0

    def statistic(self, network: Any, images: Any, labels: Any, weights: Any) -> Any:
        return weights @ embed(network, images).to(weights.dtype)

    def compare(self, real: Any, synthetic: Any, step: Any) -> Any:
        if not os.path.exists(os.environ["QUICK"]):
            time.sleep(0.5)
        return (real - synthetic).square().sum()

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass


@dataclass(kw_only=True)
class Broken(Slow):
    def compare(self, real: Any, synthetic: Any, step: Any) -> Any:
        raise RuntimeError("as planned")
"""


def _condense(name: str, kind: str, iterations: int, limit_s: float) -> Job:
    argv = ("condense", "--recipe", "dm", "--data", "digits", "--ipc", "1", "--real-batch", "8")
    more = ("--supply.net", "mlp", "--objective.kind", kind, "--iterations", str(iterations))
    places = ("--device", "{device}", "--out", f"{{work}}/runs/{name}")
    return Job(
        name=name, commands=((*argv, *more, *places),), group=name, seconds=1, limit_s=limit_s
    )


def _records(out: Path) -> dict[str, dict[str, Any]]:
    return {one["job"]: one for one in state.read_records(out / "results.jsonl")}


@pytest.mark.xdist_group("forked")
def test_the_queue_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planned.py").write_text(OBJECTIVES, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("QUICK", str(tmp_path / "quick"))
    row = next(tiny(job) for job in jobs() if job.name == "dc/table1/mnist/1/random")
    slow = _condense("slow", "planned:Slow", 60, 8)
    listed = [row, slow, _condense("broken", "planned:Broken", 3, 60)]

    work_through(listed, out=tmp_path / "first", minutes=3, device="cpu")
    found = _records(tmp_path / "first")
    assert {name: one["status"] for name, one in found.items()} == {
        row.name: "done",
        "slow": "stopped",
        "broken": "failed",
    }
    assert found["slow"]["code"] == 130  # by itself, with a checkpoint
    assert "RuntimeError: as planned" in found["broken"]["traceback"]
    (numbers,) = found[row.name]["numbers"]
    assert numbers["n"] == len(numbers["accuracies"]) == 1
    assert numbers["protocol"] == "dc+epochs=2"
    assert found[row.name]["torch"]
    with tarfile.open(tmp_path / "first" / "state-1.tar") as held:
        names = held.getnames()
        metrics = held.extractfile("runs/slow/metrics.jsonl")
        assert metrics is not None
        begun = metrics.read().decode().splitlines()
    assert "runs/slow/checkpoints/state.safetensors" in names
    assert any(name.startswith("reproduce/results/dc/table1/") for name in names)
    assert not any(name.startswith("cache/data") for name in names)

    (tmp_path / "quick").touch()
    # The second visit's worker need not be started as the first one's was.
    monkeypatch.setattr("processes.subprocess", FORKING)
    listed[1] = dataclasses.replace(slow, limit_s=120)
    more = work_through(
        listed,
        out=tmp_path / "second",
        minutes=3,
        device="cpu",
        state=tmp_path / "first",
        work=tmp_path / "work",
    )
    found = _records(tmp_path / "second")
    assert {name: one["status"] for name, one in found.items()} == {
        "slow": "done",
        "broken": "failed",
    }
    assert more.statuses == {"done": 1, "failed": 1}
    lines = (tmp_path / "work" / "runs" / "slow" / "metrics.jsonl").read_text().splitlines()
    seen = [json.loads(line) for line in lines]
    assert [one["iteration"] for one in seen] == list(range(1, 61))
    # It was gone on with, not begun again.
    assert lines[: len(begun)] == begun
    assert 0 < len(begun) < 60
    known = state.read_records(tmp_path / "work" / state.RECORDS)
    assert [one["job"] for one in known].count("slow") == 2
    assert [job.name for job in left(listed, known, "cpu")] == ["broken"]


def test_every_row_can_be_run() -> None:
    listed = jobs()
    assert len({job.name for job in listed}) == len(listed)
    assert len({job.key("cuda") for job in listed}) == len(listed)
    first = [job.row for job in listed[:6]]
    assert first[0] == ("gm/table1", "mnist/1/gm_inter")
    assert first[5] == ("dc/table1", "mnist/1/dc")
    assert all(job.limit_s >= 120 for job in listed)
    assert all(job.commands[-1].count("{json}") == 1 for job in listed)


def test_a_key_names_the_result_and_not_the_place() -> None:
    one = _condense("a", "mean_features", 3, 5)
    assert one.key("cuda") == one.key("cuda:0") == _condense("b", "mean_features", 3, 9).key("cuda")
    assert one.key("cuda") != one.key("cpu")
    assert one.key("cuda") != _condense("a", "mean_features", 4, 5).key("cuda")


@pytest.mark.parametrize("minutes", [0.5, 1.0, 6.0, 10.0])
def test_everything_ends_in_time(minutes: float) -> None:
    clock = Clock(0.0, 60 * minutes)
    assert clock.stop > 30 * minutes
    assert clock.seconds - clock.stop - clock.grace >= min(15.0, 60 * minutes / 8)


def test_the_largest_checkpoint_finds_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "ROOM", 20_000)
    for number, size in enumerate((4_000, 12_000, 30_000)):
        folder = tmp_path / "work" / "runs" / str(number)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "recipe.yaml").write_text("recipe: dm\n", encoding="utf-8")
        (folder / "checkpoints" / "state.safetensors").write_bytes(bytes(size))
        (folder / "checkpoints" / "state-before.safetensors").write_bytes(bytes(size))
    results = tmp_path / "work" / "reproduce" / "results" / "dc"
    results.mkdir(parents=True)
    (results / "row.json").write_text('{"commit": null}', encoding="utf-8")
    (tmp_path / "out").mkdir()
    missing = state.pack(tmp_path / "work", tmp_path / "out", "abc")
    assert [name.partition(" ")[0] for name in missing] == ["runs/2"]
    state.unpack(tmp_path / "out", tmp_path / "again")
    assert (tmp_path / "again" / "runs" / "1" / "checkpoints" / "state.safetensors").exists()
    assert not list((tmp_path / "again").rglob("state-before*"))
    row = tmp_path / "again" / "reproduce" / "results" / "dc" / "row.json"
    assert json.loads(row.read_text())["commit"] == "abc"


def test_a_tar_cannot_write_elsewhere(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "state-1.tar", "w") as held:
        held.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    with pytest.raises(tarfile.OutsideDestinationError):
        state.unpack(tmp_path, tmp_path / "work")


def _wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as held:
        held.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")


def test_wheels_are_complete(tmp_path: Path) -> None:
    _wheel(tmp_path, "dill", "0.4.1")
    _wheel(tmp_path, "multiprocess", "0.70.19", "dill>=0.4.1", 'rare; extra == "more"')
    assert pack.unmet(tmp_path, ["numpy>=1.26", "multiprocess"]) == []
    _wheel(tmp_path, "datasets", "5.2.0", "dill<0.4", "absent", 'old; python_version < "3.11"')
    assert pack.unmet(tmp_path, ["numpy<2"]) == [
        "condensery requires numpy<2; there: 2.5.2",
        *("datasets requires dill<0.4; there: 0.4.1", "datasets requires absent; there: nothing"),
    ]


def test_versions_come_from_the_constraints() -> None:
    versions = dict(one.split("==") for one in pack.wanted())
    constraints = pack.constrained((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert versions["datasets"] == constraints["datasets"]
    assert versions["docstring_parser"] == constraints["docstring-parser"]
    assert all(versions.values())
