"""Two processes make the set that one makes, and stop, go on and fail together."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from condensery import CondensedSet, UsageError
from condensery.cli.main import main
from condensery.condensation.loop import Condenser
from condensery.methods.objectives import MeanFeatures
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.runtime.distributed import ALONE, Ranks, check_device, share
from condensery.runtime.plan import default_threads, exact_plan, processors
from condensery.runtime.torchrun import check_alone, launched, launched_here
from condensery.utils.checkpoint import load_state
from tests.condensation import ranks_job
from tests.condensation.ranks_job import CASES, STOPPED, condenser, finished
from tests.conftest import tiny
from tests.programs import Program

#: One worker starts the processes that all of these tests look at.
pytestmark = pytest.mark.xdist_group("forked")


def started(does: Callable[..., Any], *given: Any, **more: str) -> list[Program]:
    """The function in two processes, with the environment that torchrun gives them, and more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "CUDA_VISIBLE_DEVICES": "",
        **more,
    }
    return [
        Program(does, *given, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]


def ended(processes: list[Program]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    try:
        texts = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [int(process.returncode or 0) for process in processes]
    return [(code, *text) for code, text in zip(codes, texts, strict=True)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes made of every case."""
    folder = tmp_path_factory.mktemp("together")
    data = tiny()
    settings = pool_settings(data, "convnet2:width=4", epochs=1, batch=8, held_out=0.25)
    train_pool(data, settings, 2, folder / "pool", plan=exact_plan("cpu", 1))
    first, second = ended(started(ranks_job.main, folder))
    assert first[0] == 0, first[2] + second[2]
    assert second[0] == -signal.SIGKILL, first[2] + second[2]  # its own last act
    return folder


def agree(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    torch.testing.assert_close(found["stored"], expected["stored"], rtol=tolerance, atol=tolerance)
    for name, weight in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=tolerance, atol=tolerance)
    assert found["loss"] == pytest.approx(expected["loss"], rel=tolerance)
    assert found["supply"] == expected["supply"]
    assert found["iteration"] == expected["iteration"]
    assert found["converged"] == expected["converged"]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_take_the_steps_of_one(together: Path, name: str) -> None:
    case = CASES[name]
    alone = condenser(case, together)
    start = alone.stored.detach().clone()
    expected = finished(alone)
    assert (expected["stored"] - start).abs().mean() > 1e-6, "the steps must move the pixels"
    agree(load_state(together / f"{name}.safetensors"), expected, case.tolerance)


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_goes_on_with_any_number_of_processes(together: Path, name: str) -> None:
    case = CASES[name]
    expected = finished(condenser(case, together))
    for which in ("stopped", "stopped alone"):
        agree(load_state(together / f"{name}, {which}, went on.safetensors"), expected, 1e-8)
    run = condenser(case, together)
    run.load_state(load_state(together / f"{name}, stopped.safetensors"))
    agree(finished(run), expected, 1e-8)


def test_a_checkpoint_does_not_tell_how_many_wrote_it(together: Path) -> None:
    for name in STOPPED:
        two = load_state(together / f"{name}, stopped.safetensors")
        one = load_state(together / f"{name}, stopped alone.safetensors")
        assert shapes(two) == shapes(one)


def shapes(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: shapes(item) for name, item in tree.items()}
    return tuple(tree.shape) if isinstance(tree, torch.Tensor) else type(tree)


def test_what_is_told_arrives_and_is_counted(together: Path) -> None:
    both = [load_state(together / f"told {rank}.safetensors") for rank in range(2)]
    for rank, found in enumerate(both):
        # Two ranks: a sum of b bytes brings b, and gathering what the other one has.
        assert found["gather"]["value"].tolist() == [[0.0] * 2, [1.0] * 2, [1.0] * 2]
        assert found["gather"]["traffic"] == 4 * 2 * 2  # the shorter part is filled up
        assert found["gather_classes"]["value"].tolist() == [[1.0] * 3, [2.0] * 3, [2.0] * 3]
        assert found["gather_classes"]["traffic"] == 4 * 2 * 3
        assert found["sum"]["value"].tolist() == [3.0] * 4 + [0.0, 2.0, 4.0]
        assert found["sum"]["traffic"] == 4 * 7
        assert found["most"] == {"value": [1, 5], "traffic": 16}
        assert found["any"]["value"] == [True, False]
        assert found["copy_of_first"]["value"].tolist() == [0.0] * 10
        assert found["copy_of_first"]["traffic"] == (4 * 10 if rank else 0)
        assert found["word_of_first"]["value"] == {"rank": 0, "ä": [None]}
        assert found["agree"] == "they differ"
    assert both[0]["whole"] == [0.0, 0.0, 1.0, 1.0]
    assert both[1]["whole"] is None


def test_steps_exchange_no_more_than_they_need(together: Path) -> None:
    def traffic(name: str) -> float:
        return float(load_state(together / f"{name}.safetensors")["traffic"])

    report = 8 + 2 * 8  # a loss in float64, and twice whether all is finite
    assert traffic("dm") == traffic("mmd") == report  # classes that nothing ties
    run = condenser(CASES["dm_bn"], together)
    most = 2  # the larger share of three classes
    assert traffic("dm_bn") == report + 2 * most * run.stored[0].nbytes
    # A step of gm_inter: the two mean gradients; between steps the stored images, and an SGD
    # step's gradient for each of two epochs of one mini-batch.
    run = condenser(CASES["gm_inter"], together)
    network = run.supply.new(0)
    shapes = [weight.shape for weight in network.parameters()]
    matched = sum(shape.numel() for shape in shapes if len(shape) > 1)
    learned = sum(shape.numel() for shape in shapes)
    steps = 2
    trained = most * run.stored[0].nbytes + 2 * 8 * learned
    assert traffic("gm_inter") == report + steps * 2 * 8 * matched + (steps - 1) * trained


def test_a_lost_process_ends_the_others_with_a_sentence(together: Path) -> None:
    said = (together / "lost").read_text()
    # The first to fail speaks, once.
    assert said.startswith("True False another process of this job has ended")
    assert "run the same command again to continue from the last" in said
    assert "\n" not in said
    assert "pytorch/" not in said


def until(condition: Any, processes: list[Program]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert all(process.poll() is None for process in processes), ended(processes)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_command_stops_everywhere_and_goes_on_alone(tmp_path: Path) -> None:
    data = tiny((30, 30, 30)).train
    np.savez(tmp_path / "own.npz", images=data.images.numpy(), labels=data.labels.numpy())

    def words(out: Path) -> list[str]:
        own = str(tmp_path / "own.npz")
        plain = ["--data", own, "--plan", "exact", "--threads", "1", "--real-batch", "16"]
        small = ["--ipc", "1", "--iterations", "12", "--supply.net", "convnet1:width=4"]
        small += ["--objective.kind", "tests.slow_objective:Slow"]
        return ["condense", *plain, *small, "--out", str(out), "--json", str(tmp_path / "result")]

    run, metrics = tmp_path / "run", tmp_path / "run" / "metrics.jsonl"
    processes = started(main, words(run), SECONDS_A_STEP="0.2")
    until(lambda: metrics.exists() and metrics.stat().st_size, processes)
    processes[1].terminate()  # one of them is enough
    (code, said, errors), (other, silent, nothing) = ended(processes)
    assert (code, other) == (143, 143), errors + nothing
    assert "processes: 2, 1 or 2 classes each" in said
    assert f"stopped by SIGTERM; the same command continues {run}" in errors
    assert (silent, nothing) == ("", "")
    facts = json.loads((run / "run.json").read_text())
    assert (facts["status"], facts["ranks"]) == ("unfinished", 2)
    # A step's word about stopping, and a loss: the images alone are 768 bytes.
    assert 16 <= facts["traffic_bytes_per_step"] < 80
    assert main(words(run)) == 0
    assert main(words(tmp_path / "alone")) == 0
    found, expected = (CondensedSet.load(tmp_path / name) for name in ("run", "alone"))
    torch.testing.assert_close(found.stored, expected.stored, rtol=1e-2, atol=1e-2)
    assert found.about == expected.about
    lines = [json.loads(line)["iteration"] for line in metrics.read_text().splitlines()]
    assert lines == sorted(set(lines))
    assert lines[-1] == 12


@pytest.mark.parametrize("world", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("total", [64, 100, 1000])
def test_shares_are_even_and_cover_everything(total: int, world: int) -> None:
    parts = [share(total, rank, world) for rank in range(world)]
    assert [c for part in parts for c in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_exchanges_nothing() -> None:
    part = torch.ones(3, 2)
    assert ALONE.gather_classes(part, 3) is part
    ALONE.all_reduce_sum(part)
    ALONE.broadcast(part)
    ALONE.wait()
    assert ALONE.all_reduce_max(4, 0) == (4, 0)
    assert ALONE.broadcast_object("x") == "x"
    assert ALONE.local_rank_first(lambda: 3) == 3
    whole = ALONE.whole(part, 3, everywhere=True)
    assert whole is not None
    assert torch.equal(whole, part)
    assert whole is not part
    assert ALONE.traffic == 0
    assert ALONE.owned(10) == range(10)


def test_more_processes_than_classes_are_refused() -> None:
    assert Ranks(9, 10).owned(10) == range(9, 10)
    with pytest.raises(UsageError, match=r"10 classes .* 11 processes; use --nproc-per-node"):
        Ranks(0, 11).owned(10)


@dataclasses.dataclass
class Remembering(MeanFeatures):
    """An objective that keeps something of the classes from step to step."""

    def state(self) -> dict[str, Any]:
        return {"mean": 0.0}


def test_an_objective_that_remembers_is_refused(tmp_path: Path) -> None:
    config = condenser(CASES["dm"], tmp_path).config
    choice = type(config.objective)("tests.condensation.test_ranks:Remembering", {})
    remembering = dataclasses.replace(config, objective=choice)
    with pytest.raises(UsageError, match=r"Remembering keeps per-class state.* without torchrun"):
        Condenser(tiny(), remembering, exact_plan("cpu", 1), Ranks(0, 2))


def launch(monkeypatch: pytest.MonkeyPatch, **given: str) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", **given}.items():
        monkeypatch.setenv(name, value)


def test_other_commands_are_refused_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launch(monkeypatch, RANK="0")
    assert main(["data", "digits"]) == 2
    assert "data runs in one process" in capsys.readouterr().err
    launch(monkeypatch, RANK="1")
    assert main(["data", "digits"]) == 2
    with pytest.raises(SystemExit):
        main(["condense", "--ipcc", "1"])
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_alone("data")


def test_the_launcher_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (launched(), launched_here()) == (1, 1)  # some systems set it alone
    launch(monkeypatch, WORLD_SIZE="8", LOCAL_WORLD_SIZE="4")
    assert (launched(), launched_here()) == (8, 4)
    assert default_threads() == max(1, processors() // 4)
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE must be a number"):
        launched()


def test_one_gpu_for_all_is_refused() -> None:
    check_device("cuda:1", ALONE)
    check_device("cuda", Ranks(0, 2))
    with pytest.raises(UsageError, match="use --device cuda to give each its own"):
        check_device("cuda:0", Ranks(0, 2))
