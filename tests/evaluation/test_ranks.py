"""Two processes of torchrun share an evaluation's networks: the numbers are those of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from condensery import select_random
from condensery.cli.main import main
from condensery.data import load
from tests.condensation.test_ranks import ended, started

#: One worker has the parent that programs are forked from.
pytestmark = pytest.mark.xdist_group("forked")


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    for seed in range(2):
        select_random(load("digits"), ipc=1, seed=seed).save(tmp_path / "random" / str(seed))
    return tmp_path


def _words(folder: Path, *more: str) -> list[str]:
    return [
        "--net",
        "convnet2:width=4",
        "--epochs",
        "2",
        "--data",
        "digits",
        "--threads",
        "1",
        *more,
    ]


def test_evaluate_by_two_is_evaluate_by_one(sets: Path) -> None:
    """A network on each of three sets, so that one process has one more than the other."""
    select_random(load("digits"), ipc=1, seed=2).save(sets / "random" / "2")
    one, two = sets / "one.json", sets / "two.json"
    words = ["evaluate", str(sets / "random"), *_words(sets, "--nets", "1")]
    apart = ["--out", str(sets / "kept")]  # two processes find nothing of it
    assert main([*words, *apart, "--json", str(one), "--quiet"]) == 0
    results = ended(started(main, [*words, "--json", str(two)]))
    assert [code for code, *_ in results] == [0, 0], results
    assert "accuracy" in results[0][1]
    assert results[1][1] == ""  # the first process speaks for both
    rows = [json.loads(file.read_text())["results"][0] for file in (one, two)]
    assert rows[0]["accuracies"] == rows[1]["accuracies"]
    assert rows[0]["sets"] == rows[1]["sets"]


@pytest.mark.slow  # the same split as evaluate's, and kept cells are tested without processes
def test_compare_by_two_keeps_what_compare_by_one_finds_again(sets: Path) -> None:
    out = sets / "kept"
    names = [f"a={sets / 'random' / '0'}", f"b={sets / 'random' / '1'}"]
    words = ["compare", *names, *_words(sets, "--nets", "2"), "--out", str(out)]
    results = ended(started(main, [*words, "--json", str(sets / "two.json")]))
    assert [code for code, *_ in results] == [0, 0], results
    kept = {file: file.read_bytes() for file in out.rglob("*.json")}
    assert kept
    assert main([*words, "--json", str(sets / "one.json"), "--quiet"]) == 0
    assert {file: file.read_bytes() for file in out.rglob("*.json")} == kept  # nothing was trained
    both = [json.loads((sets / f"{name}.json").read_text()) for name in ("one", "two")]
    assert both[0] == both[1]
    # And what one process kept, two take.
    again = ended(started(main, [*words]))
    assert "4 of 4 networks are already evaluated" in again[0][1], again


@pytest.mark.slow  # the refusal, and that it is said once, are tested without processes
def test_a_device_of_one_process_is_refused(sets: Path) -> None:
    words = ["evaluate", str(sets / "random"), *_words(sets), "--device", "cuda:0"]
    results = ended(started(main, [*words]))
    assert sorted(code for code, *_ in results) == [2, 2]
    told = "".join(errors for *_, errors in results)
    assert told.count("would put every process on one GPU") == 1


@pytest.mark.slow  # condensing and evaluating by two are tested apart
@pytest.mark.parametrize("row", ["mnist/1/dc", "mnist/1/random"])
def test_reproduce_by_two_is_reproduce_by_one(tmp_path: Path, row: str) -> None:
    """The sets, whose classes are split, and their tests, whose networks are."""
    less = ["--data", "digits", "--scale", "0.002", "--sets", "1", "--nets", "3", "--epochs", "2"]
    words = ["reproduce", "dc/table1", "--row", row, *less, "--plan", "exact", "--threads", "1"]
    one = [*words, "--out", str(tmp_path / "1"), "--json", str(tmp_path / "1.json")]
    two = [*words, "--out", str(tmp_path / "2"), "--json", str(tmp_path / "2.json")]
    assert main([*one, "--quiet"]) == 0
    results = ended(started(main, [*two]))
    assert [code for code, *_ in results] == [0, 0], results
    assert "ours:" in results[0][1]
    assert results[1][1] == ""
    made = [
        json.loads((tmp_path / f"{name}.json").read_text())["results"][0] for name in ("1", "2")
    ]
    # Sums over two processes are in another order.
    assert made[0]["accuracies"] == pytest.approx(made[1]["accuracies"], abs=2.0)
    assert made[0]["n"] == made[1]["n"] == 3
    assert sorted(p.name for p in (tmp_path / "2").iterdir()) == ["results", "sets", "tested"]
    again = ended(started(main, [*two]))
    assert "condensing set" not in again[0][1]  # the set is there already
