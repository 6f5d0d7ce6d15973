"""Comparisons: their statistics against scipy, and their numbers kept network by network."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import condensery
from condensery import DataError, UsageError, compare, evaluate, select_random
from condensery.cli.main import main
from condensery.data import Data, load
from condensery.evaluation.compared import Compared
from condensery.evaluation.comparison import Comparer
from condensery.evaluation.comparison_table import Comparison
from condensery.evaluation.evaluator import Evaluator
from condensery.evaluation.result import Result
from condensery.evaluation.run import EvaluationSettings
from condensery.evaluation.significance import difference, holm, welch
from condensery.runtime.plan import exact_plan
from condensery.training.trainer import Trainer
from tests.conftest import tiny

EXACT = exact_plan("cpu", 1)
NET = "convnet2:width=8"
QUICK: dict[str, Any] = {"network": [NET, "mlp"], "epochs": 2, "plan": EXACT}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The (set, network) numbers of every training."""
    seen: list[tuple[int, int]] = []
    original = Trainer.train

    def counted(self: Trainer, network: Any, data: Any, number: int, **rest: Any) -> Any:
        seen.append((rest["set_index"], number))
        return original(self, network, data, number, **rest)

    monkeypatch.setattr(Trainer, "train", counted)
    return seen


@pytest.fixture
def hard_data() -> Data:
    """Classes that overlap, so that accuracies differ."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 60)
    patterns = rng.integers(0, 40, (3, 1, 8, 8))
    images = (patterns[labels] + rng.integers(0, 200, (180, 1, 8, 8))).astype(np.uint8)
    return load((images[:90], labels[:90]), test=(images[90:], labels[90:]), flip=False)


def folder_of_sets(data: Data, folder: Path, ipc: int, count: int = 2) -> Path:
    for seed in range(count):
        select_random(data, ipc=ipc, seed=seed + 10 * ipc).save(folder / str(seed))
    return folder


def numbers(found: Comparison) -> list[tuple[Any, ...]]:
    return [(r.result.set, r.result.net, r.result.protocol, r.result.sets) for r in found.rows]


# The statistics


def test_welch_is_scipys_and_the_formula() -> None:
    a, b = [91.2, 90.4, 92.7, 91.0], [88.1, 89.9, 86.5]
    (low, high), p = welch(a, b)
    assert p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    va, vb = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    apart, error = np.mean(a) - np.mean(b), math.sqrt(va + vb)
    assert p == pytest.approx(2 * stats.t.sf(apart / error, freedom))
    reach = stats.t.ppf(0.975, freedom) * error
    assert (low, high) == pytest.approx((apart - reach, apart + reach))


def stepped_down(values: list[float], alpha: float) -> list[bool]:
    """Holm's procedure as he describes it: reject the smallest p while it is small enough."""
    left, rejected = list(range(len(values))), [False] * len(values)
    while left:
        smallest = min(left, key=lambda i: values[i])
        if values[smallest] > alpha / len(left):
            break
        rejected[smallest] = True
        left.remove(smallest)
    return rejected


def test_a_corrected_p_is_the_level_at_which_holm_rejects() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 9):
        values = (rng.random(count) ** 3).tolist()
        corrected = holm(values)
        for alpha in rng.random(50).tolist():
            assert [p <= alpha for p in corrected] == stepped_down(values, alpha)
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_rows_of_several_sets_are_tested_on_the_means_of_sets() -> None:
    ours, theirs = [(80.0, 84.0), (86.0, 82.0), (85.0, 88.0)], [(70.0, 71.0), (75.0, 79.0)]
    found = difference(ours, theirs)
    on_sets = stats.ttest_ind([82.0, 84.0, 86.5], [70.5, 77.0], equal_var=False)
    assert (found.units, found.these_sets_only) == ("sets", False)
    assert found.p == pytest.approx(on_sets.pvalue)
    assert found.interval == pytest.approx(tuple(on_sets.confidence_interval(0.95)))
    assert found.difference == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_rows_of_one_set_are_tested_on_networks_and_say_so() -> None:
    ours, theirs = [(80.0, 84.0, 83.0)], [(70.0, 71.0), (75.0, 79.0)]
    for a, b in ((ours, theirs), (theirs, ours)):
        found = difference(a, b)
        flat = [[x for one in row for x in one] for row in (a, b)]
        assert (found.units, found.these_sets_only) == ("networks", True)
        assert found.p == pytest.approx(stats.ttest_ind(*flat, equal_var=False).pvalue)


def test_the_whole_split_has_networks_for_units() -> None:
    whole, sets = [(97.0, 98.0, 97.5)], [(70.0, 71.0), (75.0, 79.0)]
    found = difference(sets, whole, reference_whole=True)
    expected = stats.ttest_ind([70.5, 77.0], whole[0], equal_var=False).pvalue
    assert (found.units, found.these_sets_only) == ("sets", False)
    assert found.p == pytest.approx(expected)
    other = difference(whole, [(96.0, 95.0)], row_whole=True, reference_whole=True)
    assert (other.units, other.these_sets_only) == ("networks", False)
    alone = difference([sets[0]], whole, reference_whole=True)
    assert (alone.units, alone.these_sets_only) == ("networks", True)


def test_where_nothing_can_be_tested_the_reason_is_given() -> None:
    few = difference([(80.0,)], [(70.0, 71.0)])
    assert few.difference == pytest.approx(9.5)
    assert (few.p, few.interval) == (None, None)
    assert "at least 2 networks" in (few.why_not or "")
    same = difference([(80.0, 80.0)], [(70.0, 70.0)])
    assert (same.p, same.why_not) == (None, "the networks of a row are all equal")
    # One row without spread is no obstacle.
    assert difference([(80.0, 80.0)], [(70.0, 71.0)]).p is not None


# The table


def test_the_table_holds_what_scipy_says_of_its_numbers(hard_data: Data, tmp_path: Path) -> None:
    random = folder_of_sets(hard_data, tmp_path / "random", 1, 3)
    more = folder_of_sets(hard_data, tmp_path / "more", 3)
    one = select_random(hard_data, ipc=2)
    sets = {"all": "whole(epochs=2)", "random": random, "more": more, "one": one}
    found = compare(sets, hard_data, repeats=2, reference="random", **QUICK)
    assert [(r.result.net, r.result.set, r.result.n) for r in found.rows] == [
        (net, name, n)
        for net in (NET, "mlp")
        for name, n in (("all", 2), ("random", 6), ("more", 4), ("one", 2))
    ]
    tests = []
    for start in (0, 4):
        full, base, several, single = (found.rows[start + i] for i in range(4))
        assert (base.difference, base.p_corrected) == (None, None)
        for row in (full, base, several, single):
            assert row.relative == pytest.approx(100 * row.result.mean / full.result.mean)
        means = [[np.mean(s) for s in row.result.sets] for row in (base, several)]
        on_networks = (single.result.accuracies, base.result.accuracies)
        expected = [
            stats.ttest_ind(full.result.accuracies, means[0], equal_var=False).pvalue,
            stats.ttest_ind(means[1], means[0], equal_var=False).pvalue,
            stats.ttest_ind(*on_networks, equal_var=False).pvalue,
        ]
        held = [row.difference for row in (full, several, single)]
        assert [one.p for one in held if one] == pytest.approx(expected)
        assert [one.these_sets_only for one in held if one] == [False, False, True]
        tests += expected
    corrected = [r.p_corrected for r in found.rows if r.p_corrected is not None]
    assert corrected == pytest.approx(holm(tests))
    assert found.tests == 6
    # The same numbers as evaluate's.
    (again,) = evaluate(
        {"random": random}, hard_data, network="mlp", repeats=2, epochs=2, plan=EXACT
    )
    assert again.sets == found.rows[5].result.sets


def test_protocols_stand_side_by_side(tiny_data: Data) -> None:
    one = select_random(tiny_data, ipc=1)
    found = compare(
        {"a": one, "whole": "whole(epochs=1)"}, tiny_data, protocols=["dc", "dsa"], repeats=1,
        network="mlp", epochs=2, plan=EXACT,
    )  # fmt: skip
    names = [(r.result.set, r.result.protocol, r.asked) for r in found.rows]
    assert names == [
        ("a", "dc+epochs=2", "dc"), ("whole", "whole(epochs=1)+dc", "dc"),
        ("a", "dsa+epochs=2", "dsa"), ("whole", "whole(epochs=1)+dsa", "dsa"),
    ]  # fmt: skip
    for own, full in (found.rows[:2], found.rows[2:]):
        assert own.relative == pytest.approx(100 * own.result.mean / full.result.mean)
        assert own.as_dict()["relative_to"] == full.result.protocol
    told = "of whole: in percent of the mean under whole(epochs=1)+dc, whole(epochs=1)+dsa"
    assert told in found.text()


def some_result(name: str, sets: Any) -> Result:
    facts = {"data": "x", "net": "mlp", "protocol": "dc", "seed": 0, "plan": "p", "seconds": 1.0}
    return Result(set=name, recipe="r", ipc=1, stored_bytes=99, sets=sets, **facts)  # type: ignore[arg-type]


def test_the_written_tables_hold_the_numbers() -> None:
    a, b = some_result("a|b", ((80.0, 82.0), (85.0, 86.0))), some_result("c", ((70.0,), (71.5,)))
    beside = difference(a.sets, b.sets)
    rows = (Compared(a, "dc", 99.0, beside, 0.00001), Compared(b, "dc", None))
    found = Comparison(rows, "c", 123)
    (first, second) = csv.DictReader(io.StringIO(found.csv()))
    assert float(first["mean"]) == a.mean
    assert beside.interval is not None
    assert (float(first["low"]), float(first["high"])) == beside.interval
    assert (first["number_of_sets"], first["n"], first["relative"]) == ("2", "4", "99.0")
    assert (second["p"], second["difference"], second["relative"]) == ("", "", "")
    held = json.loads(json.dumps(found.as_dict()))
    assert held["results"][0]["interval"] == list(beside.interval)
    assert held["results"][0]["accuracies"] == [80, 82, 85, 86]
    assert (held["reference"], held["tests"], held["correction"]) == ("c", 1, "holm")
    table = [" ".join(line.split()) for line in found.markdown().splitlines()]
    assert len({line.replace(r"\|", "").count("|") for line in table[:4]}) == 1
    assert r"a\|b" in table[2]
    # √(2.39² + 3.37²): std, and the error of a share of 123 images.
    assert "| 2×2 | 83.2 ± 4.1 |" in table[2]
    assert "<.0001" in table[2]
    assert "| reference |" in table[3]
    assert f"{beside.difference:+.1f} [{beside.interval[0]:+.1f}" in found.text()
    assert "these sets only" not in found.text()
    alone = difference([(80.0, 82.0)], b.sets)
    marked = Comparison((Compared(a, "dc", None, alone, 0.2), rows[1]), "c", 123).text()
    assert ".2000 †" in marked
    assert "says something about these sets only" in " ".join(marked.split())


# What is kept


class Stop(KeyboardInterrupt):
    """Ctrl-C."""


def test_an_interrupted_comparison_continues_to_the_same_table(
    hard_data: Data, tmp_path: Path, trained: list[Any]
) -> None:
    sets = {
        "random": folder_of_sets(hard_data, tmp_path / "random", 1),
        "more": folder_of_sets(hard_data, tmp_path / "more", 2),
        "whole": "whole(epochs=1)",
    }
    store = tmp_path / "store"
    how: dict[str, Any] = {**QUICK, "repeats": 2, "reference": "random"}

    def stop(what: str, found: float) -> None:
        if len(trained) == 7:
            raise Stop

    with pytest.raises(Stop):
        compare(sets, hard_data, store=store, on_network=stop, **how)
    assert len(trained) == 7
    told: list[float] = []
    found = compare(sets, hard_data, store=store, on_network=lambda w, a: told.append(a), **how)
    assert (len(trained), len(told)) == (2 * (4 + 4 + 2), 13), "nothing is trained twice"
    trained.clear()
    again = compare(sets, hard_data, store=store, **how)
    assert trained == []
    assert again == found, "seconds are those of the trainings"
    whole_is_kept_by_user = 4
    plain = compare(sets, hard_data, **how)
    assert len(trained) == 20 - whole_is_kept_by_user
    assert numbers(plain) == numbers(found)
    assert [r.difference for r in plain.rows] == [r.difference for r in found.rows]


def test_a_larger_comparison_trains_only_what_is_missing(
    tiny_data: Data, tmp_path: Path, trained: list[Any]
) -> None:
    folder = folder_of_sets(tiny_data, tmp_path / "r", 1)
    how: dict[str, Any] = {"network": "mlp", "epochs": 2, "plan": EXACT, "store": tmp_path / "s"}
    (three,) = compare(folder, tiny_data, repeats=3, **how).rows
    assert sorted(trained) == [(s, k) for s in range(2) for k in range(3)]
    trained.clear()
    (five,) = compare(folder, tiny_data, repeats=5, **how).rows
    assert sorted(trained) == [(s, k) for s in range(2) for k in (3, 4)]
    assert [s[:3] for s in five.result.sets] == list(three.result.sets)
    trained.clear()
    folder_of_sets(tiny_data, folder, 1, 3)
    compare(folder, tiny_data, repeats=4, **how)
    assert trained == [(2, k) for k in range(4)], "a set more"
    trained.clear()
    (two,) = compare(folder, tiny_data, repeats=2, **how).rows
    assert (trained, two.result.n) == ([], 6)


def test_an_accuracy_depends_on_no_other_network(tiny_data: Data, tmp_path: Path) -> None:
    folder = folder_of_sets(tiny_data, tmp_path / "r", 2, 3)
    how: dict[str, Any] = {"network": NET, "epochs": 3, "plan": EXACT}
    (two,), (four,) = (evaluate(folder, tiny_data, repeats=n, **how) for n in (2, 4))
    assert [s[:2] for s in four.sets] == list(two.sets)
    # The first set is trained on as it is alone.
    (alone,) = evaluate(folder / "0", tiny_data, repeats=4, **how)
    assert alone.accuracies == four.sets[0]


def test_numbers_are_kept_under_all_that_they_depend_on(
    tiny_data: Data, tmp_path: Path, trained: list[Any]
) -> None:
    one = select_random(tiny_data, ipc=1)
    how: dict[str, Any] = {"network": "mlp", "epochs": 2, "plan": EXACT, "repeats": 1}
    store = tmp_path / "s"
    compare(one, tiny_data, store=store, **how)
    flipped = condensery.load(tiny_data, flip=False)
    changes: list[dict[str, Any]] = [
        {"seed": 1}, {"epochs": 3}, {"protocols": "dc"}, {"network": NET},
        {"plan": exact_plan("cpu", 1, "float64")}, {"data": flipped},
        {"sets": select_random(tiny_data, ipc=1, seed=1)},
    ]  # fmt: skip
    for change in changes:
        trained.clear()
        given = {"sets": one, "data": tiny_data, **how, **change}
        compare(store=store, **given)
        assert len(trained) == 1, change
        compare(store=store, **given)
        assert len(trained) == 1, change
    trained.clear()
    compare({"another name": one}, tiny_data, store=store, **how)
    assert trained == [], "names are no content"


def test_one_set_under_two_names_is_trained_on_once(
    tiny_data: Data, tmp_path: Path, trained: list[Any]
) -> None:
    one = select_random(tiny_data, ipc=1)
    how = EvaluationSettings(3, epochs=2, plan=EXACT)
    torch.save((one.images, one.labels), tmp_path / "b.pt")
    both = {"a": one, "b": tmp_path / "b.pt"}
    kept = Comparer(both, tiny_data, nets="mlp", store=tmp_path / "s", how=how)
    assert (kept.total, kept.known()) == (6, 3)
    first, second = kept.run().rows
    assert first.result.sets == second.result.sets
    assert (len(trained), kept.known()) == (3, 6)
    assert Comparer(both, tiny_data, nets="mlp", how=how).known() == 0


def test_damaged_numbers_are_measured_again(
    tiny_data: Data, tmp_path: Path, trained: list[Any]
) -> None:
    one = select_random(tiny_data, ipc=1)
    how: dict[str, Any] = {"network": "mlp", "epochs": 2, "plan": EXACT, "repeats": 1}
    how["store"] = tmp_path
    first = numbers(compare(one, tiny_data, **how))
    (file,) = (tmp_path / "cells").glob("*.json")
    held = json.loads(file.read_text())
    held["networks"][0]["accuracy"] = 4000.0
    other = json.dumps({**held, "facts": {**held["facts"], "seed": 9}})
    for text in ("", "[]", '{"facts": 3}', json.dumps(held), other):
        file.write_text(text)
        trained.clear()
        assert numbers(compare(one, tiny_data, **how)) == first
        assert len(trained) == 1, text


def test_what_is_wrong_is_refused_before_any_training(
    tiny_data: Data, tmp_path: Path, trained: list[Any]
) -> None:
    good = select_random(tiny_data, ipc=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    bad: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (DataError, "does not exist", {"sets": [good, tmp_path / "nowhere"]}),
        (DataError, "size and channels", {"sets": [good, select_random(tiny(side=12), ipc=1)]}),
        (UsageError, "NAME=PATH", {"sets": [good, good]}),
        (UsageError, "'good'", {"reference": "goof"}),
        (UsageError, "unknown protocol 'dcc'", {"protocols": ["dc", "dcc"]}),
        (UsageError, "named twice", {"network": ["mlp", "mlp"]}),
        (UsageError, "unknown network", {"network": ["mlp", "convnt3"]}),
        (UsageError, "repeats", {"repeats": 0}),
        (UsageError, "at least one set", {"sets": []}),
        (UsageError, "something other", {"store": tmp_path / "other"}),
        (UsageError, "is a file", {"store": tmp_path / "other" / "thesis.txt"}),
    ]
    for kind, message, change in bad:
        given = {"sets": {"good": good}, "data": tiny_data, "network": "mlp", **change}
        with pytest.raises(kind, match=message):
            compare(**given)
    assert trained == []


def test_the_command_stops_continues_and_writes_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in (("0", "runs/random"), ("5", "runs/other")):
        draw = ["select", "random", "--ipc", "1", "--sets", "2", "--seed", seed, "--out", name]
        assert main([*draw, "--quiet"]) == 0
    assert main(["export", "runs/other/0", "--out", "theirs"]) == 0
    line = shlex.split(
        "compare runs/random other=runs/other theirs.npz --data digits --net mlp --nets 2 "
        "--protocol dc dsa --epochs 3 --reference runs/random --plan exact --threads 1 "
        "--csv t.csv --markdown t.md --json t.json"
    )
    original, calls = Evaluator.measure, 0

    def measure(self: Evaluator, number: int, network: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Stop
        return original(self, number, network)

    monkeypatch.setattr(Evaluator, "measure", measure)
    assert main(line) == 130
    stopped = capsys.readouterr()
    assert "15 of 20 networks left" in stopped.err
    assert "runs/compare, and the same command continues" in stopped.err
    assert not Path("t.json").exists()
    assert main(line) == 0
    assert calls == 6 + 15
    out = capsys.readouterr().out
    assert "5 of 20 networks are already evaluated; 15 are left" in out
    held = json.loads(Path("t.json").read_text())
    assert [(r["set"], r["protocol"], r["n"]) for r in held["results"]] == [
        (name, protocol, n)
        for protocol in ("dc+epochs=3", "dsa+epochs=3")
        for name, n in (("runs/random", 4), ("other", 4), ("theirs.npz", 2))
    ]
    theirs, other = held["results"][2], held["results"][1]
    assert theirs["accuracies"] == other["sets"][0]
    assert (theirs["units"], other["units"]) == ("networks", "sets")
    last = Path("t.md").read_text().splitlines()[-1].split()
    assert " ".join(last) in " ".join(out.split())
    assert len(list(csv.DictReader(io.StringIO(Path("t.csv").read_text())))) == 6
    assert main([*line, "--quiet"]) == 0
    assert (calls, capsys.readouterr()) == (21, ("", ""))
