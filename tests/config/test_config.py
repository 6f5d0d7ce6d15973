"""Recipes, overrides and what is refused."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
import yaml

from condensery.condensation.configure import configure
from condensery.config.build import _check_not_null, build, make
from condensery.config.recipes import (
    matches,
    pool_meant_in,
    read_recipe,
    recipe_names,
    with_cases,
)
from condensery.config.resolve import merge, resolve
from condensery.config.schema import PixelOptimizer, RunConfig, Scalars
from condensery.data import Data
from condensery.errors import UsageError

FACTS = {"data": "cifar10", "ipc": 10, "size": 32, "classes": 10, "audio": False, "net": "convnet3"}


def dm(**facts: Any) -> RunConfig:
    given = {**FACTS, **facts}
    raw = with_cases(read_recipe("dm"), given)
    return resolve({**raw, "data": given["data"], "ipc": given["ipc"]}, given).config


def test_dm_has_the_papers_constants() -> None:
    config = dm()
    assert config.iterations == 20_000
    assert config.real_batch == 256
    assert (config.optimizer.rate, config.optimizer.momentum) == (1.0, 0.5)
    assert config.formation.settings["start_from"] == "real"
    assert config.supply.settings["net"] == "convnet3"
    assert dm(data="tiny_imagenet", size=64).iterations == 10_000
    assert dm(ipc=100).optimizer.rate == 10.0
    assert dm(ipc=99).optimizer.rate == 1.0
    # Section 3.2: on CIFAR-10 alone.
    for other in ("cifar100", "mnist", "svhn", ""):
        assert dm(ipc=100, data=other).optimizer.rate == 1.0


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves_builds_and_repeats(name: str, tiny_data: Data) -> None:
    config = configure(tiny_data, name, {"ipc": 2})
    for choice in ("formation", "objective", "supply", "augmentation"):
        chosen = getattr(config, choice)
        assert type(build(choice, chosen)).__name__
    again = configure(tiny_data, yaml.safe_load(config.dump()))
    assert again == config


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_says_where_it_comes_from(name: str) -> None:
    assert len(read_recipe(name)["about"]) > 20


@pytest.mark.parametrize(
    ("when", "facts", "holds"),
    [
        ({"ipc": ">=100"}, {"ipc": 100}, True),
        ({"ipc": ">100"}, {"ipc": 100}, False),
        ({"ipc": "<=5"}, {"ipc": 5}, True),
        ({"ipc": "<5"}, {"ipc": 5}, False),
        ({"data": ["a", "b"]}, {"data": "b"}, True),
        ({"data": ["a", "b"], "ipc": 1}, {"data": "b", "ipc": 2}, False),
        ({}, {}, True),
    ],
)
def test_conditions(when: dict[str, Any], facts: dict[str, Any], holds: bool) -> None:
    assert matches(when, facts) is holds


def test_a_misspelt_condition_is_not_silently_false() -> None:
    with pytest.raises(UsageError, match="did you mean 'ipc'"):
        matches({"ipk": 1}, {"ipc": 1})


def test_later_cases_win() -> None:
    raw = {
        "a": {"b": 0},
        "cases": [
            {"when": {"ipc": ">=1"}, "set": {"a.b": 1}},
            {"when": {"ipc": ">=2"}, "set": {"a.b": 2}},
        ],
    }
    assert with_cases(raw, {"ipc": 1})["a"]["b"] == 1
    assert with_cases(raw, {"ipc": 3})["a"]["b"] == 2
    assert raw["a"] == {"b": 0}


def test_overrides_reach_their_setting(tiny_data: Data) -> None:
    config = configure(
        tiny_data,
        "dm",
        {"optimizer.rate": 0.25, "supply.net": "mlp", "iterations": 3, "seed": 4, "ipc": 2},
    )
    assert config.optimizer.rate == 0.25
    assert config.supply.settings["net"] == "mlp"
    assert (config.iterations, config.seed, config.ipc) == (3, 4, 2)


def test_a_new_kind_drops_the_old_kinds_settings() -> None:
    merged = merge(read_recipe("dm"), [("augmentation.kind", "none")])
    assert merged["augmentation"] == {"kind": "none"}
    same = merge(read_recipe("dm"), [("augmentation.kind", "siamese_op")])
    assert same["augmentation"]["strategy"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimizer.rat": 1}, "did you mean 'optimizer.rate'"),
        ({"optimiser.rate": 1}, "did you mean 'optimizer"),
        ({"objective.kind": "mean_feature"}, "did you mean 'mean_features'"),
        ({"supply.nett": "mlp"}, "did you mean 'supply.net'"),
        ({"formation.start_from": "reel"}, "start_from"),
        ({"optimizer.rate": "fast"}, "optimizer.rate"),
        ({"optimizer.rate": -1.0}, "must be positive"),
        ({"optimizer.momentum": 1.0}, "momentum"),
        ({"ipc": 0}, "ipc must be at least 1, got 0"),
        ({"iterations": -1}, "iterations must be at least 0"),
        ({"iterations": "many"}, "iterations"),
        ({"real_batch": 0}, "real_batch"),
        ({"seed": -3}, "seed"),
        ({"channels": 2}, "channels must be 1 or 3"),
        ({"size": 1}, "at least 4 pixels"),
        ({"objective.kind": "no.such.module:Thing"}, "cannot be imported"),
        ({"ipc.more": 3}, "single value"),
    ],
)
def test_bad_overrides_are_refused_with_the_remedy(
    tiny_data: Data, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        configure(tiny_data, "dm", overrides)


def test_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'dm'"):
        read_recipe("dmm")


@pytest.mark.parametrize(
    ("content", "message"),
    [("- 1\n- 2\n", "must hold a mapping"), ("a: [", "not valid YAML"), ("\xff", "YAML|mapping")],
)
def test_broken_recipe_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=message):
        read_recipe(str(file))
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(str(tmp_path / "none.yaml"))


def test_a_recipe_of_ones_own(tmp_path: Path, tiny_data: Data) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**read_recipe("dm"), "recipe": "mine", "iterations": 5}))
    config = configure(tiny_data, str(file), {"ipc": 1})
    assert (config.recipe, config.iterations) == ("mine", 5)


def test_a_folder_called_like_a_data_set_is_nobody_elses(tiny_data: Data) -> None:
    import dataclasses

    folder = dataclasses.replace(tiny_data, name="tiny_imagenet", spec="./tiny_imagenet")
    assert configure(folder, "dm").iterations == 20_000
    named = dataclasses.replace(tiny_data, name="tiny_imagenet", spec="tiny_imagenet")
    assert configure(named, "dm").iterations == 10_000


def test_numbers_of_numpy_are_numbers() -> None:
    rate = make(PixelOptimizer, {"rate": np.float64(0.5), "drops": [3]}, "optimizer").rate
    assert (rate, type(rate)) == (0.5, float)
    made = make(Scalars, {"recipe": "dm", "data": "digits", "ipc": np.int64(3)}, "run")
    assert (made.ipc, type(made.ipc)) == (3, int)


def test_settings_that_were_checked_before_are_no_less_checked() -> None:
    """What is remembered tells 1 from True and 1.0, and nobody shares a list with anybody."""
    named = {"recipe": "dm", "data": "digits"}
    for _ in range(2):
        assert make(Scalars, {**named, "ipc": 1}, "run").ipc == 1
        for wrong in (True, "one", 1.5):
            with pytest.raises(UsageError, match="ipc"):
                make(Scalars, {**named, "ipc": wrong}, "run")
    first, second = (make(PixelOptimizer, {"drops": [3, 5]}, "optimizer") for _ in range(2))
    assert first == second
    assert first is not second
    first.drops.append(7)
    assert make(PixelOptimizer, {"drops": [3, 5]}, "optimizer").drops == [3, 5]


def test_what_is_done_to_a_recipe_is_forgotten() -> None:
    read_recipe("dm")["optimizer"]["rate"] = 1e9
    assert read_recipe("dm")["optimizer"]["rate"] == 1.0


def test_a_schedule_by_the_budget_needs_a_budget(tiny_data: Data) -> None:
    with pytest.raises(UsageError, match="ipc must be at least 1, got 0"):
        configure(tiny_data, "dc", {"ipc": 0})


def test_the_larger_rate_of_dm_is_for_cifar10(tiny_data: Data) -> None:
    import dataclasses

    known = dataclasses.replace(tiny_data, name="cifar10", spec="cifar10")
    for recipe in ("dm", "mmd"):
        rates = [
            configure(data, recipe, {"ipc": 100}).optimizer.rate for data in (tiny_data, known)
        ]
        assert rates == [1.0, 10.0], recipe


def test_a_setting_may_be_null_however_its_type_is_written() -> None:
    """``Optional`` is a type, or its text where annotations are not evaluated."""
    for kind in (Optional[int], "Optional[int]", "int | None", int | None):  # noqa: UP045
        one = make_dataclass("One", [("k", kind, None)], frozen=True)
        _check_not_null(one, {"k": None}, "objective")
    with pytest.raises(UsageError, match=r"objective\.k needs a value"):
        _check_not_null(make_dataclass("One", [("k", int, 1)]), {"k": None}, "objective")


def test_a_pool_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "pool").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    config = {"recipe": "dm", "supply": {"kind": "pool", "path": "pool"}}
    monkeypatch.chdir(tmp_path / "a")
    home = str(tmp_path / "a")
    assert pool_meant_in(home, config) == config
    monkeypatch.chdir(tmp_path / "b")
    assert pool_meant_in(home, config)["supply"]["path"] == str(tmp_path / "a" / "pool")
    assert pool_meant_in(str(tmp_path), config) == config, "there is none, either"
    assert pool_meant_in(None, config) == config
    (tmp_path / "b" / "pool").mkdir()
    there = pool_meant_in(home, config)["supply"]["path"]
    assert there == str(tmp_path / "a" / "pool"), "whatever lies here"
