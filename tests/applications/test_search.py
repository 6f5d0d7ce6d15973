"""Architecture search: spaces, ranks, and the rows of the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condensery import UsageError
from condensery.applications import search
from condensery.applications.architecture_search import EARLY, SearchJob, SearchSettings
from condensery.applications.methods import Running, methods_of
from condensery.applications.search_result import Found, Search, spearman
from condensery.applications.spaces import sampled, space_of
from condensery.cli.main import main
from condensery.runtime.plan import exact_plan
from tests.conftest import tiny

RUNNING = Running(exact_plan("cpu", 1))
SPACE = "convnet: {depth: [1, 2], width: [2, 4]}\nnetworks: [mlp]\n"
SMALL: dict[str, Any] = {"ipc": 2, "epochs": 2, "whole_epochs": 2, "repeats": 2}


def test_the_papers_space_has_720_networks() -> None:
    space = space_of(None)
    assert len(set(space)) == 720
    assert space[0] == "convnet1:width=32,norm=none,activation=sigmoid,pooling=none"
    assert "convnet3:width=128,norm=instance,activation=relu,pooling=avg" in space


def test_a_space_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    wanted = ["convnet1:width=2", "convnet1:width=4", "convnet2:width=2", "convnet2:width=4", "mlp"]
    assert space_of(str(file)) == wanted
    train = tiny().train
    some = sampled(wanted, 3, 0, train)
    assert len(some) == 3
    assert some == [net for net in wanted if net in some]
    assert sampled(wanted, 3, 0, train) == some
    told: list[str] = []
    found = sampled(["convnet9", "mlp", "convnet1:width=2"], None, 0, train, told.append)
    assert found == ["mlp", "convnet1:width=2"]
    assert "1 network of the space left out" in told[-1]
    with pytest.raises(UsageError, match="--sample must be 2 to 5"):
        sampled(wanted, 6, 0, train)
    file.write_text("convnet: 3\n")
    with pytest.raises(UsageError, match="lists of values"):
        space_of(str(file))


def slow_spearman(ours: list[float], theirs: list[float]) -> float:
    """1 − 6 Σd² / (n³ − n), for values without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (ours, theirs)]
    n, apart = len(ours), float(((ranks[0] - ranks[1]) ** 2).sum())
    return 1 - 6 * apart / (n**3 - n)


def test_the_rank_correlation_is_the_formula() -> None:
    ours, theirs = [3.0, 1.0, 4.0, 1.5, 9.0], [2.0, 7.0, 1.0, 8.0, 2.8]
    assert spearman(ours, theirs) == pytest.approx(slow_spearman(ours, theirs))
    assert spearman([1.0, 2.0], [1.0, 2.0]) is None
    assert spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_the_best_network_is_chosen_by_validation_and_told_by_the_whole_split() -> None:
    pairs = [(50.0, 9.0), (70.0, 7.0), (60.0, 8.0)], [(9.0, 90.0), (8.0, 80.0), (7.0, 70.0)]
    few, all_ = (tuple(((v,), (t,)) for v, t in one) for one in pairs)
    proxy, whole = Found("dm", "dm", 6, few, 1.0, "p"), Found("whole", "whole", 9, all_, 1.0, "w")
    facts = {"data": "d", "ipc": 2, "repeats": 1, "space": 3, "seed": 0}
    first, last = Search((proxy, whole), ("a", "b", "c"), facts).as_dict()["results"]
    assert (first["best"], first["best_accuracy"]) == ("b", 80.0)
    assert (last["best"], last["best_accuracy"]) == ("a", 90.0)
    assert first["spearman_all"] == pytest.approx(slow_spearman([9, 7, 8], [90, 80, 70]))
    assert (first["spearman_top"], last["spearman_all"]) == (None, None)


def test_the_top_is_a_twentieth_by_validation() -> None:
    values = [float(v) for v in np.random.default_rng(0).permutation(80)]
    found = Found("dm", "dm", 6, tuple(((v,), (0.0,)) for v in values), 1.0, "p")
    assert [values[i] for i in found.top()] == [79, 78, 77, 76]


def test_proxies_see_neither_validation_nor_test_images(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    data = tiny((12, 14, 11))
    job = SearchJob(
        data, methods_of(["random"]), SearchSettings(**SMALL), tmp_path, RUNNING, space=str(file)
    )
    assert job.parts == (3, len(data.test))
    assert len(job.data.train) == len(data.train) - 3
    assert job.steps == 2
    found = job.run()
    assert [one.proxy for one in found.rows] == ["random", EARLY, "whole"]
    assert [one.images for one in found.rows] == [6, 34, 34]
    assert found.rows[1].protocol == "dsa+batch=250+steps=2"
    assert all(len(real) == 2 for one in found.rows for _, real in one.accuracies)
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}
    given: dict[str, Any] = {"proxies": ["random", EARLY], "space": str(file), "out": tmp_path}
    assert search(data, running=RUNNING, **given, **SMALL).as_dict() == found.as_dict()
    assert times == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}


def test_the_command_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.yaml").write_text("convnet1: {width: [2, 3]}\n")
    line = ["search", "--space", str(tmp_path / "space.yaml"), "--proxies", "random", "--ipc", "1"]
    line += ["--epochs", "1", "--whole-epochs", "1", "--plan", "exact", "--threads", "1"]
    line += ["--out", str(tmp_path / "out")]
    assert main([*line, "--dry-run"]) == 0
    assert "would train 4 networks" in capsys.readouterr().out
    files = [str(tmp_path / f"a.{ending}") for ending in ("json", "csv", "md", "png")]
    flags = ["--json", files[0], "--csv", files[1], "--markdown", files[2], "--picture", files[3]]
    assert main([*line, *flags]) == 0
    assert "ρ all" in capsys.readouterr().out
    held = json.loads((tmp_path / "a.json").read_text())["results"]
    assert [one["proxy"] for one in held] == ["random", "whole"]
    assert held[0]["networks"] == 2
    assert (tmp_path / "a.csv").read_text().count("\n") == 5
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--proxies", "dmm"], "did you mean 'dm'"),
        (["--sample", "1"], "--sample must be 2 to 720"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--space", "missing.yaml"], "cannot be read"),
    ],
)
def test_mistakes_get_one_sentence(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *flags]) == 2
    assert words in capsys.readouterr().err
