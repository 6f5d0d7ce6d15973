"""Evaluations that are cut to a time, keep what is finished, and say what they take."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from condensery.cli.main import main
from condensery.data import Data
from condensery.errors import UsageError
from condensery.evaluation.api import Evaluation, evaluate
from condensery.evaluation.cell import Cell
from condensery.evaluation.estimate import Cost, costs_of
from condensery.evaluation.fitting import expected, fitted, in_time
from condensery.evaluation.result import Result
from condensery.evaluation.run import EvaluationSettings
from condensery.runtime.distributed import ALONE
from condensery.runtime.plan import Plan, exact_plan
from condensery.selection import select_random
from condensery.training.trainer import Trainer

EXACT = exact_plan("cpu", 1)


def table(data: Data, *rows: Any, n: int = 5, minutes: float | None = None) -> Evaluation:
    """A small evaluation that is ready to run."""
    how = EvaluationSettings(n, plan=EXACT, minutes=minutes)
    return Evaluation(list(rows), data, network="mlp", protocol="dc", how=how)


def test_networks_are_cut_first_and_epochs_then(tiny_data: Data) -> None:
    cells = table(tiny_data, select_random(tiny_data, ipc=1), "whole", n=10).cells
    usual = [cell.training.epochs for cell in cells]
    costs = [Cost(60.0, 6.0), Cost(30.0, 6.0)]
    assert expected(cells, costs, 10) == 10 * 66 + 10 * 36
    assert fitted(cells, costs, 10, 60).n == 10
    some = fitted(cells, costs, 10, 10)
    assert some.n == 5  # 5 × 102 s are the most in 85 % of ten minutes
    assert [cell.training.epochs for cell in some.cells] == usual
    few = fitted(cells, costs, 10, 5)
    # 3 × 12 s of testing leave 219 s of 255 for training, which takes 270.
    assert few.n == 3
    for cell, before in zip(few.cells, usual, strict=True):
        assert 0.2 * before <= cell.training.epochs <= before * 219 / 270
        assert f"epochs={cell.training.epochs}" in cell.training.name
    assert few.seconds <= 0.85 * 300
    whole = few.cells[1]
    assert whole.schedule is not None
    assert whole.schedule.protocol == whole.training
    assert whole.schedule(whole.schedule.steps - 1) == 0.0
    assert fitted(cells, costs, 10, 3, keep_networks=True).n == 10
    kept = fitted(cells, costs, 10, 3, keep_epochs=True)
    assert [cell.training.epochs for cell in kept.cells] == usual


@pytest.mark.parametrize(("row", "epochs"), [("whole", 200), ("whole+batch=14", 100)])
def test_the_whole_split_is_not_cut_below_200_steps(tiny_data: Data, row: str, epochs: int) -> None:
    (cell,) = table(tiny_data, row).cells
    (cut,) = fitted([cell], [Cost(600.0, 0.0)], 5, 0.1).cells
    assert cut.training.epochs == epochs  # of 28 images, in batches of 128 and of 14
    assert cut.schedule is not None
    assert cut.schedule.steps == 200
    assert cut.training.name.startswith(f"whole(epochs={epochs}")


def test_a_short_schedule_for_whole_is_not_made_longer(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condensery.training.whole_split._LEAST_STEPS", 30)
    (cell,) = table(tiny_data, "whole").cells
    assert fitted([cell], [Cost(600.0, 0.0)], 5, 0.1).cells == [cell]


def test_epochs_that_were_typed_for_whole_stay(tiny_data: Data) -> None:
    (cell,) = table(tiny_data, "whole+epochs=40").cells
    assert fitted([cell], [Cost(600.0, 0.0)], 5, 1).cells == [cell]


def test_rounds_end_in_time_with_as_many_networks_for_every_row(tiny_data: Data) -> None:
    cells = table(tiny_data, select_random(tiny_data, ipc=1), "whole").cells
    now, asked = [0.0], list[tuple[str, int]]()

    def run(cell: Cell, n: int) -> Result:
        asked.append((cell.row.name, n))
        now[0] += 10.0
        return Result("x", "dm", 1, "d", "mlp", "dc", ((float(n),),), 0, 1, 10.0, "exact")

    found = in_time(cells, 5, 1, run, ALONE, lambda: now[0])
    # Rounds take 20 s: three of them fit a minute.
    assert [one.accuracies for one in found if one] == [(3.0,), (3.0,)]
    assert [n for _, n in asked] == [1, 1, 2, 2, 3, 3]
    now[0], asked[:] = 0.0, []
    first, second = in_time(cells, 5, 0.1, run, ALONE, lambda: now[0])
    assert first is not None
    assert second is None
    assert len(asked) == 1


def test_a_tight_time_begins_with_one_network_of_every_set(tiny_data: Data) -> None:
    """Two processes would train two, and the rows at the end would get none."""
    cells = table(tiny_data, select_random(tiny_data, ipc=1), "whole").cells
    shared = [dataclasses.replace(c, plan=Plan(threads=1, processes=2)) for c in cells]
    asked = list[int]()

    def run(cell: Cell, n: int) -> Result:
        asked.append(n)
        return Result("x", "dm", 1, "d", "mlp", "dc", ((float(n),),), 0, 1, 10.0, "exact")

    for tight, counts in ((True, [1, 1, 3, 3, 5, 5]), (False, [2, 2, 4, 4, 5, 5])):
        asked.clear()
        in_time(shared, 5, 1, run, ALONE, lambda: 0.0, tight=tight)
        assert asked == counts


def test_a_cut_evaluation_is_the_same_numbers_with_fewer_networks(tiny_data: Data) -> None:
    one = select_random(tiny_data, ipc=1)
    how: dict[str, Any] = {"network": "mlp", "protocol": "dc", "epochs": 2, "plan": EXACT}
    (whole,) = evaluate(one, tiny_data, repeats=3, **how)
    (timed,) = evaluate(one, tiny_data, repeats=3, minutes=5, **how)
    assert timed.sets == whole.sets


def test_what_is_finished_is_kept(
    tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = select_random(tiny_data, ipc=1)
    how: dict[str, Any] = {"network": "mlp", "epochs": 2, "plan": EXACT, "keep": tmp_path / "k"}
    told: list[float] = []

    def stop(what: str, found: float) -> None:
        told.append(found)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(one, tiny_data, repeats=3, on_network=stop, **how)
    trained: list[int] = []
    train = Trainer.train

    def counting(self: Trainer, *given: Any, **named: Any) -> Any:
        trained.append(1)
        return train(self, *given, **named)

    monkeypatch.setattr(Trainer, "train", counting)
    (found,) = evaluate(one, tiny_data, repeats=3, **how)
    assert len(trained) == 1
    assert list(found.accuracies[:2]) == told


def test_an_estimate_is_steps_and_test_images(tiny_data: Data) -> None:
    cells = table(tiny_data, select_random(tiny_data, ipc=1), "whole").cells
    longer = dataclasses.replace(cells[0], training=cells[0].training.changed(epochs=3000))
    costs = costs_of([cells[0], longer, cells[1]])
    assert all(cost.training > 0 and cost.testing > 0 for cost in costs)
    assert costs[1].training == pytest.approx(costs[0].training * 3000 / 300)


def test_epochs_are_told_while_a_network_is_trained(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condensery.evaluation.evaluator._EVERY", 0.0)
    parts: list[tuple[str, float]] = []
    ready = table(tiny_data, select_random(tiny_data, ipc=1), n=1)
    ready.run(on_part=lambda key, where, share: parts.append((where, share)))
    epochs = ready.cells[0].training.epochs
    told = [(f"epoch {done}/{epochs}", done / epochs) for done in range(1, epochs + 1)]
    assert parts == [*told, ("", 0.0)]


def test_the_command_draws_random_images_keeps_and_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["select", "herding", "--ipc", "1", "--net", "mlp", "--epochs", "1",
                 "--plan", "exact", "--out", "s", "--quiet"]) == 0  # fmt: skip
    line = ["evaluate", "s", "random", "--net", "mlp", "--epochs", "2", "--plan", "exact"]
    assert main([*line, "--nets", "2"]) == 0
    out = capsys.readouterr().out
    assert "time: about" in out
    assert "for 8 networks" in out  # one set and three draws
    assert main([*line, "--nets", "2", "--minutes", "1"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert next(row for row in again if row.startswith("random")).split()[4] == "6"
    assert not any(row.startswith("time: about") for row in again)  # all of it was kept
    assert main(["evaluate", "random", "--data", "digits", "--net", "mlp"]) == 2
    assert "at the budget of another row" in capsys.readouterr().err


def test_wrong_minutes_are_rejected(tiny_data: Data) -> None:
    for minutes in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UsageError, match="--minutes must be positive"):
            table(tiny_data, "whole", minutes=minutes)
