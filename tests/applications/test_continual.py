"""Continual learning: streams, memories without leaks, strategies, and what is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from condensery import DataError, UsageError, load
from condensery.applications.continual_learning import ContinualJob, ContinualSettings, continual
from condensery.applications.methods import Running, methods_of
from condensery.applications.result import Curve
from condensery.applications.streams import class_stream, task_stream, together
from condensery.cli.main import main
from condensery.data import Data
from condensery.runtime.plan import exact_plan
from tests.conftest import tiny

RUNNING = Running(exact_plan("cpu", 1))
NET = "convnet2:width=4"
SMALL: dict[str, Any] = {"memory": 2, "seeds": 1, "nets": 1, "net": NET}


def four() -> Data:
    return tiny((9, 8, 7, 9, 6))


def test_classes_are_split_evenly_and_labels_follow_the_order() -> None:
    data = four()
    stream = class_stream(data, 2, seed=3)
    assert [len(names) for names in stream.names] == [3, 2]
    assert sorted(stream.class_names) == sorted(data.train.class_names)
    assert stream.heads == (3, 5)
    assert stream.class_names == stream.names[0] + stream.names[1]
    for step, (names, part, test) in enumerate(
        zip(stream.names, stream.steps, stream.tests, strict=True)
    ):
        assert part.train.class_names == names
        for number, name in enumerate(names):
            whole = data.test.class_names.index(name)
            wanted = data.test.images[data.test.labels == whole]
            label = number + 3 * step
            assert torch.equal(test.images[test.labels == label], wanted)
        assert test.class_names == stream.class_names
    orders = {class_stream(data, 2, seed=s).class_names for s in range(4)}
    assert len(orders) > 1
    assert class_stream(data, 2, seed=3).class_names == stream.class_names


@pytest.mark.parametrize("steps", [1, 3, 0, -2])
def test_steps_that_do_not_fit_are_refused(steps: int) -> None:
    with pytest.raises(UsageError, match=r"--steps .* does not fit the 5 classes"):
        class_stream(four(), steps, 0)


def poisoned(data: Data, keep: list[int]) -> Data:
    """The same data, in which every image of other classes, and every test image, is noise."""
    rng = np.random.default_rng(1)
    images, labels = data.train.images.clone(), data.train.labels
    noise = torch.from_numpy(rng.integers(0, 255, images.shape, dtype=np.uint8))
    others = ~torch.isin(labels, torch.tensor(keep))
    images[others] = noise[others]
    tests = torch.from_numpy(rng.integers(0, 255, data.test.images.shape, dtype=np.uint8))
    train, test = (
        (i.numpy(), p.labels.numpy()) for i, p in ((images, data.train), (tests, data.test))
    )
    return load(train, test=test, flip=data.flip)


@pytest.mark.parametrize("method", ["random", "herding", "dm", "dm_mf"])
def test_a_step_sees_its_own_images_alone(method: str, tmp_path: Path) -> None:
    data = four()
    (chosen,) = methods_of([method], 2)
    stream = class_stream(data, 2, seed=0)
    for step, names in enumerate(stream.names):
        keep = [data.train.class_names.index(name) for name in names]
        other = class_stream(poisoned(data, keep), 2, seed=0)
        made = [
            chosen.make(s.steps[step], 2, 0, tmp_path / f"{step}-{k}", RUNNING)
            for k, s in enumerate((stream, other))
        ]
        files = [tmp_path / f"{step}-{k}" / "condensed.safetensors" for k in (0, 1)]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert torch.equal(made[0].images, made[1].images)


def curve(runs: Any, by_task: bool = False) -> Curve:
    return Curve(
        method="m", name="m", strategy="s", memory=1, classes=(2, 4, 6)[: len(runs[0])], runs=runs,
        sizes=(10, 30, 20)[: len(runs[0])],
        by_task=by_task, seeds=1, nets=len(runs), net="n", data="d", seed=0, stored_bytes=0,
        plan="p",
    )  # fmt: skip


def test_accuracy_is_over_all_images_seen_or_over_tasks() -> None:
    runs = (((90.0,), (60.0, 80.0)), ((70.0,), (80.0, 40.0)))
    found = curve(runs).as_dict()
    assert found["steps"][1]["accuracies"] == [75.0, 50.0]
    assert found["steps"][1]["mean"] == 62.5
    assert found["steps"][1]["std"] == 12.5
    assert found["steps"][1]["n"] == 2
    assert found["mean"] == np.mean([90, 70, 75, 50])
    assert found["steps"][1]["forgetting"] == np.mean([90 - 60, 70 - 80])
    # What is forgotten is forgotten since it was known best, which may be later than at first.
    longer = curve((((90.0,), (95.0, 80.0), (50.0, 70.0, 60.0)),)).as_dict()
    assert longer["steps"][2]["forgetting"] == np.mean([95 - 50, 80 - 70])
    tasks = curve(runs, by_task=True).as_dict()
    assert tasks["steps"][1]["accuracies"] == [70.0, 60.0]


@pytest.mark.parametrize("strategy", ["gdumb", "distil"])
def test_a_stopped_command_goes_on_and_a_larger_one_adds(strategy: str, tmp_path: Path) -> None:
    data, methods = four(), methods_of(["random"])
    told: list[str] = []

    def job(out: Path, nets: int) -> ContinualJob:
        settings = ContinualSettings(**{**SMALL, "nets": nets}, strategy=strategy, epochs=2)
        return ContinualJob([data], 2, methods, settings, out, RUNNING)

    def stop(what: str, found: float) -> None:
        told.append(what)
        if len(told) == 2:
            raise KeyboardInterrupt

    whole = job(tmp_path / "whole", 2).run()
    with pytest.raises(KeyboardInterrupt):
        job(tmp_path / "again", 2).run(stop)
    less = job(tmp_path / "again", 1).run()
    more = job(tmp_path / "again", 2).run()
    assert more.as_dict() == whole.as_dict()
    assert less.curves[0].runs == whole.curves[0].runs[:1]
    trained = {p: p.stat().st_mtime_ns for p in (tmp_path / "again").rglob("*.json")}
    assert job(tmp_path / "again", 2).run().as_dict() == whole.as_dict()
    assert trained == {p: p.stat().st_mtime_ns for p in (tmp_path / "again").rglob("*.json")}


def test_a_learner_learns_and_keeps_what_it_learned() -> None:
    found = continual(
        four(), steps=2, methods=["random"], epochs=60, running=RUNNING, **{**SMALL, "memory": 4}
    )
    (one,) = found.curves
    assert one.strategy == "gdumb+epochs=60"
    # Brightness tells the classes apart.
    assert one.as_dict()["mean"] > 60
    assert found.orders == [[list(names) for names in class_stream(four(), 2, 0).names]]


def squares(channels: int = 1, side: int = 8, names: tuple[str, ...] = ("a", "b", "c")) -> Data:
    data = tiny((9, 8, 7), channels, side)
    parts = [dataclasses.replace(p, class_names=names) for p in (data.train, data.test)]
    return dataclasses.replace(data, train=parts[0], test=parts[1])


def test_tasks_are_matched_by_name_or_by_order() -> None:
    first, other = squares(), squares(names=("c", "a", "b"))
    _, found = together([first, other])
    for name in "abc":
        mine = found.train.images[found.train.labels == found.train.class_names.index(name)]
        wanted = other.train.images[other.train.labels == ("c", "a", "b").index(name)]
        assert torch.equal(mine, wanted)
    assert found.train.class_names == ("a", "b", "c")
    _, found = together([first, squares(names=("x", "y", "z"))], "order")
    assert found.train.class_names == ("a", "b", "c")
    assert torch.equal(found.train.labels, first.train.labels)


def test_tasks_that_cannot_be_brought_together_are_refused() -> None:
    with pytest.raises(UsageError, match="--size 32 --channels 3"):
        together([squares(), squares(channels=3)])
    with pytest.raises(DataError, match="--match order"):
        together([squares(), squares(names=("x", "y", "z"))])
    with pytest.raises(DataError, match="3 classes and arrays has 2"):
        together([squares(), tiny((5, 5))])


@pytest.mark.parametrize("strategy", ["e2e", "e2e_distil"])
def test_tasks_follow_each_other(strategy: str, tmp_path: Path) -> None:
    tasks = [squares(), squares(side=8)]
    found = continual(
        tasks=tasks, methods=["random"], strategy=strategy, train_steps=20, running=RUNNING,
        out=tmp_path, **SMALL,
    )  # fmt: skip
    (one,) = found.curves
    assert one.strategy == f"{strategy}+steps=20"
    assert [len(step) for step in one.runs[0]] == [1, 2]
    told = one.as_dict()["steps"]
    assert [step["tasks"] for step in told] == [1, 2]
    assert told[1]["accuracies"] == [np.mean(one.runs[0][1])]
    stream = task_stream(tasks, 0)
    assert [len(test) for test in stream.tests] == [len(t.test) for t in tasks]


def test_the_command_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["continual", "--data", "digits", "--steps", "2", "--memory", "1", "--methods", "random"]
    line += ["--seeds", "1", "--epochs", "1", "--net", NET, "--plan", "exact", "--threads", "1"]
    line += ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "a.json"), "--no-flip"]
    line += ["--csv", str(tmp_path / "a.csv"), "--markdown", str(tmp_path / "a.md")]
    assert main([*line, "--dry-run"]) == 0
    assert "would train 2 networks" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main([*line, "--picture", str(tmp_path / "a.png")]) == 0
    assert "gdumb+epochs=1" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "a.json").read_text())["results"]
    assert (row["method"], row["memory"], row["n"]) == ("random", 1, 1)
    assert [step["classes"] for step in row["steps"]] == [5, 10]
    assert (tmp_path / "a.csv").read_text().count("\n") == 3
    assert (tmp_path / "a.md").read_text().startswith("| memory")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give --steps N"),
        (["--steps", "2", "--tasks", "digits", "digits"], "give --steps N"),
        (["--tasks", "digits"], "at least two data sets"),
        (["--steps", "9"], "--steps 9 does not fit the 10 classes of digits"),
        (["--steps", "2", "--methods", "dmm"], "did you mean 'dm'?"),
        (["--steps", "2", "--methods", "dm", "dm"], "named twice"),
        (["--steps", "2", "--strategy", "e2e"], "is not for --steps"),
        (["--steps", "2", "--memory", "0"], "--memory must be at least 1"),
        (["--steps", "2", "--memory", "9999"], "fewer than the 9999 requested"),
        (["--steps", "2", "--train-steps", "9"], "--train-steps is for --tasks"),
        (["--steps", "2", "--picture", "a.txt"], "--picture must end in .png"),
        (["--tasks", "digits", "digits", "--epochs", "9"], "--epochs is for --steps"),
    ],
)
def test_mistakes_get_one_sentence(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["continual", *flags]) in (1, 2)
    assert words in capsys.readouterr().err


def test_no_matplotlib_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from condensery.utils.plotting import pyplot

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"condensery\[plots\]"):
        pyplot()
