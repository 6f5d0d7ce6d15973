"""Pixel rates found by trials: what is looked at, what is chosen, and that it is repeated."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from condensery import DataError, UsageError, condense
from condensery.cli import found_out
from condensery.cli.main import main
from condensery.condensation import rate_trials
from condensery.condensation.configure import resolved
from condensery.condensation.dry_run import DryRun
from condensery.condensation.loop import Condenser
from condensery.condensation.rate_trials import RateTrials, Trial, chosen, try_rates
from condensery.condensation.trial_data import held_apart
from condensery.config.recipes import read_config
from condensery.config.schema import RunConfig
from condensery.data import Data, load
from condensery.errors import DivergedError
from condensery.methods.pools.networks import divide
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.runtime.plan import exact_plan
from condensery.training.trainer import Course

NET = "convnet1:width=4"
FEW: dict[str, Any] = {"ipc": 1, "iterations": 50, "real_batch": 5, "supply.net": NET}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_NETS", 1), ("_STEPS", 4), ("_LEAST_STEPS", 2)):
        monkeypatch.setattr(rate_trials, name, value)


def config_of(data: Data, **fields: Any) -> RunConfig:
    return resolved(data, "dm", {**FEW, **fields}).config


def tried(data: Data, **fields: Any) -> RateTrials:
    return try_rates(data, config_of(data, **fields), exact_plan("cpu", 1))


def test_the_rate_nearest_to_the_recipes_among_the_good_ones() -> None:
    # A standard error of 80 % on 1600 images is one point: 79.2 is as good as 80.
    trials = [Trial(0.1, 79.2), Trial(1.0, 78.9), Trial(10.0, 80.0), Trial(100.0, None)]
    assert chosen(trials, 1.0, 1600) == 0.1, "of two equally far the smaller one"
    assert chosen(trials, 5.0, 1600) == 10.0
    assert chosen(trials, 1.0, 400) == 1.0, "now the error is two points"
    assert chosen([Trial(0.1, 100.0), Trial(1.0, 99.9)], 1.0, 1600) == 0.1
    with pytest.raises(DivergedError, match=r"every trial .* \(1, 2\); give a smaller number"):
        chosen([Trial(1.0, None), Trial(2.0, None)], 1.0, 10)


@pytest.mark.parametrize(
    ("best", "places"),
    [(0, [-2, -1, 0, 1, 2]), (2, [-2, -1, 0, 1, 2, 3]), (-9, [-4, -3, -2, -1, 0, 1, 2])],
)
def test_trials_go_on_beyond_an_end_that_is_best(
    best: int, places: list[int], tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(work: Any, rate: float, count: int, stops: list[int]) -> float:
        place = round(2 * torch.tensor(rate).log10().item())
        return 50.0 - abs(place - best)

    monkeypatch.setattr(rate_trials._Work, "_accuracy", accuracy)
    rates = [one.rate for one in tried(tiny_data).trials]
    assert rates == [float(f"{10 ** (place / 2):.3g}") for place in places]


def test_what_is_held_out_is_not_condensed_and_no_test_image_is_seen(tiny_data: Data) -> None:
    parts = held_apart(tiny_data, config_of(tiny_data))
    of_train = {image.numpy().tobytes() for image in tiny_data.train.images}
    kept, held = (
        {image.numpy().tobytes() for image in split.images} for split in (parts.train, parts.test)
    )
    assert not kept & held
    assert kept | held == of_train
    assert parts.test.counts == (2, 1, 2), "a fifth of each class"
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    poisoned = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    assert tried(poisoned).trials == tried(tiny_data).trials


def test_the_accuracy_is_that_of_the_held_out_part(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = Course.accuracy

    def watched(course: Course, split: Any) -> float:
        seen.append((course, split))
        return 0.5

    monkeypatch.setattr(Course, "accuracy", watched)
    found = tried(tiny_data)
    assert {one.accuracy for one in found.trials} == {50.0}
    course, split = seen[0]
    rows = torch.arange(len(split))
    images, labels = split.take(rows)
    share = (course.network.eval()(images).argmax(1) == labels).float().mean()
    assert real(course, split) == pytest.approx(float(share))
    assert len(split) == found.held_out == 5


def test_a_pools_own_hold_out_is_taken(tiny_data: Data, tmp_path: Path) -> None:
    settings = pool_settings(tiny_data, NET, epochs=1, held_out=0.5, seed=3)
    pool = train_pool(tiny_data, settings, 1, tmp_path / "pool")
    fields = {"supply.kind": "pool", "supply.path": str(pool.path), "supply.net": None}
    given = {k: v for k, v in {**FEW, **fields}.items() if v is not None}
    config = resolved(tiny_data, "dm", given).config
    parts = held_apart(tiny_data, config)
    wanted = divide(tiny_data.train, 0.5, 3)[1]
    assert torch.equal(parts.test.images, tiny_data.train.images[wanted])
    found = try_rates(tiny_data, config, exact_plan("cpu", 1))
    assert found.net == NET
    assert all(one.accuracy is not None for one in found.trials)


def test_trials_fit_their_share_of_the_run_and_of_the_time(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = DryRun(0.0, 1.0, 0.0, 1, 0.0, 0, 0, 30)
    monkeypatch.setattr(rate_trials, "dry_run", lambda *_: measured)
    monkeypatch.setattr(rate_trials, "pass_seconds", lambda *_: 0.5)
    config = config_of(tiny_data, iterations=1000)
    work = rate_trials._Work(tiny_data, config, exact_plan("cpu", 1))
    # Four per cent of the run; scoring takes 1 network × 4 steps × .5 s.
    assert work.fitted(None) == (40, 5 * (40 + 2.0))
    assert work.fitted(84.0) == (10, 5 * (10 + 2.0)), "seven trials of 12 s"
    with pytest.raises(UsageError, match=r"--minutes is too short for --optimizer\.rate auto"):
        work.fitted(20.0)


def test_a_trial_is_a_run_of_that_length_whose_rate_falls_to_its_end(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RunConfig] = []

    def watched(data: Data, config: RunConfig, plan: Any) -> Any:
        seen.append(config)
        return Condenser(data, config, plan)

    monkeypatch.setattr(rate_trials, "Condenser", watched)
    fields: dict[str, Any] = {"optimizer.falls_until": 50, "until": "converged", "window": 10}
    found = tried(tiny_data, **fields)
    assert [one.optimizer.rate for one in seen[:5]] == [0.1, 0.316, 1.0, 3.16, 10.0]
    assert {(c.iterations, c.optimizer.falls_until, c.until) for c in seen} == {
        (found.iterations, found.iterations, "iterations")
    }


def test_the_command_writes_the_number_and_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", "digits", "--ipc", "1", "--threads", "1"]
    few = ["--supply.net", NET, "--iterations", "3", "--real-batch", "5"]
    asked = ["condense", *common, *few, "--optimizer.rate", "auto", "--out", str(tmp_path / "a")]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert "rate: 5 to 7 trials of 2 iterations, told apart by 1 networks each" in told
    facts = json.loads((tmp_path / "a" / "run.json").read_text())["rate_trials"]
    held = read_config(tmp_path / "a")
    assert held["optimizer"]["rate"] == facts["rate"]
    assert f"rate: {facts['rate']:g} is taken; the recipe has 1 (" in told
    assert len(facts["trials"]) >= 5
    monkeypatch.setattr(found_out, "tried", lambda *_, **__: pytest.fail("tried again"))
    assert main(asked) == 0
    again = ["condense", "--config", str(tmp_path / "a"), "--threads", "1"]
    assert main([*again, "--out", str(tmp_path / "b")]) == 0
    files = [tmp_path / name / "condensed.safetensors" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    capsys.readouterr()
    assert main([*asked[:-1], str(tmp_path / "c"), "--dry-run"]) == 0
    assert "rates are tried before the run; this is the recipe's, 1" in capsys.readouterr().out


def test_in_python_it_is_the_same_set_as_with_the_number(
    tiny_data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    how: dict[str, Any] = {"ipc": 1, "iterations": 3, "threads": 1}
    fields = {"real_batch": 5, "supply.net": NET}
    out = tmp_path / "run"
    found = condense(
        tiny_data, "dm", out=out, overrides={**fields, "optimizer.rate": "auto"}, **how
    )
    assert "is taken; the recipe has 1" in caplog.text
    rate = read_config(out)["optimizer"]["rate"]
    same = condense(tiny_data, "dm", overrides={**fields, "optimizer.rate": rate}, **how)
    assert torch.equal(found.images, same.images)
    caplog.clear()
    nested = {**fields, "optimizer": {"rate": "auto"}}
    condense(tiny_data, "dm", out=out, overrides=nested, **how)
    assert "is taken" not in caplog.text, "the folder has its rate"


def test_what_cannot_be_tried_is_said(tiny_data: Data) -> None:
    with pytest.raises(UsageError, match="needs iterations to try"):
        tried(tiny_data, iterations=0)
    with pytest.raises(DataError, match=r"'1' has 7 images, too few .* budget of 7; give a number"):
        tried(tiny_data, ipc=7)
    with pytest.raises(UsageError, match=r"optimizer\.rate auto is not for files"):
        resolved(tiny_data, {"recipe": "dm", "optimizer": {"rate": "auto"}})
