"""What every recipe must do. A new recipe is tested here by being there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from condensery import CondensedSet, UsageError
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.config.recipes import recipe_names
from condensery.config.schema import RunConfig
from condensery.data import Data, load
from condensery.errors import DivergedError
from condensery.runtime.plan import Plan, exact_plan
from condensery.utils.checkpoint import load_state, save_state
from tests.conftest import tiny

RECIPES = pytest.mark.parametrize("recipe", recipe_names())
PLANS = pytest.mark.parametrize(
    "plan",
    [exact_plan("cpu", 1), Plan(name="chunked", chunk=5, real_dtype="bfloat16")],
    ids=lambda plan: plan.name,
)
SMALL = {"ipc": 2, "iterations": 4, "real_batch": 6, "supply.net": "convnet2:width=4"}


#: Shorter lives of networks, so that a tiny run is over in a moment.
BRIEF: dict[str, dict[str, Any]] = {
    "dynamic": {
        "supply.gamma": 2,
        "supply.step_cap": 3,
        "supply.epoch_cap": 2,
        "supply.query": 4,
    },
    "trained_on_real": {"supply.steps": 3, "supply.images": 9, "supply.batch": 4},
}
#: Lives of at least two pixel steps with some training between.
LONGER: dict[str, dict[str, Any]] = {
    "dynamic": {"supply.step_cap": 3, "supply.lambda1": 0.0, "supply.momentum": 0.5},
    "trained_on_real": {"supply.steps": 3, "supply.pretrain": 1},
    "trained_on_synthetic": {"supply.steps": 3, "supply.epochs": 2, "supply.momentum": 0.5},
}


def configured(data: Data, recipe: str, **overrides: object) -> RunConfig:
    kind = str(overrides.get("supply.kind", configure(data, recipe).supply.kind))
    return configure(data, recipe, {**SMALL, **BRIEF.get(kind, {}), **overrides})


def finished(data: Data, recipe: str, plan: Plan, path: Path, **overrides: object) -> bytes:
    condenser = Condenser(data, configured(data, recipe, **overrides), plan)
    return condenser.run().save(path).read_bytes()


@RECIPES
def test_the_budget_is_respected(recipe: str, tiny_data: Data) -> None:
    config = configured(tiny_data, recipe)
    condensed = Condenser(tiny_data, config, exact_plan("cpu", 1)).run()
    train = tiny_data.train
    pixels = train.shape[0] * train.shape[1] * train.shape[2]
    assert condensed.stored.numel() == train.classes * config.ipc * pixels
    assert condensed.images.shape[1:] == train.shape
    assert condensed.labels.bincount().unique().numel() == 1
    assert condensed.about.iterations == config.iterations


@RECIPES
@PLANS
def test_same_seed_same_bytes(recipe: str, plan: Plan, tiny_data: Data, tmp_path: Path) -> None:
    first = finished(tiny_data, recipe, plan, tmp_path / "a")
    assert finished(tiny_data, recipe, plan, tmp_path / "b") == first
    assert finished(tiny_data, recipe, plan, tmp_path / "c", seed=1) != first


@RECIPES
@PLANS
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_stopped_run_continues_to_the_same_bytes(
    recipe: str, plan: Plan, stop: int, tiny_data: Data, tmp_path: Path
) -> None:
    whole = finished(tiny_data, recipe, plan, tmp_path / "whole")
    config = configured(tiny_data, recipe)
    first = Condenser(tiny_data, config, plan)
    first.run(stop)
    save_state(first.state(), tmp_path / "state.safetensors")
    second = Condenser(tiny_data, config, plan)
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert second.iteration == stop
    assert second.run().save(tmp_path / "resumed").read_bytes() == whole


@RECIPES
@PLANS
@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_stopped_within_an_iteration_continues_to_the_same_bytes(
    recipe: str, plan: Plan, steps: int, tiny_data: Data, tmp_path: Path
) -> None:
    longer = LONGER.get(configured(tiny_data, recipe).supply.kind, {})
    small: dict[str, Any] = {"iterations": 2, **longer}
    whole = finished(tiny_data, recipe, plan, tmp_path / "whole", **small)
    config = configured(tiny_data, recipe, **small)
    first = Condenser(tiny_data, config, plan)
    for _ in range(steps if longer else 1):
        first.step()
    save_state(first.state(), tmp_path / "state.safetensors")
    second = Condenser(tiny_data, config, plan)
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert second.step_in_iteration == first.step_in_iteration
    assert second.run().save(tmp_path / "resumed").read_bytes() == whole


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_batch_statistics_survive_a_stop(steps: int, tiny_data: Data, tmp_path: Path) -> None:
    small: dict[str, Any] = {"iterations": 2, "supply.steps": 3, "supply.epochs": 2}
    small |= {"supply.momentum": 0.5, "supply.net": "convnet2:width=4,norm=batch"}
    plan = exact_plan("cpu", 1)
    whole = finished(tiny_data, "gm_mdo", plan, tmp_path / "whole", **small)
    config = configured(tiny_data, "gm_mdo", **small)
    first, second = (Condenser(tiny_data, config, plan) for _ in range(2))
    for _ in range(steps):
        first.step()
    save_state(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert second.run().save(tmp_path / "resumed").read_bytes() == whole


@RECIPES
def test_state_is_a_copy(recipe: str, tiny_data: Data) -> None:
    condenser = Condenser(tiny_data, configured(tiny_data, recipe), exact_plan("cpu", 1))
    condenser.run(2)
    state = condenser.state()
    before = state["stored"].clone()
    condenser.run(4)
    assert torch.equal(state["stored"], before)


@RECIPES
def test_a_result_does_not_change_when_the_run_goes_on(recipe: str, tiny_data: Data) -> None:
    condenser = Condenser(tiny_data, configured(tiny_data, recipe), exact_plan("cpu", 1))
    early = condenser.run(1)
    before, pixels = early.stored.clone(), early.images.clone()
    condenser.run(4)
    assert torch.equal(early.stored, before)
    assert torch.equal(early.images, pixels)
    assert not torch.equal(condenser.result().stored, before)


@RECIPES
def test_gradients_reach_every_pixel(recipe: str, tiny_data: Data) -> None:
    # Without augmentation: a crop may leave a border unseen for a step.
    # From noise: means of 8-bit pixels may agree by chance.
    plain = {"augmentation.kind": "none", "formation.start_from": "noise"}
    if configured(tiny_data, recipe).formation.kind == "multi_formation":
        plain["formation.space"] = "normalised"  # nothing is clamped there
    config = configured(tiny_data, recipe, **plain)
    condenser = Condenser(tiny_data, config, exact_plan("cpu", 1, "float64"))
    start = condenser.stored.detach().clone()
    condenser.run(1)
    moved = (condenser.stored.detach() != start).double().mean()
    assert moved == 1


@RECIPES
def test_the_input_is_left_alone_and_nothing_global_moves(recipe: str, tiny_data: Data) -> None:
    images = tiny_data.train.images.clone()
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    Condenser(tiny_data, configured(tiny_data, recipe), exact_plan("cpu", 2)).run()
    assert torch.equal(tiny_data.train.images, images)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


@RECIPES
def test_the_test_split_cannot_leak(recipe: str, tiny_data: Data, tmp_path: Path) -> None:
    clean = finished(tiny_data, recipe, exact_plan("cpu", 1), tmp_path / "clean")
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    poisoned = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    assert finished(poisoned, recipe, exact_plan("cpu", 1), tmp_path / "poisoned") == clean


@RECIPES
def test_the_loss_falls(recipe: str, tiny_data: Data) -> None:
    many = {"iterations": 60, "supply.net": "convnet2:width=16", "formation.start_from": "noise"}
    if recipe.startswith("idc"):
        # Gradients of networks that learn fall by themselves; and rates are for larger images.
        many |= {"supply.steps": 1, "optimizer.rate": 0.1}
        if configured(tiny_data, recipe).supply.kind == "trained_on_real":
            many |= {"supply.images": 0}
    if configured(tiny_data, recipe).objective.settings.get("classification"):
        # Networks that know nothing cannot tell classes, and those that learn change the loss.
        many |= {"objective.classification": 0.0, "supply.kind": "fresh"}
    condenser = Condenser(tiny_data, configured(tiny_data, recipe, **many), exact_plan("cpu", 1))
    condenser.run(10)
    first = condenser.report().loss
    condenser.run(50)
    condenser.report()
    condenser.run(60)
    assert condenser.report().loss < 0.8 * first


def test_a_run_that_leaves_the_finite_numbers_stops(tiny_data: Data) -> None:
    config = configured(tiny_data, "dm", **{"optimizer.rate": 1e30})
    with pytest.raises(DivergedError, match=r"lower --optimizer\.rate"):
        Condenser(tiny_data, config, exact_plan("cpu", 1)).run()


@RECIPES
def test_zero_iterations_write_the_untrained_start(recipe: str, tiny_data: Data) -> None:
    condenser = Condenser(
        tiny_data, configured(tiny_data, recipe, iterations=0), exact_plan("cpu", 1)
    )
    start = condenser.stored.detach().clone()
    assert torch.equal(condenser.run().stored, start)


@RECIPES
def test_a_budget_beyond_a_class_is_refused(recipe: str, tiny_data: Data) -> None:
    real = configured(tiny_data, recipe, ipc=8, **{"formation.start_from": "real"})
    if real.formation.kind == "multi_formation":
        return  # packs images into cells, and takes some twice
    with pytest.raises(ValueError, match="7"):
        Condenser(tiny_data, real, exact_plan("cpu", 1))
    noise = configured(tiny_data, recipe, ipc=8, **{"formation.start_from": "noise"})
    assert Condenser(tiny_data, noise, exact_plan("cpu", 1)).stored.shape[1] == 8


@RECIPES
def test_a_network_that_does_not_exist_is_refused(recipe: str, tiny_data: Data) -> None:
    config = configured(tiny_data, recipe, **{"supply.net": "convnt3"})
    with pytest.raises(UsageError, match="convnet"):
        Condenser(tiny_data, config, exact_plan("cpu", 1))


@RECIPES
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 12])
def test_shapes(recipe: str, channels: int, side: int) -> None:
    data = tiny(channels=channels, side=side)
    condensed = Condenser(data, configured(data, recipe, iterations=1), exact_plan("cpu", 1)).run()
    per_class = condensed.formation.decoded(2)
    assert condensed.images.shape == (3 * per_class, channels, side, side)


@RECIPES
def test_python_api(recipe: str, tiny_data: Data) -> None:
    from condensery import condense

    seen: list[int] = []
    condensed = condense(
        tiny_data,
        recipe,
        ipc=1,
        iterations=2,
        seed=3,
        plan="exact",
        threads=1,
        overrides={"supply.net": "convnet1:width=4"},
        after_iteration=lambda run: seen.append(run.iteration),
    )
    assert isinstance(condensed, CondensedSet)
    assert seen == [1, 2]
    assert condensed.about.config["supply"]["net"] == "convnet1:width=4"
