"""What is found out before a run, from Python and by the command, and the time that it takes."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condensery import CondensedSet, UsageError, condense
from condensery.cli.main import main
from condensery.condensation import api, before, in_time
from condensery.condensation.configure import resolved
from condensery.condensation.dry_run import DryRun
from condensery.condensation.in_time import fitted, previewed
from condensery.condensation.networks_in_time import Where
from condensery.condensation.run_folder import RunFolder
from condensery.config.budget import TimeBudget
from condensery.config.recipes import read_config, read_recipe
from condensery.data import Data, load
from condensery.errors import DivergedError
from condensery.methods.pools import in_time as pools
from condensery.methods.pools.in_time import PoolTraining
from condensery.methods.pools.store import Pool
from condensery.runtime.plan import Plan, exact_plan
from condensery.utils.facts import note_facts
from tests.conftest import tiny

NET = "convnet1:width=4"
BUDGET = TimeBudget(pool=0.2, batch=2)
PLAN = exact_plan("cpu", 1)


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes ten seconds, and an iteration a second: tests read no clock."""
    monkeypatch.setattr(pools, "seconds_per_epoch", lambda *_: 10.0)
    measured = DryRun(0.0, 1.0, 0.0, 1, 0.0, 0, 0, 0)
    monkeypatch.setattr(in_time, "dry_run", lambda *_, planned: measured)
    for module in (pools, in_time, before):
        monkeypatch.setattr(module, "monotonic", lambda: 0.0)


def chosen(
    data: Data,
    given: dict[str, Any],
    *,
    base: dict[str, Any] | None = None,
    budget: TimeBudget = BUDGET,
    plan: Any = fitted,
) -> tuple[dict[str, Any], list[str]]:
    """What is chosen for 40 seconds, and what is said."""
    said: list[str] = []
    recipe = base or read_recipe("best")
    where = Where(plan=PLAN, say=said.append)

    def resolve(fields: Any) -> Any:
        return resolved(data, dict(recipe), fields)

    return plan(data, budget, 40, {"ipc": 1, **given}, resolve, where), said


def test_condense_in_python_plans_for_its_minutes(
    tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"minutes": 2 / 3, "plan": PLAN, "overrides": {"supply.net": NET}}
    made = condense(tiny_data, "best", ipc=1, out=tmp_path / "r", **how)
    held = read_config(tmp_path / "r")
    assert held["supply"]["kind"] == "fresh", "there are few images"
    assert held["iterations"] == held["optimizer"]["falls_until"] == int(0.95 * 40)
    assert made.about.iterations == held["iterations"]

    monkeypatch.setattr(before, "fitted", lambda *_: pytest.fail("planned again"))
    again = condense(tiny_data, "best", ipc=1, out=tmp_path / "r", **how)
    assert again.stored.equal(made.stored)
    with pytest.raises(UsageError, match=r"another run \(best, 1 image per class\)"):
        condense(tiny_data, "best", ipc=2, out=tmp_path / "r", **how)


@pytest.mark.parametrize("folder", [True, False])
def test_a_plan_is_made_for_all_the_minutes(
    folder: bool, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether compiling pays was asked for them when steps were measured."""
    told: list[Any] = []

    def asked(*given: Any, **how: Any) -> Plan:
        told.append(how["minutes"])
        return PLAN

    monkeypatch.setattr(api, "plan_of_run" if folder else "plan_for", asked)
    ticks = itertools.count()
    monkeypatch.setattr(before, "monotonic", lambda: next(ticks))
    how: dict[str, Any] = {"minutes": 0.5, "plan": PLAN, "overrides": {"supply.net": NET}}
    condense(tiny_data, "best", ipc=1, out=tmp_path / "r" if folder else None, **how)
    assert told == [0.5]


def test_a_recipe_without_a_budget_is_not_planned(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(before, "fitted", lambda *_: pytest.fail("planned"))
    how: dict[str, Any] = {"plan": PLAN, "overrides": {"supply.net": NET}, "iterations": 2}
    assert condense(tiny_data, "dm", ipc=1, minutes=5, **how).about.iterations == 2
    assert condense(tiny_data, "best", ipc=1, **how).about.iterations == 2


def test_planning_counts_when_a_run_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    common = ["--data", "digits", "--ipc", "1", "--threads", "1", "--plan", "exact"]
    small = ["--iterations", "100000", "--supply.net", NET]
    command = ["condense", *common, *small, "--minutes", "0.01", "--out", str(out)]
    assert main(command) == 0
    assert RunFolder(out).seconds_before == 0.0
    note_facts(out, seconds_before=120.0)
    assert RunFolder(out).left(3.0) == 1.0
    assert RunFolder(out).left(None) is None
    capsys.readouterr()
    spent = 2 + RunFolder(out).facts()["seconds"] / 60
    assert main(["resume", str(out), "--minutes", f"{spent - 0.001}"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    held = CondensedSet.load(out).about.iterations
    assert main(["resume", str(out), "--minutes", f"{spent + 0.02}"]) == 0
    assert CondensedSet.load(out).about.iterations > held
    assert "min (2.0 min of it before the first iteration)" in capsys.readouterr().out
    assert RunFolder(out).seconds_before == 120.0


def test_planning_counts_for_the_sets_that_were_to_follow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    common = ["--data", "digits", "--ipc", "1", "--threads", "1", "--plan", "exact", "--sets", "2"]
    small = ["--iterations", "100000", "--supply.net", NET]
    command = ["condense", *common, *small, "--out", str(out), "--minutes"]
    assert main([*command, "0.01"]) == 0
    note_facts(out / "0", seconds_before=120.0, seconds_reserved=60.0)
    shutil.rmtree(out / "1")
    assert main([*command, "3.01"]) == 0
    told = json.loads((out / "1" / "run.json").read_text())
    assert (told["seconds_before"], told["seconds_reserved"]) == (120.0, 60.0)
    assert told["seconds"] < 10.0


def test_the_command_writes_what_planning_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    limited = ["--recipe", "best", "--minutes", "0.2", "--supply.net", NET, "--quiet"]
    common = ["--data", "digits", "--ipc", "1", "--threads", "1", "--iterations", "1"]
    assert main(["condense", *limited, *common, "--out", str(tmp_path / "r")]) == 0
    told = json.loads((tmp_path / "r" / "run.json").read_text())
    assert 0 < told["seconds_before"] < 12
    assert told["seconds_reserved"] == pytest.approx(0.12)


def test_a_dry_run_trains_nothing_and_tells_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pools, "train_pool", lambda *_, **__: pytest.fail("trained"))
    common = ["--data", "digits", "--ipc", "1", "--threads", "1", "--supply.net", NET]
    command = ["condense", "--minutes", "10", "--dry-run", *common]
    assert main([*command, "--recipe", "best", "--out", str(tmp_path / "r")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "an epoch takes 10.0 s: too long to find out whether the data are easy" in told
    assert "fresh ones otherwise, for fewer than 200 images per class on average" in told
    own = tmp_path / "own.yaml"
    own.write_text("recipe: best\nbudget: {few_images: 0}")
    assert main([*command, "--recipe", str(own), "--out", str(tmp_path / "r")]) == 0
    told = " ".join(capsys.readouterr().out.split())  # lines are broken at words
    assert "an epoch takes 10.0 s: a pool of about 20" in told
    assert "iterations would fit into" in told
    assert "nothing was written" in told
    assert "time: at most" not in told
    assert not (tmp_path / "r").exists()


def test_a_dry_run_of_typed_iterations_tells_their_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", "digits", "--ipc", "1", "--threads", "1", "--supply.net", NET]
    command = ["condense", "--recipe", "best", "--minutes", "10", "--dry-run", *common]
    assert main([*command, "--iterations", "3", "--out", str(tmp_path / "r")]) == 0
    assert "time: about" in capsys.readouterr().out


def test_a_preview_measures_the_steps_of_the_plan(tiny_data: Data) -> None:
    found, said = chosen(tiny_data, {"supply.net": NET}, plan=previewed)
    # .68 epochs of ten seconds fit into a fifth of 40 seconds, with some room.
    assert found["supply.kind"] == "fresh"
    assert found["iterations"] == int(0.95 * (40 - 6.8))
    assert any("a pool of about 0.68 epochs" in line for line in said)
    found, said = chosen(tiny_data, {"supply.net": NET, "iterations": 3}, plan=previewed)
    assert "iterations" not in found
    longer = TimeBudget(pool=0.2, batch=2, least_epochs=2)
    found, said = chosen(tiny_data, {"supply.net": NET}, plan=previewed, budget=longer)
    assert found["iterations"] == int(0.95 * 40)
    assert any("too long for a pool" in line for line in said)


def test_the_networks_of_a_recipe_of_ones_own_are_kept(tiny_data: Data) -> None:
    own = {**read_recipe("best"), "over": {"supply": {"net": "convnet2:width=4"}, "seed": 7}}
    found, _ = chosen(tiny_data, {}, base=own)
    pool = Pool.read(Path(found["supply.path"]))
    assert (pool.settings["net"], pool.settings["seed"]) == ("convnet2:width=4", 7)
    narrow, _ = chosen(tiny_data, {})
    assert Pool.read(Path(narrow["supply.path"])).settings["net"] == f"{tiny_data.net}:width=64"

    path = str(pool.path)
    held = {**read_recipe("best"), "over": {"supply": {"kind": "pool", "path": path}}}
    found, _ = chosen(tiny_data, {}, base=held)
    assert not any(name.startswith("supply") for name in found), "its pool is its own"
    for given, budget in (({}, TimeBudget(pool=0)), ({"supply": "fresh"}, BUDGET)):
        found, _ = chosen(tiny_data, given, budget=budget)
        assert not any(name.startswith("supply") for name in found)


def test_a_network_that_a_file_names_is_not_narrowed(tiny_data: Data, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        f"recipe: best\nsupply: {{net: {tiny_data.net}, steps: 9}}\n"
        "budget: {batch: 2, few_images: 0, least_known: 0}"
    )
    made = condense(
        tiny_data, str(file), ipc=1, minutes=0.5, out=tmp_path / "r", plan=PLAN
    )  # fmt: skip
    held = read_config(tmp_path / "r")["supply"]
    assert held["kind"] == "pool"
    assert held["steps"] == 1, "nine were meant for another kind of supply"
    assert Pool.read(Path(held["path"])).settings["net"] == tiny_data.net
    assert made.about.method == "own"


def test_a_network_from_outside_is_named_to_the_pool(tiny_data: Data) -> None:
    path = "tests.methods.test_pools:Mine"
    found, _ = chosen(tiny_data, {"supply.net": path})
    assert found["supply.module"] == path
    resolved(tiny_data, "best", {**found, "ipc": 1})
    again = in_time.together({"supply.kind": "pool"}, {"supply.net": path})
    assert again == {"supply.kind": "pool", "supply.module": path}, "typed once more"


def test_a_class_with_one_image_has_no_pool() -> None:
    found, said = chosen(tiny((12, 1, 9)), {"supply.net": NET})
    assert found["supply.kind"] == "fresh"
    assert found["objective.classification"] == 0.0
    assert any("a single image" in line for line in said)
    found, said = chosen(tiny((12, 1, 9)), {"supply.net": NET}, plan=previewed)
    assert found["supply.kind"] == "fresh"
    assert any("a single image" in line for line in said)


def test_networks_that_diverge_make_no_pool(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*_: Any, **__: Any) -> None:
        raise DivergedError("NaN")

    monkeypatch.setattr(PoolTraining, "pool", diverged)
    found, said = chosen(tiny_data, {"supply.net": NET})
    assert found["supply.kind"] == "fresh"
    assert any("diverges at the rate 0.05" in line for line in said)


def test_tiles_that_do_not_fit_are_passed_over() -> None:
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], 9)
    narrow = load((rng.integers(0, 255, (27, 5, 16)).astype(np.uint8), labels))
    budget = TimeBudget(pool=0.2, batch=2, detail=0.01)
    base = {**read_recipe("best"), "cases": []}
    found, _ = chosen(narrow, {"supply.net": NET}, base=base, budget=budget)
    assert found["formation.factor"] == 2


def test_wrong_colours_are_found_before_any_training(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PoolTraining, "pool", lambda *_: pytest.fail("trained"))
    budget = TimeBudget(pool=0.2, batch=2, detail=0.8)
    with pytest.raises(UsageError, match="is for RGB images"):
        chosen(tiny_data, {"formation.chroma": "half"}, budget=budget)


def test_batches_hold_no_more_than_the_largest_class(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = TimeBudget(pool=0.2, batch=2, enough_iterations=10)
    found, _ = chosen(tiny_data, {"supply.net": NET, "real_batch": 5}, budget=budget)
    assert "real_batch" not in found, "it was given"
    small = {**read_recipe("best"), "real_batch": 5}
    found, _ = chosen(tiny_data, {"supply.net": NET}, base=small, budget=budget)
    assert found["real_batch"] == 12, "of 19, the images of the largest class"
    found, _ = chosen(tiny_data, {"supply.net": NET}, budget=budget)
    assert "real_batch" not in found, "64 are all there are"
