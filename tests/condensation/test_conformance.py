"""What every recipe must do. A new recipe is tested here by being there."""

from __future__ import annotations

import tempfile
from functools import cache
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
EXACT, CHUNKED = exact_plan("cpu", 1), Plan(name="chunked", chunk=5, real_dtype="bfloat16")


@cache
def kinds(recipe: str) -> tuple[Any, ...]:
    """What decides how a recipe runs; recipes that differ in numbers alone have the same."""
    config = configure(tiny(), recipe)
    level = config.objective.settings.get("level")
    until, norm = (config.supply.settings.get(name) for name in ("until", "norm"))
    choices = (config.formation, config.objective, config.supply, config.augmentation)
    return *(choice.kind for choice in choices), level, until, norm


#: A recipe of each kind.
DISTINCT = list({kinds(recipe): recipe for recipe in reversed(recipe_names())}.values())


def planned() -> list[Any]:
    """One recipe of each kind with the exact plan, and one of each objective with the other.

    A chunk is the objective's affair; what the supply and the formation keep knows nothing of it.
    """
    objectives = {(kinds(recipe)[1], kinds(recipe)[4]): recipe for recipe in DISTINCT}
    pairs = [(recipe, EXACT) for recipe in DISTINCT]
    pairs += [(recipe, CHUNKED) for recipe in objectives.values()]
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1].name}") for pair in pairs]


PLANNED = pytest.mark.parametrize(("recipe", "plan"), planned())
KINDS = pytest.mark.parametrize("recipe", DISTINCT)
SMALL = {"ipc": 2, "iterations": 3, "real_batch": 6, "supply.net": "convnet2:width=4"}


#: Shorter lives of networks, so that a tiny run is over in a moment.
BRIEF: dict[str, dict[str, Any]] = {
    "dynamic": {
        "supply.gamma": 2,
        "supply.step_cap": 3,
        "supply.epoch_cap": 2,
        "supply.query": 4,
    },
    "trained_on_real": {"supply.steps": 3, "supply.images": 9, "supply.batch": 4},
    "trained_on_synthetic": {"supply.steps": 2, "supply.epochs": 3, "supply.cap": 3},
}
#: Lives of at least two pixel steps with some training between.
LONGER: dict[str, dict[str, Any]] = {
    "dynamic": {"supply.step_cap": 3, "supply.lambda1": 0.0, "supply.momentum": 0.5},
    "trained_on_real": {"supply.steps": 3, "supply.pretrain": 1},
    "trained_on_synthetic": {"supply.steps": 3, "supply.epochs": 2, "supply.momentum": 0.5},
}


def configured(data: Data, recipe: str, **overrides: object) -> RunConfig:
    kind = str(overrides.get("supply.kind", kinds(recipe)[2]))
    return configure(data, recipe, {**SMALL, **BRIEF.get(kind, {}), **overrides})


def written(condenser: Condenser, path: Path) -> bytes:
    return condenser.run().save(path).read_bytes()


def finished(data: Data, recipe: str, plan: Plan, path: Path, **overrides: object) -> bytes:
    return written(Condenser(data, configured(data, recipe, **overrides), plan), path)


@cache
def undisturbed(recipe: str, plan: Plan) -> bytes:
    """The bytes of a run that nothing happened to; several tests compare with them."""
    with tempfile.TemporaryDirectory() as place:
        return finished(tiny(), recipe, plan, Path(place) / "whole")


@RECIPES
def test_the_budget_is_respected(recipe: str, tiny_data: Data) -> None:
    """And the input is left alone, and nothing global moves."""
    config = configured(tiny_data, recipe)
    train = tiny_data.train
    images, generator = train.images.clone(), torch.get_rng_state()
    condensed = Condenser(tiny_data, config, EXACT).run()
    pixels = train.shape[0] * train.shape[1] * train.shape[2]
    assert condensed.stored.numel() == train.classes * config.ipc * pixels
    assert condensed.images.shape[1:] == train.shape
    assert condensed.labels.bincount().unique().numel() == 1
    assert condensed.about.iterations == config.iterations
    assert torch.equal(train.images, images)
    assert torch.equal(torch.get_rng_state(), generator)


def test_threads_are_given_back(tiny_data: Data) -> None:
    threads = torch.get_num_threads()
    Condenser(tiny_data, configured(tiny_data, "dm", iterations=1), exact_plan("cpu", 2)).run()
    assert torch.get_num_threads() == threads


@PLANNED
def test_same_seed_same_bytes(recipe: str, plan: Plan, tiny_data: Data, tmp_path: Path) -> None:
    assert finished(tiny_data, recipe, plan, tmp_path / "b") == undisturbed(recipe, plan)
    assert finished(tiny_data, recipe, plan, tmp_path / "c", seed=1) != undisturbed(recipe, plan)


@PLANNED
def test_a_stopped_run_continues_to_the_same_bytes(
    recipe: str, plan: Plan, tiny_data: Data, tmp_path: Path
) -> None:
    config = configured(tiny_data, recipe)
    first = Condenser(tiny_data, config, plan)
    for stop in (1, 2):
        first.run(stop)
        save_state(first.state(), tmp_path / f"state{stop}.safetensors")
    for stop in (1, 2):
        second = Condenser(tiny_data, config, plan)
        second.load_state(load_state(tmp_path / f"state{stop}.safetensors"))
        assert second.iteration == stop
        assert written(second, tmp_path / "resumed") == undisturbed(recipe, plan)


def test_a_run_stopped_before_its_first_iteration_continues(
    tiny_data: Data, tmp_path: Path
) -> None:
    config = configured(tiny_data, "dm")
    save_state(Condenser(tiny_data, config, EXACT).state(), tmp_path / "state.safetensors")
    second = Condenser(tiny_data, config, EXACT)
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert second.iteration == 0
    assert written(second, tmp_path / "resumed") == undisturbed("dm", EXACT)


@PLANNED
def test_a_run_stopped_within_an_iteration_continues_to_the_same_bytes(
    recipe: str, plan: Plan, tiny_data: Data, tmp_path: Path
) -> None:
    longer = LONGER.get(kinds(recipe)[2], {})
    config = configured(tiny_data, recipe, **{"iterations": 2, **longer})
    first = Condenser(tiny_data, config, plan)
    stops = (1, 4) if longer else (1,)
    seen: dict[int, int] = {}
    for step in range(1, max(stops) + 1):
        first.step()
        if step in stops:
            save_state(first.state(), tmp_path / f"state{step}.safetensors")
            seen[step] = first.step_in_iteration
    whole = written(first, tmp_path / "whole")  # a state is a copy, so this run was not disturbed
    for step in stops:
        second = Condenser(tiny_data, config, plan)
        second.load_state(load_state(tmp_path / f"state{step}.safetensors"))
        assert second.step_in_iteration == seen[step]
        assert written(second, tmp_path / "resumed") == whole


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_batch_statistics_survive_a_stop(steps: int, tiny_data: Data, tmp_path: Path) -> None:
    small: dict[str, Any] = {"iterations": 2, "supply.steps": 3, "supply.epochs": 2}
    small |= {"supply.momentum": 0.5, "supply.net": "convnet2:width=4,norm=batch"}
    plan = EXACT
    whole = finished(tiny_data, "gm_mdo", plan, tmp_path / "whole", **small)
    config = configured(tiny_data, "gm_mdo", **small)
    first, second = (Condenser(tiny_data, config, plan) for _ in range(2))
    for _ in range(steps):
        first.step()
    save_state(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert second.run().save(tmp_path / "resumed").read_bytes() == whole


@KINDS
def test_state_is_a_copy(recipe: str, tiny_data: Data) -> None:
    condenser = Condenser(tiny_data, configured(tiny_data, recipe), EXACT)
    condenser.run(1)
    state = condenser.state()
    before = state["stored"].clone()
    condenser.run(2)
    assert torch.equal(state["stored"], before)
    assert not torch.equal(condenser.state()["stored"], before)


@KINDS
def test_a_result_does_not_change_when_the_run_goes_on(recipe: str, tiny_data: Data) -> None:
    condenser = Condenser(tiny_data, configured(tiny_data, recipe), EXACT)
    early = condenser.run(1)
    before, pixels = early.stored.clone(), early.images.clone()
    condenser.run(2)
    assert torch.equal(early.stored, before)
    assert torch.equal(early.images, pixels)
    assert not torch.equal(condenser.result().stored, before)


@KINDS
def test_gradients_reach_every_pixel(recipe: str, tiny_data: Data) -> None:
    # Without augmentation: a crop may leave a border unseen for a step.
    # From noise: means of 8-bit pixels may agree by chance.
    plain = {"augmentation.kind": "none", "formation.start_from": "noise"}
    if kinds(recipe)[0] == "multi_formation":
        plain["formation.space"] = "normalised"  # nothing is clamped there
    config = configured(tiny_data, recipe, **plain)
    condenser = Condenser(tiny_data, config, exact_plan("cpu", 1, "float64"))
    start = condenser.stored.detach().clone()
    condenser.run(1)
    moved = (condenser.stored.detach() != start).double().mean()
    assert moved == 1


@KINDS
def test_the_test_split_cannot_leak(recipe: str, tiny_data: Data, tmp_path: Path) -> None:
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    poisoned = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    assert finished(poisoned, recipe, EXACT, tmp_path / "poisoned") == undisturbed(recipe, EXACT)


@KINDS
def test_the_loss_falls(recipe: str, tiny_data: Data) -> None:
    many = {"iterations": 30, "supply.net": "convnet2:width=8", "formation.start_from": "noise"}
    if kinds(recipe)[2] == "trained_on_synthetic":
        many |= {"supply.steps": 1, "supply.epochs": 1, "supply.cap": 1}
    if recipe.startswith("idc"):
        # Gradients of networks that learn fall by themselves; and rates are for larger images.
        many |= {"supply.steps": 1, "optimizer.rate": 0.1}
        if kinds(recipe)[2] == "trained_on_real":
            many |= {"supply.images": 0}
    if configured(tiny_data, recipe).objective.settings.get("classification"):
        # Networks that know nothing cannot tell classes, and those that learn change the loss.
        many |= {"objective.classification": 0.0, "supply.kind": "fresh"}
    condenser = Condenser(tiny_data, configured(tiny_data, recipe, **many), EXACT)
    condenser.run(10)
    first = condenser.report().loss
    condenser.run(20)
    condenser.report()
    condenser.run(30)
    assert condenser.report().loss < 0.8 * first


def test_a_run_that_leaves_the_finite_numbers_stops(tiny_data: Data) -> None:
    config = configured(tiny_data, "dm", **{"optimizer.rate": 1e30})
    with pytest.raises(DivergedError, match=r"lower --optimizer\.rate"):
        Condenser(tiny_data, config, EXACT).run()


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
        Condenser(tiny_data, real, EXACT)
    noise = configured(tiny_data, recipe, ipc=8, **{"formation.start_from": "noise"})
    assert Condenser(tiny_data, noise, EXACT).stored.shape[1] == 8


@RECIPES
def test_a_network_that_does_not_exist_is_refused(recipe: str, tiny_data: Data) -> None:
    config = configured(tiny_data, recipe, **{"supply.net": "convnt3"})
    with pytest.raises(UsageError, match="convnet"):
        Condenser(tiny_data, config, EXACT)


@KINDS
@pytest.mark.parametrize(("channels", "side"), [(1, 12), (3, 8)])
def test_shapes(recipe: str, channels: int, side: int) -> None:
    data = tiny(channels=channels, side=side)
    condensed = Condenser(data, configured(data, recipe, iterations=1), EXACT).run()
    per_class = condensed.formation.decoded(2)
    assert condensed.images.shape == (3 * per_class, channels, side, side)


@pytest.mark.parametrize("recipe", {kinds(recipe)[2]: recipe for recipe in DISTINCT}.values())
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
        overrides={**BRIEF.get(kinds(recipe)[2], {}), "supply.net": "convnet1:width=4"},
        after_iteration=lambda run: seen.append(run.iteration),
    )
    assert isinstance(condensed, CondensedSet)
    assert seen == [1, 2]
    assert condensed.about.config["supply"]["net"] == "convnet1:width=4"
