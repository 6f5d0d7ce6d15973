"""Networks in several processes come to the same numbers as one after another."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import os
import queue
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from condensery import CondensedSet, evaluate, nets, select_random
from condensery.augment import Strategy
from condensery.augment.training import augment_batch, augment_each
from condensery.data import Data
from condensery.errors import DivergedError, ResourceError
from condensery.evaluation import processes, worker
from condensery.evaluation.cell_files import read_cell, write_cell
from condensery.evaluation.evaluator import Evaluator, measure_all
from condensery.evaluation.processes import can_be_shared, measure_together
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.protocol import Protocol
from condensery.utils.search_path import without_current_folder
from tests.programs import FORKING, Forked
from tests.utils.test_search_path import plant

ALONE = exact_plan("cpu", 1)
TOGETHER = dataclasses.replace(ALONE, processes=2)
SHORT: Any = {"network": "convnet1:width=4", "protocol": "dsa", "epochs": 3, "repeats": 3}


def _sets(data: Data) -> list[CondensedSet]:
    return [select_random(data, ipc=2, seed=seed) for seed in range(2)]


class Own(nn.Module):
    """A network by import path."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels * size * size, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classifier(images.flatten(1))
        return out


@pytest.mark.xdist_group("forked")
def test_processes_change_no_number(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    # Cells of the whole split are written and read below.
    monkeypatch.setattr("condensery.evaluation.processes.subprocess", FORKING)
    rows: dict[str, Any] = {"picked": _sets(tiny_data)}
    alone = evaluate(rows, tiny_data, plan=ALONE, **SHORT)
    told: list[float] = []
    together = evaluate(
        rows, tiny_data, plan=TOGETHER, on_network=lambda _, found: told.append(found), **SHORT
    )
    for one, other in zip(alone, together, strict=True):
        assert one.sets == other.sets
        assert one.plan != other.plan
    assert sorted(told) == sorted(a for row in together for a in row.accuracies)
    assert len({a for row in alone for a in row.accuracies}) > 2


def test_a_cell_comes_back_as_it_was(tiny_data: Data, tmp_path: Path) -> None:
    for item in (Row.named("x", _sets(tiny_data), tiny_data), Row.of("whole(epochs=1)", tiny_data)):
        cell = cell_of(item, tiny_data, "mlp", "dc", EvaluationSettings(2, plan=TOGETHER))
        folder = tmp_path / item.name
        folder.mkdir()
        write_cell(cell, folder)
        again = read_cell(folder)
        assert again.training == cell.training
        assert again.schedule == cell.schedule
        assert again.plan == ALONE
        for number in range(item.count):
            held, found = cell.facts(number), again.facts(number)
            assert {**held, "plan": ""} == {**found, "plan": ""}
            assert (
                Evaluator(again).measure(number, 1).accuracy
                == Evaluator(cell).measure(number, 1).accuracy
            )


@pytest.mark.parametrize(
    "at_once", [True, pytest.param(False, marks=pytest.mark.slow, id="in its work")]
)
def test_a_worker_that_dies_is_told(
    at_once: bool, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row.named("x", _sets(tiny_data), tiny_data)
    cell = cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2, plan=TOGETHER))
    begun: list[Any] = []
    begin = subprocess.Popen

    def noting(*arguments: Any, **named: Any) -> Any:
        program = [[sys.executable, "-S", "-c", ""]] if at_once else arguments
        begun.append(begin(*program, **named))
        return begun[-1]

    monkeypatch.setattr("condensery.evaluation.processes.subprocess.Popen", noting)
    results = measure_together(cell, [(0, k) for k in range(40)])
    if not at_once:
        next(results)
        for worker in begun:
            os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(ResourceError, match="--threads 1 uses a single process"):
        list(results)
    assert len(begun) == 2
    assert all(worker.poll() is not None for worker in begun)


def test_a_worker_takes_the_network_of_the_current_folder_and_nothing_else(
    tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started as users start it; modules of the folder that it imports would tell."""
    plant(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    lines = [line for line in inspect.getsource(Own).splitlines() if "torch.Tensor" not in line]
    code = "\n".join(lines[:-1]) + "\n    def forward(self, images):\n"
    code += "        return self.classifier(images.flatten(1))\n"
    (tmp_path / "net_of_this_folder.py").write_text(f"from torch import nn\n\n\n{code}")
    row = Row.named("x", _sets(tiny_data), tiny_data)
    with without_current_folder():  # as the command has it
        how = EvaluationSettings(2, plan=TOGETHER)
        cell = cell_of(row, tiny_data, "net_of_this_folder:Own", "dc", how)
        ((job, measured),) = measure_together(cell, [(0, 0)])
        assert measured.accuracy == Evaluator(cell).measure(*job).accuracy
    assert not (tmp_path / "RAN").exists()


@pytest.mark.xdist_group("forked")
def test_leaving_early_ends_the_workers(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Forked] = []

    class Noted(Forked):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            begun.append(self)

    forking = SimpleNamespace(Popen=Noted, PIPE=subprocess.PIPE)
    monkeypatch.setattr("condensery.evaluation.processes.subprocess", forking)
    row = Row.named("x", _sets(tiny_data), tiny_data)
    cell = cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2, plan=TOGETHER))
    results = measure_all(cell, [(0, k) for k in range(9)])
    (number, network), measured = next(results)
    results.close()  # type: ignore[attr-defined]
    ended = [worker.poll() for worker in begun]
    # The parent of forked ones says 255 of one whose end it did not see itself.
    assert len(ended) == 2
    assert set(ended) <= {-signal.SIGKILL, 255}
    assert measured.accuracy == Evaluator(cell).measure(number, network).accuracy


def test_the_plan_of_reported_numbers(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Automatic plans share cores out; a plan of one's own is obeyed."""
    half = Plan(name="auto", threads=2, compile=True, chunk=8, update_dtype="bfloat16")
    monkeypatch.setattr("condensery.evaluation.run.choose_plan", lambda plan, **_: half)
    row = Row.of("whole(epochs=1)", tiny_data)
    small = cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2)).plan
    assert (small.processes, small.threads) == (1, 2)  # starting them would take longer
    # Five networks: three passes an image and epoch, and the test split.
    # Images of 8×8 count a quarter of those of 32×32, and a step as much as eight of these.
    work = 5 * (3 * len(tiny_data.train) + len(tiny_data.test)) / 4 + 8 * 5 * 1
    monkeypatch.setattr("condensery.evaluation.plan._PROCESSES_PAY", work + 0.01)
    assert cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2)).plan.processes == 1
    monkeypatch.setattr("condensery.evaluation.plan._PROCESSES_PAY", work)
    found = cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2)).plan
    assert (found.processes, found.threads, found.update_dtype) == (2, 1, "bfloat16")
    assert found.chunk == 512  # 32 images of 32×32 to a thread, and these are of 8×8
    assert "2 processes" in found.describe()
    own = cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2, plan=half)).plan
    assert (own.processes, own.threads, own.update_dtype) == (1, 2, "bfloat16")
    eager = dataclasses.replace(half, compile=False, update_dtype="float32")
    monkeypatch.setattr("condensery.evaluation.run.choose_plan", lambda plan, **_: eager)
    assert cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2)).plan.processes == 2
    monkeypatch.setattr("condensery.evaluation.processes._LARGEST", 0)
    cell = cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(2))
    assert not can_be_shared(cell)
    assert (cell.plan.processes, cell.plan.threads) == (1, 2)


def _grown(evaluator: Evaluator, network: nn.Module, number: int) -> list[torch.Tensor]:
    """The weights of a copy of a network after its training as the evaluator would."""
    copied = copy.deepcopy(network)
    with evaluator.cell.plan.applied():
        evaluator.trainer.train(copied, evaluator._source(0), number)
    return list(copied.parameters())


def _plainly_grown(
    network: nn.Module, number: int, one: CondensedSet, training: Protocol, strategy: Strategy
) -> nn.Module:
    """The same in a plain loop: SGD by epochs and batches, with the augmentation's functions."""
    kinds: dict[str, Any] = {"batch_op": augment_batch, "image_op": augment_each}
    augment = kinds.get(training.augmentation, lambda images, rng, strategy: images)
    grown = copy.deepcopy(network).train()
    sgd = torch.optim.SGD(grown.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(training.epochs):
        for group in sgd.param_groups:
            group["lr"] = 0.05 if epoch < training.epochs // 2 else 0.005
        rng = stream(0, "training", number, epoch)
        order = rng.permutation(len(one))
        for rows in np.split(order, range(training.batch, len(one), training.batch)):
            sgd.zero_grad()
            picked = torch.from_numpy(rows)
            logits = grown(augment(one.images[picked], rng, strategy))
            nn.functional.cross_entropy(logits, one.labels[picked]).backward()
            sgd.step()
    return grown


@pytest.mark.parametrize("kind", ["none", "batch_op", "image_op"])
def test_training_is_the_plain_loop(kind: str, tiny_data: Data) -> None:
    """Weights and accuracy are those of the loop written here once more, draw by draw."""
    (one, _) = _sets(tiny_data)
    row = Row.named("x", [one], tiny_data)
    cell = cell_of(row, tiny_data, "convnet1:width=4", "dc", EvaluationSettings(1, plan=ALONE))
    training = Protocol(name="plain", epochs=4, batch=4, rate=0.05, augmentation=kind)  # type: ignore[arg-type]
    evaluator = Evaluator(dataclasses.replace(cell, training=training))
    with fork_rng(0, "evaluation-network", 5):
        network = nets.build(cell.net, tiny_data.train.shape, tiny_data.train.classes)
    plain = _plainly_grown(network, 5, one, training, evaluator.trainer.augmented.strategy)
    for found, wanted in zip(_grown(evaluator, network, 5), plain.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    test = tiny_data.test
    with torch.no_grad():
        right = (plain.eval()(test.normalised()).argmax(1) == test.labels).float().mean()
    assert evaluator.measure(0, 5).accuracy == pytest.approx(100 * float(right), abs=1e-4)


@pytest.mark.parametrize("kind", ["batch_op", "image_op"])
def test_networks_draw_augmentations_of_their_own(kind: str, tiny_data: Data) -> None:
    """From one initialisation, in one batch, so that nothing but the augmentation differs."""
    (one, _) = _sets(tiny_data)
    cell = cell_of(
        Row.named("x", [one], tiny_data),
        tiny_data,
        "convnet1:width=4",
        "dc",
        EvaluationSettings(1, plan=ALONE),
    )
    network = nets.build(cell.net, tiny_data.train.shape, tiny_data.train.classes)

    def weights(augmentation: str, number: int) -> torch.Tensor:
        plain = Protocol(name="plain", epochs=1, batch=len(one), rate=0.05)
        training = dataclasses.replace(plain, augmentation=augmentation)  # type: ignore[arg-type]
        evaluator = Evaluator(dataclasses.replace(cell, training=training))
        return torch.cat([w.detach().flatten() for w in _grown(evaluator, network, number)])

    # Order within the one batch is nothing but rounding.
    torch.testing.assert_close(weights("none", 0), weights("none", 1), rtol=1e-4, atol=1e-6)
    assert torch.equal(weights(kind, 0), weights(kind, 0))
    assert float((weights(kind, 0) - weights(kind, 1)).abs().max()) > 1e-4


def test_a_mistake_that_a_process_finds_is_told_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def __init__(self, *_: object) -> None: ...

        def measure(self, *_: int) -> None:
            raise DivergedError("network 1 produced NaN")

    monkeypatch.setattr(worker, "Evaluator", Wrong)
    monkeypatch.setattr(worker, "read_cell", lambda folder: None)
    monkeypatch.setattr(worker, "keep_memory", lambda: None)
    answers = io.StringIO()
    worker.serve(tmp_path, io.StringIO("[0, 1]\n[0, 2]\n"), answers)
    process: Any = SimpleNamespace(stdin=io.StringIO(), stdout=io.StringIO(answers.getvalue()))
    waiting: Any = queue.SimpleQueue()
    done: Any = queue.SimpleQueue()
    waiting.put((0, 1))
    waiting.put((0, 2))
    processes._feed(process, waiting, done)
    found = done.get_nowait()
    assert isinstance(found, DivergedError)
    assert str(found) == "network 1 produced NaN"
    assert done.empty(), "the process has ended"
