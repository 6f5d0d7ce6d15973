"""Rows of applications, run on stand-ins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condensery import UsageError
from condensery.applications.adaptation import AdaptSettings
from condensery.reproduction import Experiment, applied, experiment_of
from condensery.reproduction.published import find
from condensery.reproduction.settings import ReproductionSettings
from condensery.reproduction.verdict import Amount
from tests.applications.test_adaptation import inverted
from tests.conftest import tiny

NET = "convnet2:width=4"


def experiment(table: str, name: str) -> Experiment:
    found = experiment_of(find(table, name))
    assert isinstance(found, Experiment)
    return replace(found, net=NET)


@pytest.fixture
def how(tmp_path: Path) -> ReproductionSettings:
    return ReproductionSettings(
        out=tmp_path, plan="exact", threads=1, quiet=True, say=lambda t: None
    )


def test_an_adaptation_gives_the_rows_own_accuracies(
    how: ReproductionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    short = {**(AdaptSettings.__init__.__kwdefaults__ or {}), "finetune_steps": 3}

    def stand_in(name: str, **shape: Any) -> Any:
        given.append((name, shape))
        return tiny()

    monkeypatch.setattr(applied, "load", stand_in)
    monkeypatch.setattr(applied, "contents_for", lambda *_: {})
    monkeypatch.setattr(AdaptSettings.__init__, "__kwdefaults__", short)
    amount = Amount(nets=2, epochs=1)
    target = inverted(tiny())
    row = experiment("dc/table4", "mnist/1/random")
    few = applied.applied(row, amount, target, how)
    none = applied.applied(experiment("dc/table4", "mnist/all/no_adaptation"), amount, target, how)
    assert given == [("svhn", {"size": 32, "channels": 3})] * 2
    condensed = experiment("dc/table4", "mnist/1/dc")
    job = applied.job_of(condensed, Amount(sets=2, nets=1, scale=0.1), target, how)
    condensing, training = job.seconds()
    assert job.sets == 2
    assert condensing > 0
    assert training > 0
    assert applied.job_of(row, amount, target, how).seconds()[0] == 0  # a selection is not counted
    assert [len(one) for one in few.accuracies] == [2]
    assert few.protocol.endswith("after source(epochs=1)")
    assert [len(one) for one in none.accuracies] == [2]
    with pytest.raises(UsageError, match="leave --data out"):
        applied.applied(row, Amount(data="digits"), target, how)


def test_class_incremental_rows_give_the_last_step(
    how: ReproductionSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applied, "contents_for", lambda *_: {})
    row = experiment("dm/text-3.5", "cifar100/20/random/steps=5")
    row = replace(row, ipc=2)
    data = tiny((4,) * 10)
    found = applied.applied(row, Amount(sets=2, nets=1, epochs=1), data, how)
    assert [len(one) for one in found.accuracies] == [1, 1]
    assert found.protocol == "gdumb+epochs=1"
