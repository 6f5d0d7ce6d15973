"""Condensing from Python does what the command does."""

from __future__ import annotations

from pathlib import Path

import pytest

from condensery import select
from condensery.cli.main import main
from condensery.condensation.api import condense
from condensery.condensation.loop import Condenser
from condensery.data import Data
from condensery.errors import UsageError
from condensery.sets.condensed import CondensedSet
from condensery.utils.renamed import old_names

NET = {"supply.net": "convnet1:width=4"}


def test_a_folder_is_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = condense("digits", ipc=1, iterations=3, plan="exact", overrides=NET, out="mine")
    line = ["condense", "--ipc", "1", "--iterations", "3", "--plan", "exact", "--quiet"]
    assert main([*line, "--supply.net", NET["supply.net"], "--out", "its"]) == 0
    names = {path.name for path in Path("its").iterdir()}
    assert {path.name for path in Path("mine").iterdir()} == names
    for file in ("condensed.safetensors", "recipe.yaml"):
        assert Path("mine", file).read_bytes() == Path("its", file).read_bytes()
    assert made.about.iterations == 3
    assert main(["resume", "mine", "--quiet"]) == 0


def test_a_stopped_run_continues_unless_that_is_not_wanted(
    tiny_data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = {"ipc": 1, "iterations": 4, "plan": "exact", "overrides": NET, "out": tmp_path / "r"}
    seen: list[int] = []

    def stop(run: Condenser) -> None:
        seen.append(run.iteration)
        if run.iteration == 2:
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        condense(tiny_data, after_iteration=stop, **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="resume=True"):
        condense(tiny_data, resume=False, **how)  # type: ignore[arg-type]
    again = condense(tiny_data, **how)  # type: ignore[arg-type]
    alone = condense(tiny_data, **{**how, "out": None})  # type: ignore[arg-type]
    assert again.stored.equal(alone.stored)
    assert condense(tiny_data, **how).stored.equal(alone.stored)  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""  # nothing is printed that was not asked for


def test_minutes_end_a_run(tiny_data: Data, tmp_path: Path) -> None:
    short = condense(
        tiny_data, ipc=1, iterations=100_000, minutes=0.01, plan="exact", overrides=NET
    )
    assert 0 < short.about.iterations < 100_000
    kept = condense(
        tiny_data, ipc=1, iterations=100_000, minutes=0.01, plan="exact", overrides=NET,
        out=tmp_path / "r",
    )  # fmt: skip
    assert kept.stored.equal(CondensedSet.load(tmp_path / "r").stored)
    with pytest.raises(UsageError, match="minutes must be positive"):
        condense(tiny_data, minutes=0)


def test_a_selection_has_a_folder_as_well(tiny_data: Data, tmp_path: Path) -> None:
    made = select(tiny_data, "random", ipc=2, out=tmp_path / "s")
    assert select(tiny_data, "random", ipc=2, out=tmp_path / "s").stored.equal(made.stored)
    assert CondensedSet.load(tmp_path / "s").stored.equal(made.stored)
    with pytest.raises(UsageError, match="holds something else"):
        select(tiny_data, "random", ipc=1, out=tmp_path / "s")


def test_old_names_work_and_warn(tiny_data: Data) -> None:
    with pytest.warns(DeprecationWarning, match="rate of load is now called sample_rate"):
        assert old_names("load", {"rate": 1}, {"rate": "sample_rate"}) == {"sample_rate": 1}
    with pytest.raises(TypeError, match="'lr'; did you mean 'overrides="):
        condense(tiny_data, lr=0.1)
    with pytest.raises(TypeError, match="'method'; did you mean 'recipe'"):
        condense(tiny_data, method="dm")
