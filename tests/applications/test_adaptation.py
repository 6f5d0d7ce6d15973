"""Few-shot domain adaptation: rows, shared beginnings, and mistakes."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from condensery import UsageError
from condensery.applications import adapt
from condensery.applications.chain import Chain, Phase, Stage
from condensery.applications.methods import Running
from condensery.cli.main import main
from condensery.data import Data
from condensery.runtime.plan import exact_plan
from condensery.training.protocol import Protocol
from tests.conftest import tiny

RUNNING = Running(exact_plan("cpu", 1))
NET = "convnet2:width=4"
SMALL: dict[str, Any] = {"ipc": (1, 2), "nets": 2, "source_epochs": 2, "finetune_steps": 4}


def inverted(data: Data) -> Data:
    """The same classes in another domain: dark is bright."""
    parts = [dataclasses.replace(p, images=255 - p.images) for p in (data.train, data.test)]
    return dataclasses.replace(data, train=parts[0], test=parts[1])


def test_rows_are_methods_by_budget_and_two_bounds(tmp_path: Path) -> None:
    source, target = tiny(), inverted(tiny())
    how: dict[str, Any] = {"methods": ["random"], "running": RUNNING, "net": NET, **SMALL}
    found = adapt(source, target, out=tmp_path, **how)
    rows = found.as_dict()["results"]
    named = [(r["method"], r["ipc"]) for r in rows]
    assert named == [("random", 1), ("random", 2), ("none", None), ("whole", None)]
    assert all(r["n"] == 2 and len(r["accuracies"]) == 2 for r in rows)
    assert rows[0]["protocol"] == "finetune+steps=4"
    # Networks of the source are trained once for all rows.
    sources = list((tmp_path / "chains").glob("stage0-*.safetensors"))
    assert len(sources) == 2
    assert len(list((tmp_path / "chains").glob("stage1-*.json"))) == 2 * 3
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert adapt(source, target, out=tmp_path, **how).as_dict() == found.as_dict()
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    more = adapt(source, target, out=tmp_path, **{**how, "nets": 3}).as_dict()["results"]
    assert [r["accuracies"][:2] for r in more] == [r["accuracies"] for r in rows]


def test_fine_tuning_helps_where_the_domain_differs() -> None:
    small = {**SMALL, "ipc": (4,), "nets": 1, "source_epochs": 40, "finetune_steps": 60}
    found = adapt(tiny(), inverted(tiny()), methods=["random"], running=RUNNING, net=NET, **small)
    means = {one.name: one.accuracies[0] for one in found.rows}
    assert means["none"] < means["random"] <= 100
    assert means["none"] < means["whole"]


def test_a_chain_goes_on_from_the_weights_of_its_last_stage(tmp_path: Path) -> None:
    data = tiny()
    protocol = Protocol(name="x", epochs=1, batch=9)
    stages = [
        Stage(
            2 + k, (Phase(protocol, (data.train,) if k else (two(data),), steps=3),), (data.test,)
        )
        for k in range(2)
    ]
    train = data.train
    given: dict[str, Any] = {
        "net": NET, "data": data, "normalisation": (train.mean, train.std),
        "plan": exact_plan("cpu", 1), "seed": 0,
    }  # fmt: skip
    whole = [one.accuracies for one in Chain(stages, **given).run(0)]
    chain, told = Chain(stages, keep=tmp_path, **given), []

    def stop(stage: int, accuracy: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chain.run(0, stop)
    assert [p.name[:6] for p in tmp_path.glob("*.json")] == ["stage0"]
    chain = Chain(stages, keep=tmp_path, **given)
    network, first = chain._last(0, 1)
    assert first == 1
    assert network is not None
    before = copy.deepcopy(network.state_dict())
    found = chain.run(0, lambda stage, accuracy: told.append(stage))
    assert [one.accuracies for one in found] == whole
    assert told == [0, 1]
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not list(tmp_path.glob("*.safetensors"))
    # Another stage after them is another chain, with the same beginning.
    longer = Chain([*stages, stages[1]], keep=tmp_path, **given)
    assert len(longer.known(0)) == 2
    assert [one.accuracies for one in longer.run(0)[:2]] == whole


def two(data: Data) -> Any:
    from condensery.data.parts import rows_of_classes, taken

    return taken(data.train, rows_of_classes(data.train, [0, 1]))


def test_the_command_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["adapt", "--source", "digits", "--target", "digits", "--ipc", "1", "--nets", "1"]
    line += ["--methods", "random", "--source-epochs", "1", "--finetune-steps", "2", "--net", NET]
    line += ["--plan", "exact", "--threads", "1", "--out", str(tmp_path / "out")]
    assert main([*line, "--dry-run"]) == 0
    assert "would train 3 networks" in capsys.readouterr().out
    files = [str(tmp_path / f"a.{ending}") for ending in ("json", "csv", "md", "png")]
    flags = ["--json", files[0], "--csv", files[1], "--markdown", files[2], "--picture", files[3]]
    assert main([*line, *flags]) == 0
    assert "digits → digits" in capsys.readouterr().out
    held = json.loads((tmp_path / "a.json").read_text())["results"]
    assert [one["method"] for one in held] == ["random", "none", "whole"]
    assert (tmp_path / "a.csv").read_text().count("\n") == 4
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "digits"], "name the target data set"),
        (["--source", "digits", "--target", "digits", "--ipc", "0"], "--ipc must be at least 1"),
        (["--source", "digits", "--target", "digits", "--ipc", "x"], "--ipc must be a number"),
        (["--source", "digits", "--target", "digits", "--nets", "0"], "--nets must be at least"),
    ],
)
def test_mistakes_get_one_sentence(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["adapt", *flags])
    except SystemExit as stop:
        code = int(str(stop.code))
    assert code == 2
    assert words in capsys.readouterr().err


def test_data_sets_of_different_size_are_refused() -> None:
    with pytest.raises(UsageError, match="--size 32"):
        adapt(tiny(), tiny(side=12), methods=["random"], running=RUNNING)
