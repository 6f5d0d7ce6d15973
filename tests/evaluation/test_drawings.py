"""Drawings of accuracies hold the numbers that the tables print."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condensery.cli import evaluate_at
from condensery.evaluation import drawings
from condensery.evaluation.compared import Compared
from condensery.evaluation.comparison_table import Comparison
from condensery.evaluation.result import Result
from condensery.evaluation.significance import difference
from condensery.runtime.distributed import ALONE
from condensery.utils.plotting import Point, points

pytest.importorskip("matplotlib")

SETS = {"random": ((60.0, 64.0), (70.0, 71.0)), "dm": ((80.0, 82.0), (81.0, 83.0))}


def row(name: str, net: str) -> Compared:
    result = Result(name, "dm", 1, "mnist", net, "dsa", SETS[name], 0, 1, 1.0, "plan")
    beside = difference(SETS["dm"], SETS["random"]) if name == "dm" else None
    return Compared(result, "dsa", difference=beside)


def test_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Sequence[Point]] = []
    real = points

    def watched(axes: Any, rows: Sequence[Point], *rest: Any) -> None:
        drawn.append(rows)
        real(axes, rows, *rest)

    monkeypatch.setattr(drawings, "points", watched)
    rows = tuple(row(name, net) for net in ("convnet3", "mlp") for name in SETS)
    Comparison(rows, "random", 10_000).picture(tmp_path / "a.svg")
    means, beside = drawn
    for point, one in zip(means, rows, strict=True):
        values = np.array(SETS[one.result.set])
        assert (point.name, point.series) == (one.result.set, one.result.net)
        assert (point.value, point.spread) == pytest.approx((values.mean(), values.std()))
    found = rows[1].difference
    assert found is not None
    assert found.interval is not None
    low, high = found.interval
    assert [point.name for point in beside] == ["dm", "dm"]
    assert (beside[0].value - beside[0].spread) == pytest.approx(low)
    assert (beside[0].value + beside[0].spread) == pytest.approx(high)
    words = re.findall(">([^<>]+)</text>", (tmp_path / "a.svg").read_text(encoding="utf-8"))
    for told in ("convnet3", "mlp", "dm", "test split of mnist, dsa, n = 4"):
        assert told in words
    assert "points above random (95 % interval)" in words


def test_without_a_reference_there_is_one_panel(tmp_path: Path) -> None:
    Comparison((row("random", "mlp"),), None, 10_000).picture(tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text.count("accuracy, % (mean ± std)") >= 1
    assert "points above" not in text


def test_accuracies_over_iterations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"data": "digits", "net": "mlp", "protocol": "dsa", "n": 3}
    rows = [{**about, "iteration": k, "mean": 50.0 + k, "std": 1.0} for k in (0, 5)]
    drawn = []
    monkeypatch.setattr(drawings, "curves", lambda axes, lines, *rest: drawn.extend(lines))
    made = [{"out": f"runs/{k}", "accuracy_at": rows} for k in (0, 1)] + [{"out": "runs/2"}]

    class Options:
        evaluate_plot = str(tmp_path / "a.png")

    assert evaluate_at.drawn(made, Options, ALONE) == [f"drawing: {tmp_path / 'a.png'}"]
    assert [line.name for line in drawn] == ["set 0", "set 1"]
    assert (drawn[0].x, drawn[0].y, drawn[0].spread) == ((0, 5), (50, 55), (1, 1))
    assert (tmp_path / "a.png").exists()
    assert evaluate_at.drawn(made[2:], Options, ALONE) == []
