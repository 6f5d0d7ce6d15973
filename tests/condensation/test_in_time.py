"""Recipes fitted to a time: what is chosen, and that it is repeated."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from condensery import CondensedSet, UsageError
from condensery.cli import in_minutes
from condensery.cli.main import main
from condensery.condensation import configure, in_time, networks_in_time
from condensery.condensation.configure import facts_of, resolved
from condensery.condensation.dry_run import DryRun
from condensery.condensation.in_time import fitted
from condensery.condensation.networks_in_time import Where
from condensery.config.budget import TimeBudget, time_budget
from condensery.config.recipes import read_config, read_recipe
from condensery.config.schema import RunConfig
from condensery.data import Data, load
from condensery.methods.formation.multi import MultiFormation
from condensery.methods.pools import in_time as pools
from condensery.methods.pools.in_time import PoolTraining
from condensery.methods.pools.knowledge import Mirrored
from condensery.methods.pools.store import Pool
from condensery.runtime.plan import Plan, exact_plan
from tests.conftest import tiny

NET = "convnet1:width=4"
#: Larger images have larger tiles, and these are 8×8.
SMALL: dict[str, Any] = {"supply.net": NET, "ipc": 1, "real_batch": 5}
PLAIN = TimeBudget(pool=0.2, batch=2)


@pytest.fixture(autouse=True)
def _known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes ten seconds, and an iteration a second: tests read no clock."""
    monkeypatch.setattr(pools, "seconds_per_epoch", lambda *_: 10.0)
    measured = DryRun(0.0, 1.0, 0.0, 1, 0.0, 0, 0, 0)
    monkeypatch.setattr(in_time, "dry_run", lambda *_, planned: measured)
    for module in (pools, in_time):
        monkeypatch.setattr(module, "monotonic", lambda: 0.0)


def chosen(
    data: Data,
    seconds: float,
    given: dict[str, Any] | None = None,
    budget: TimeBudget = PLAIN,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    typed = {**SMALL, **(given or {})}
    base = read_recipe("best")
    where = Where(plan=exact_plan("cpu", 1), say=say)
    return fitted(
        data,
        budget,
        seconds,
        typed,
        lambda fields: resolved(data, base, fields),
        where,
    )


def test_pool_and_iterations_fit_the_time(tiny_data: Data) -> None:
    found = chosen(tiny_data, 40)
    # A fifth of it, 8 s, is .68 of an epoch with some room: the last mark before that.
    pool = Pool.read(Path(found["supply.path"]))
    assert [one.epoch for one in pool.snapshots] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert found["supply.kind"] == "pool"
    assert found["iterations"] == int(0.95 * 40)
    assert found["optimizer.falls_until"] == found["iterations"]
    assert "objective.classification" not in found, "the recipe's own"


def test_a_falling_rate_ends_with_the_time_and_early_networks_are_left_out(
    tiny_data: Data,
) -> None:
    budget = TimeBudget(pool=0.2, batch=2, schedule="linear", average=0.5, early=0.5)
    found = chosen(tiny_data, 40.0, budget=budget)
    pool = Pool.read(Path(found["supply.path"]))
    # 8 seconds at 10 an epoch, with room: .68 epochs, so .6, at five points.
    assert [one.epoch for one in pool.snapshots] == [0.36, 0.48, 0.6]
    assert pool.settings["schedule"] == "linear"
    assert pool.settings["average"] == 0.5
    plain = chosen(tiny_data, 40.0)
    assert plain["supply.path"] != found["supply.path"]


@pytest.mark.parametrize(("steps", "first"), [(0, 0.3), (3, 0.3), (2, 0.2), (1, 0.1)])
def test_networks_are_kept_from_a_share_or_a_step_on(
    steps: int, first: float, tiny_data: Data
) -> None:
    """Of .5 epochs of 13 steps: from .3 on, which are 3.9 steps, or from an earlier step."""
    budget = TimeBudget(pool=0.2, batch=2, early=0.6, early_steps=steps)
    found = chosen(tiny_data, 40.0, budget=budget)
    assert Pool.read(Path(found["supply.path"])).snapshots[0].epoch == first


def test_a_pool_is_taken_again(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    first = chosen(tiny_data, 40)
    monkeypatch.setattr(pools, "train_pool", lambda *_, **__: pytest.fail("trained again"))
    assert chosen(tiny_data, 40)["supply.path"] == first["supply.path"]
    assert chosen(tiny_data, 30)["supply.path"] == first["supply.path"], "it is long enough"


def test_a_pool_beyond_the_most_epochs_is_not_taken(tiny_data: Data) -> None:
    long = chosen(tiny_data, 40)["supply.path"]
    short = TimeBudget(pool=0.2, batch=2, most_epochs=0.4)
    found = chosen(tiny_data, 40, budget=short)["supply.path"]
    assert [Path(path).name for path in (long, found)] == ["epochs-0.5", "epochs-0.4"]
    assert chosen(tiny_data, 40, budget=short)["supply.path"] == found
    assert chosen(tiny_data, 40)["supply.path"] == long


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        ("constant", [12.5, 15, 20, 25]),
        ("linear", [20.588, 22.059, 23.529, 25]),  # 14 to 17 of 17 parts
    ],
)
def test_few_images_are_trained_on_for_more_epochs(
    schedule: Literal["constant", "linear"], last: list[float], tiny_data: Data
) -> None:
    """Three of the 28 images are held out, so an epoch is 13 steps of two of them."""

    def path(seconds: float, steps: int) -> Path:
        budget = TimeBudget(
            pool=0.5, batch=2, most_epochs=0.4, least_steps=steps, schedule=schedule
        )
        return Path(chosen(tiny_data, seconds, budget=budget)["supply.path"])

    for steps, seconds, epochs in ((5, 40, 1), (14, 100, 2), (325, 1000, 25)):
        found = path(seconds, steps)
        assert found.name == f"epochs-{epochs}"
        assert path(seconds, steps) == found, "and taken again"
    assert [one.epoch for one in Pool.read(found).snapshots][-4:] == last


def test_without_time_for_a_pool_networks_are_fresh(tiny_data: Data) -> None:
    found = chosen(tiny_data, 10)
    assert found["supply.kind"] == "fresh"
    assert found["objective.classification"] == 0.0


@pytest.mark.parametrize(("few", "pooled"), [(9, True), (10, False)])
def test_few_images_get_fresh_networks(few: int, pooled: bool, tiny_data: Data) -> None:
    """Three classes have 28 images: more than nine each, and fewer than ten."""
    budget = dataclasses.replace(PLAIN, few_images=few)
    found = chosen(tiny_data, 200, budget=budget)
    assert found["supply.kind"] == ("pool" if pooled else "fresh")
    assert ("supply.path" in found) == pooled
    assert found.get("supply.net") == (None if pooled else NET)
    assert found.get("objective.classification") == (None if pooled else 0.0)
    typed = chosen(tiny_data, 200, {"objective.classification": 1.0}, budget)
    assert "objective.classification" not in typed, "what the user gave stays"


def test_few_easy_images_are_easy(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    knowing(tiny_data, monkeypatch)
    budget = dataclasses.replace(PLAIN, few_images=10, known=95.0, easy=EASY)
    found = chosen(tiny_data, 200, budget=budget)
    assert {name: found.get(name) for name in EASY if name not in SMALL} == {
        name: value for name, value in EASY.items() if name not in SMALL
    }


def test_few_images_take_350_steps_to_find_out(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of the 28 images are held out, so an epoch is 13 steps of two of them."""
    ends: list[float] = []

    def noted(training: PoolTraining) -> None:
        ends.append(training.wanted.most_epochs)

    monkeypatch.setattr(PoolTraining, "pool", noted)
    for few, steps in ((0, 3500), (10, 3500), (10, 0)):
        budget = dataclasses.replace(PLAIN, few_images=few, least_steps=steps, most_epochs=50)
        chosen(tiny_data, 200, budget=budget)
    assert ends == [270, 27, 27], "3500 steps, and 350"


def knowing(data: Data, monkeypatch: pytest.MonkeyPatch) -> Pool:
    """A pool whose last snapshot knows 96 %, and earlier ones more, which is found from now on."""
    pool = Pool.read(Path(chosen(data, 40)["supply.path"]))
    ends = {0.1: 50.0, 0.5: 96.0}
    told = tuple(
        dataclasses.replace(one, accuracy=ends.get(one.epoch, 98.0)) for one in pool.snapshots
    )
    found = dataclasses.replace(pool, snapshots=told)
    monkeypatch.setattr(PoolTraining, "pool", lambda *_, **__: found)
    monkeypatch.setattr(networks_in_time, "known_of", measured_of)
    return found


def measured_of(pool: Pool, data: Data) -> float:
    """Without what the error of three images takes off."""
    return max(pool.snapshots, key=lambda one: one.epoch).accuracy or 0.0


def test_networks_that_know_nearly_all_tell_no_class(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(tiny_data, monkeypatch)
    for known, off in ((95.0, True), (96.0, False), (97.0, False)):
        found = chosen(tiny_data, 40, budget=TimeBudget(pool=0.2, batch=2, known=known))
        assert (found.get("objective.classification") == 0.0) == off, "by the last of them"
        assert found["supply.kind"] == "pool", "their features are matched"


EASY = {
    "objective.classification": 0.0,
    "supply.kind": "fresh",
    "augmentation.kind": "siamese_op",
    "real_batch": 9,
}


@pytest.mark.parametrize(
    ("given", "differs"),
    [
        ({}, {}),
        ({"objective.classification": 1.0}, {"objective.classification": 1.0}),
        ({"augmentation.strategy": "crop"}, {"augmentation.kind": None}),
        ({"objective.kind": "class_gradients"}, {"objective.classification": None}),
    ],
    ids=str,
)
def test_easy_data_get_the_fields_of_the_recipe(
    given: dict[str, Any],
    differs: dict[str, Any],
    tiny_data: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    knowing(tiny_data, monkeypatch)
    budget = TimeBudget(pool=0.2, batch=2, known=95.0, easy=EASY)
    typed = {"ipc": 1, "supply.net": NET, **given}
    base = read_recipe("best")
    said: list[str] = []
    where = Where(plan=exact_plan("cpu", 1), say=said.append)
    found = fitted(tiny_data, budget, 40, typed, lambda f: resolved(tiny_data, base, f), where)
    assert "supply.path" not in found, "networks are fresh"
    assert found["supply.net"] == NET
    assert any("they know at least 96.0 % of what there is" in line for line in said)
    both = {**found, **given}
    assert {name: both.get(name) for name in EASY} == {**EASY, **differs}


def test_batches_of_easy_data_are_not_made_larger(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowing(tiny_data, monkeypatch)
    monkeypatch.setattr(in_time, "dry_run", lambda *a, **k: DryRun(0.0, 0.1, 0.0, 1, 0.0, 0, 0, 0))
    base = {**read_recipe("best"), "real_batch": 4}
    typed = {"ipc": 10, "supply.net": NET, "formation.factor": 3}

    def batches(**easy: int) -> list[int | None]:
        fields = {"supply.kind": "fresh", **easy}
        budget = TimeBudget(pool=0.2, batch=2, known=95.0, enough_iterations=50, easy=fields)
        where = Where(plan=exact_plan("cpu", 1))
        found = fitted(tiny_data, budget, 400, typed, lambda f: resolved(tiny_data, base, f), where)
        return [found.get(name) for name in ("real_batch", "synthetic_batch")]

    assert batches() == [12, 90], "the largest class has 12"
    assert batches(real_batch=4) == [4, 90]
    assert batches(real_batch=4, synthetic_batch=30) == [4, 30]


@pytest.mark.parametrize("wrong", ["suply.kind", "augmentation.kind", "optimizer.rat"])
def test_wrong_fields_for_easy_data_are_found_before_any_training(
    wrong: str, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PoolTraining, "pool", lambda *_: pytest.fail("trained"))
    with pytest.raises(UsageError, match=r"suply|fre\b|rat\b"):
        chosen(tiny_data, 40, budget=TimeBudget(pool=0.2, batch=2, easy={wrong: "fre"}))


def test_a_short_training_tells_easy_data(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = TimeBudget(pool=0.2, batch=2, known=95.0, easy={"supply.kind": "fresh"})
    for module in (pools, networks_in_time):
        monkeypatch.setattr(module, "known_of", lambda *_: 95.0)
    found = chosen(tiny_data, 100.0, budget=fresh)
    assert Path(found["supply.path"]).name == "epochs-1.5", "20 s, less the room, are 1.7 epochs"
    folder = Path(found["supply.path"]).parent
    assert (folder / "epochs-0.1" / "pool.json").exists(), "what the short training told"
    shutil.rmtree(folder)

    for module in (pools, networks_in_time):
        monkeypatch.setattr(module, "known_of", lambda *_: 95.1)
    assert chosen(tiny_data, 100.0, budget=fresh)["supply.kind"] == "fresh"
    assert [one.name for one in folder.iterdir()] == ["epochs-0.1"], "nothing was trained further"
    monkeypatch.setattr(pools, "train_pool", lambda *_, **__: pytest.fail("trained again"))
    assert chosen(tiny_data, 100.0, budget=fresh)["supply.kind"] == "fresh"


def test_a_short_training_leaves_time_for_the_pool(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = TimeBudget(pool=0.2, batch=2, known=100.0 - 1e-9, easy={"supply.kind": "fresh"})
    monkeypatch.setattr(pools, "known_of", lambda *_: 50.0)
    # .2 of 25 s, less the room, are .43 epochs: .1 of them twice would leave less than .3.
    found = chosen(tiny_data, 25.0, budget=budget)
    names = [one.name for one in Path(found["supply.path"]).parent.iterdir()]
    assert names == ["epochs-0.4"]
    shutil.rmtree(Path(found["supply.path"]).parent)
    # A short training that takes as long as the pool had: 8 s at once.
    times = iter([0.0, 0.0])
    monkeypatch.setattr(pools, "monotonic", lambda: next(times, 8.0))
    found = chosen(tiny_data, 40.0, budget=budget)
    assert found["supply.kind"] == "fresh"
    assert found["objective.classification"] == 0.0, "such networks cannot tell classes"


def test_a_pool_that_is_used_anyway_is_trained_at_once(tiny_data: Data) -> None:
    found = chosen(tiny_data, 100.0, budget=TimeBudget(pool=0.2, batch=2, known=0.0))
    names = [one.name for one in Path(found["supply.path"]).parent.iterdir()]
    assert names == ["epochs-1.5"]


def test_cases_may_set_what_is_done_with_time(tiny_data: Data) -> None:
    recipe = read_recipe("best")
    assert "augmentation.kind" in recipe["budget"]["easy"]
    spectrograms = facts_of(tiny_data, 1) | {"audio": True}
    told = time_budget(recipe, spectrograms)
    assert told is not None
    assert told.easy == {"objective.classification": 0.0}
    own = {**recipe, "over": {"cases": [{"when": {"ipc": 1}, "set": {"budget.pool": 0.1}}]}}
    for ipc, pool in ((1, 0.1), (2, 0.4)):
        found = time_budget(own, facts_of(tiny_data, ipc))
        assert found is not None
        assert found.pool == pool
        assert resolved(tiny_data, own, {"ipc": ipc}).config.ipc == ipc, "no field of a run"


@pytest.mark.parametrize(
    ("ipc", "epochs", "steps"), [(1, 3.0, 1050), (2, 3.0, 1050), (3, 10.0, 3500), (50, 10.0, 3500)]
)
def test_few_images_per_class_get_the_shorter_pool_they_were_measured_with(
    ipc: int, epochs: float, steps: int, tiny_data: Data
) -> None:
    told = time_budget(read_recipe("best"), facts_of(tiny_data, ipc))
    assert told is not None
    assert (told.most_epochs, told.least_steps) == (epochs, steps)
    assert told.enough_iterations == 500
    assert (told.early, told.early_steps) == (0.33, 350)


@pytest.mark.parametrize(("detail", "factor"), [(0.9, None), (0.8, 2), (0.55, 1), (0.0, None)])
def test_tiles_keep_enough_of_images(
    detail: float, factor: int | None, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {0.9: (1.0, 0.95, 0.9), 0.8: (1.0, 0.8, 0.79), 0.55: (0.5, 0.4, 0.3)}
    told = shares.get(detail, (0.0, 0.0, 0.0))
    monkeypatch.setattr(MultiFormation, "kept", lambda self, _: told[self.factor - 1])
    budget = TimeBudget(pool=0.2, batch=2, detail=detail)
    base = {**read_recipe("best"), "cases": []}
    found = fitted(
        tiny_data,
        budget,
        40,
        SMALL,
        lambda fields: resolved(tiny_data, base, fields),
        Where(plan=exact_plan("cpu", 1)),
    )
    assert found.get("formation.factor") == factor
    assert "formation.factor" not in chosen(tiny_data, 40, {"formation.factor": 2}, budget), (
        "the user's own"
    )


@pytest.mark.parametrize("choice", ["formation.kind", "objective.kind"])
def test_choices_without_tiles_or_a_class_term_are_fitted_too(choice: str, tiny_data: Data) -> None:
    kind = {"formation.kind": "fsrcnn", "objective.kind": "class_gradients"}[choice]
    given: dict[str, Any] = {choice: kind}
    if choice == "formation.kind":
        given["objective.classification"] = 0.0
    found = chosen(tiny_data, 40, given, TimeBudget(pool=0.2, batch=2, known=0.0, detail=0.9))
    assert found["supply.kind"] == "pool"
    assert "objective.classification" not in found, "the user's own, or none"
    assert choice == "objective.kind" or "formation.factor" not in found


def test_it_measures_once_where_the_guess_gives_the_plan(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan may compile for many iterations; as many as there are seconds are guessed."""
    times: list[bool] = []

    def known(data: Data, config: RunConfig, plan: Plan, *, planned: float) -> DryRun:
        times.append(plan.compile)
        return DryRun(0.0, step, 0.0, 1, 0.0, 0, 0, 0)

    def by_size(data: Data, config: RunConfig, *_: Any, **__: object) -> Plan:
        return Plan(compile=config.iterations > 20)

    monkeypatch.setattr(in_time, "dry_run", known)
    monkeypatch.setattr(in_time, "plan_for", by_size)
    for step, expected in ((1.0, [True]), (4.0, [True, False])):
        times.clear()
        found = chosen(tiny_data, 40, {"supply.steps": 3})
        assert times == expected
        assert found["iterations"] == int(0.95 * 40 / step)


def test_more_time_than_enough_is_spent_on_larger_batches(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An iteration takes a hundredth of a second for every real image of a class."""
    data = tiny((300, 7, 9))
    sizes: list[tuple[int, int | None]] = []

    def measured(data: Data, config: RunConfig, plan: Plan, *, planned: float) -> DryRun:
        sizes.append((config.real_batch, config.synthetic_batch))
        return DryRun(0.0, 0.01 * config.real_batch, 0.0, 1, 0.0, 0, 0, 0)

    monkeypatch.setattr(in_time, "dry_run", measured)
    base, own = read_recipe("best"), {"supply.net": NET, "supply.steps": 3, "formation.factor": 3}

    def found(seconds: float, enough: int, **more: Any) -> list[int | None]:
        del sizes[:]
        budget = TimeBudget(enough_iterations=enough)
        given = {**own, "ipc": 10, **more}
        where = Where(plan=exact_plan("cpu", 1))
        out = fitted(
            data,
            budget,
            seconds,
            given,
            lambda fields: resolved(data, base, fields),
            where,
        )
        # Iterations are counted with the batches that are taken.
        assert sizes[-1] == tuple(
            out.get(name, more.get(name, base[name])) for name in ("real_batch", "synthetic_batch")
        )
        return [out.get(name) for name in ("real_batch", "synthetic_batch", "iterations")]

    assert found(640, 0) == [None, None, 950]
    assert found(640, 950) == [None, None, 950]
    assert found(640, 500) == [122, 57, 490]  # 1.9 times as large
    assert found(6400, 500) == [256, 90, 2370], "as many as there are, or as the budget allows"
    assert found(640, 500, real_batch=64) == [None, 57, 950], "what the user gave stays"
    assert found(640, 500, ipc=1)[1] is None, "9 images are all there are"


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("least_steps", 0),
        ("few_images", 0),
        ("early_steps", 0),
        ("enough_iterations", 0),
        ("most_real", 1),
        ("batch", 1),
        ("ahead", 0),
    ],
)
def test_impossible_numbers_of_a_budget_are_named(name: str, least: int) -> None:
    right: dict[str, Any] = {name: least}
    wrong: dict[str, Any] = {name: least - 1}
    assert TimeBudget(**right)
    with pytest.raises(UsageError, match=f"budget.{name} must be at least {least}, got"):
        TimeBudget(**wrong)


def test_the_command_keeps_some_of_the_time_for_its_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What begins before the clock is read, and the files after the last iteration."""
    given: list[float] = []

    def planned(data: Data, budget: TimeBudget, seconds: float, *_: Any) -> dict[str, Any]:
        given.append(seconds)
        raise UsageError("no more is wanted")

    monkeypatch.setattr(in_minutes, "fitted", planned)
    command = ["condense", "--recipe", "best", "--data", "digits", "--out", str(tmp_path / "a")]
    assert main([*command, "--minutes", "100", "--quiet"]) == 2
    assert 0.97 * 6000 < given[0] <= 0.99 * 6000


def test_what_is_given_is_not_chosen(tiny_data: Data) -> None:
    found = chosen(tiny_data, 40, {"supply.steps": 3, "iterations": 7})
    assert found == {"optimizer.falls_until": 7}


def test_too_little_time_gives_the_start(tmp_path: Path, tiny_data: Data) -> None:
    said: list[str] = []
    found = chosen(tiny_data, 0.5, say=said.append)
    assert found["iterations"] == 0
    assert "optimizer.falls_until" not in found, "whoever resumes has the whole rate"
    with pytest.raises(UsageError, match="--minutes is too short: an iteration takes 1"):
        chosen(tiny_data, 0.5, {"formation.start_from": "noise"})
    (line,) = [words for words in said if "nothing is learned" in words]
    assert line.startswith("time: an iteration takes 1.0 s here, and nothing is left for one")
    resolved(tiny_data, read_recipe("best"), {**SMALL, **found})
    line_ = ["condense", "--recipe", "best", "--minutes", "0.005", "--out", str(tmp_path / "r")]
    assert main([*line_, "--ipc", "1", "--supply.net", NET, "--quiet", "--threads", "1"]) == 0
    assert CondensedSet.load(tmp_path / "r").about.iterations == 0


@pytest.mark.parametrize(("least", "planned"), [(38, 38), (39, 0)])
def test_fewer_iterations_than_are_of_use_are_none(
    least: int, planned: int, tiny_data: Data
) -> None:
    said: list[str] = []
    budget = dataclasses.replace(PLAIN, least_iterations=least)
    found = chosen(tiny_data, 40, budget=budget, say=said.append)
    assert found["iterations"] == planned
    assert any(f"fewer than {least} gain nothing" in line for line in said) == (not planned)
    noise = chosen(tiny_data, 40, {"formation.start_from": "noise"}, budget)
    assert noise["iterations"] == 38, "all is better than noise"


def test_the_test_split_cannot_leak(tiny_data: Data) -> None:
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    poisoned = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    clean, other = (Path(chosen(d, 40)["supply.path"]) for d in (tiny_data, poisoned))
    assert clean == other, "the same pool of the cache, because training images are the same"
    files = [path.read_bytes() for path in sorted(clean.glob("networks/*"))]
    shutil.rmtree(clean)
    assert Path(chosen(poisoned, 40)["supply.path"]) == clean
    assert [path.read_bytes() for path in sorted(clean.glob("networks/*"))] == files


def test_a_recipe_says_what_it_does_with_time() -> None:
    assert time_budget(read_recipe("dm")) is None
    assert time_budget({"recipe": "x", "budget": {"pool": 0.5}}) == TimeBudget(pool=0.5)
    over = {"budget": {"pool": 0.5, "width": 8}, "over": {"budget": {"pool": 0.1}}}
    assert time_budget(over) == TimeBudget(pool=0.1, width=8)
    shares = ("pool", "share"), ("early", "share"), ("average", "decay"), ("detail", "share")
    for name, kind in shares:
        with pytest.raises(UsageError, match=rf"budget\.{name} is a {kind}"):
            time_budget({"budget": {name: 1.0}})
    with pytest.raises(UsageError, match=r"budget\.known is a percentage .* got 101"):
        time_budget({"budget": {"known": 101}})
    with pytest.raises(UsageError, match=r"did you mean.*budget\.pool"):
        time_budget({"budget": {"pol": 0.1}})


def test_the_command_plans_once_and_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--data", "digits", "--ipc", "1", "--threads", "1", "--quiet"]
    limited = ["--recipe", "best", "--minutes", "0.2", "--supply.net", NET, *common]
    assert main(["condense", *limited, "--out", str(tmp_path / "a")]) == 0
    held = read_config(tmp_path / "a")
    assert 1 <= held["iterations"] == held["optimizer"]["falls_until"] <= int(0.95 * 12)
    monkeypatch.setattr(in_minutes, "fitted", lambda *_: pytest.fail("planned again"))
    assert main(["condense", *limited, "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    limited[-4] = "2"
    assert main(["condense", *limited, "--out", str(tmp_path / "a")]) == 2
    assert "holds another run (best, 1 image per class)" in capsys.readouterr().err
    again = ["--config", str(tmp_path / "a" / "recipe.yaml"), "--threads", "1", "--quiet"]
    assert main(["condense", *again, "--out", str(tmp_path / "b")]) == 0
    files = [tmp_path / name / "condensed.safetensors" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_steps_are_measured_by_the_plan_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Plan] = []

    def measured(_: Data, __: RunConfig, plan: Plan, *, planned: float) -> DryRun:
        plans.append(plan)
        return DryRun(0.0, 4.0, 0.0, 1, 0.0, 0, 0, 0)

    monkeypatch.setattr(in_time, "dry_run", measured)
    # Nothing is worth compiling in the time there is, and everything without a limit.
    monkeypatch.setattr(configure, "passes_in", lambda minutes, *_: 1.0 if minutes else 1e15)
    told = ["--data", "digits", "--ipc", "1", "--threads", "1", "--quiet", "--supply.net", NET]
    limited = ["condense", "--recipe", "best", "--minutes", "0.2", *told]
    assert main([*limited, "--out", str(tmp_path)]) == 0
    held = json.loads((tmp_path / "run.json").read_text())
    assert [plan.as_dict() for plan in plans] == [held["plan"]]


@pytest.mark.parametrize(
    ("size", "ipc"), [("2640", 1), ("5279", 1), ("5.28k", 2), ("1M", 378)], ids=str
)
def test_bytes_are_never_exceeded(size: str, ipc: int) -> None:
    data = load("digits")
    assert in_minutes.ipc_for(data, size) == ipc  # 10 classes × (64 numbers × 4 + 8)


@pytest.mark.parametrize(
    ("size", "message"),
    [("2639", "no image of each class"), ("lots", "is a size such as"), ("-3k", "is a size")],
)
def test_bytes_that_hold_nothing_are_rejected(size: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        in_minutes.ipc_for(load("digits"), size)


def test_a_budget_of_bytes_excludes_one_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["condense", "--bytes", "30k", "--ipc", "1"]) == 2
    assert "--bytes and --ipc are mutually exclusive" in capsys.readouterr().err
    assert main(["condense", "--bytes", "30k", "--formation.kind", "fsrcnn"]) == 2
    assert "formation fsrcnn stores weights beside them" in capsys.readouterr().err


@pytest.mark.parametrize(("known", "pooled"), [(9.9, False), (10.0, True)])
def test_networks_that_know_too_little_are_fresh(
    known: float, pooled: bool, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks_in_time, "known_of", lambda *_: known)
    budget = dataclasses.replace(PLAIN, least_known=10.0)
    found = chosen(tiny_data, 40, budget=budget)
    assert found["supply.kind"] == ("pool" if pooled else "fresh")
    assert found.get("objective.classification") == (None if pooled else 0.0)


@pytest.mark.parametrize(
    ("given", "flip", "known", "mirrored", "found"),
    [
        ({}, True, 60.0, 44.9, False),
        ({}, True, 60.0, 45.0, None),
        ({"flip": True}, True, 60.0, 0.0, None),
        ({}, False, 60.0, 0.0, None),
    ],
)
def test_images_whose_mirror_images_are_not_known_are_not_flipped(
    given: dict[str, Any],
    flip: bool,
    known: float,
    mirrored: float,
    found: bool | None,
    tiny_data: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = dataclasses.replace(tiny_data, flip=flip)
    monkeypatch.setattr(networks_in_time, "known_of", lambda *_: known)
    monkeypatch.setattr(
        networks_in_time, "mirrored_of", lambda *_: Mirrored(known, mirrored, p=0.0009)
    )
    said: list[str] = []
    fields = chosen(data, 40, given, say=said.append)
    assert fields.get("flip") == found
    assert any(line.startswith("flips: none") for line in said) == (found is False)
    whole = resolved(data, read_recipe("best"), in_time.together(fields, {**SMALL, **given}))
    assert whole.config.flip == (found if found is False else given.get("flip"))


def test_a_typed_supply_of_fresh_networks_tells_no_class(tiny_data: Data) -> None:
    found = chosen(tiny_data, 40, {"supply.kind": "fresh"})
    assert found["objective.classification"] == 0.0
    both = {"supply.kind": "fresh", "objective.classification": 2.0}
    assert "objective.classification" not in chosen(tiny_data, 40, both)
    own = dataclasses.replace(PLAIN, pool=0.0)
    assert "objective.classification" not in chosen(tiny_data, 40, {"supply.kind": "fresh"}, own)


def test_few_images_are_asked_in_whole_or_not_at_all(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """350 of 13 steps an epoch are 27 epochs, of ten seconds each, with some room."""
    trained: list[list[float]] = []

    def noted(training: PoolTraining, marks: list[float]) -> None:
        trained.append(marks)

    monkeypatch.setattr(PoolTraining, "trained", noted)
    budget = dataclasses.replace(PLAIN, few_images=10, known=95.0, easy=EASY)
    needed = 270 / 0.85 / 0.2
    for seconds in (0.99 * needed, 1.01 * needed):
        assert chosen(tiny_data, seconds, budget=budget)["supply.kind"] == "fresh"
    assert [marks[-1] for marks in trained] == [27]
