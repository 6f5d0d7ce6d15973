"""What every recipe must do. A new recipe is tested here by being there, or asks for a line."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
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
from tests.condensation.small_runs import (
    BRIEF,
    COMPARED,
    DISTINCT,
    KINDS,
    LONGER,
    LOWERED,
    SMALL,
)
from tests.conftest import tiny


def together(recipe: str) -> pytest.MarkDecorator:
    """One worker has all tests of a recipe, and what they share."""
    return pytest.mark.xdist_group(recipe)


def each(recipes: Iterable[str]) -> pytest.MarkDecorator:
    """A test for each of these recipes."""
    values = [pytest.param(recipe, marks=together(recipe)) for recipe in recipes]
    return pytest.mark.parametrize("recipe", values)


RECIPES = each(recipe_names())
EXACT, CHUNKED = exact_plan("cpu", 1), Plan(name="chunked", chunk=5, real_dtype="bfloat16")


@cache
def kinds(recipe: str) -> tuple[Any, ...]:
    """What decides how a recipe runs; see :data:`KINDS`."""
    config = configure(tiny(), recipe)
    level = config.objective.settings.get("level")
    until, norm = (config.supply.settings.get(name) for name in ("until", "norm"))
    choices = (config.formation, config.objective, config.supply, config.augmentation)
    return *(choice.kind for choice in choices), level, until, norm


def planned() -> list[Any]:
    """One recipe of each kind with the exact plan, and one of each objective with the other.

    A chunk is the objective's affair; what the supply and the formation keep knows nothing of it.
    """
    pairs = [(recipe, EXACT) for recipe in DISTINCT]
    pairs += [(recipe, CHUNKED) for recipe in COMPARED]
    return [
        pytest.param(recipe, plan, id=f"{recipe}-{plan.name}", marks=together(recipe))
        for recipe, plan in pairs
    ]


PLANNED = pytest.mark.parametrize(("recipe", "plan"), planned())
EACH_KIND = each(DISTINCT)


def configured(data: Data, recipe: str, **overrides: object) -> RunConfig:
    kind = str(overrides.get("supply.kind", kinds(recipe)[2]))
    return configure(data, recipe, {**SMALL, **BRIEF.get(kind, {}), **overrides})


def written(condenser: Condenser, path: Path) -> bytes:
    return condenser.run().save(path).read_bytes()


def lasting(data: Data, recipe: str, **overrides: object) -> RunConfig:
    """Two iterations, of three pixel steps each where networks live that long."""
    longer = LONGER.get(kinds(recipe)[2], {})
    return configured(data, recipe, **{"iterations": 2, **longer, **overrides})


def finished(data: Data, recipe: str, plan: Plan, path: Path, **overrides: object) -> bytes:
    return written(Condenser(data, lasting(data, recipe, **overrides), plan), path)


@pytest.fixture
def tiny_data() -> Data:
    """Two classes of 12 and 7 grey images of 8×8: a class more takes longer, and is like these."""
    return tiny((12, 7))


@cache
def undisturbed(recipe: str, plan: Plan) -> bytes:
    """The bytes of a run that nothing happened to; several tests compare with them."""
    with tempfile.TemporaryDirectory() as place:
        return finished(tiny((12, 7)), recipe, plan, Path(place) / "whole")


@RECIPES
def test_every_recipe_is_of_a_kind_that_is_tested(recipe: str) -> None:
    """A recipe of a new kind gets a line in ``KINDS``."""
    assert kinds(recipe) in KINDS.values()
    assert KINDS.get(recipe, kinds(recipe)) == kinds(recipe)


@RECIPES
def test_zero_iterations_write_the_untrained_start(recipe: str, tiny_data: Data) -> None:
    """And no more than the budget."""
    config = configured(tiny_data, recipe, iterations=0)
    condenser = Condenser(tiny_data, config, EXACT)
    start = condenser.stored.detach().clone()
    condensed = condenser.run()
    assert torch.equal(condensed.stored, start)
    pixels = math.prod(tiny_data.train.shape)
    assert condensed.stored.numel() == tiny_data.train.classes * config.ipc * pixels
    assert condensed.images.shape[1:] == tiny_data.train.shape
    assert condensed.labels.bincount().unique().numel() == 1


def test_threads_are_given_back(tiny_data: Data) -> None:
    torch.set_num_threads(2)
    try:
        Condenser(tiny_data, configured(tiny_data, "dm", iterations=1), EXACT).run()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def poisoned(data: Data) -> Data:
    """The same training images beside a test split that misleads."""
    misleading = (255 - data.test.images, data.test.labels.flip(0))
    return load((data.train.images, data.train.labels), test=misleading, flip=True)


@EACH_KIND
def test_same_seed_same_bytes(recipe: str, tiny_data: Data, tmp_path: Path) -> None:
    """Also of a run whose state and result were taken, and of one with another test split.

    The input is left alone.
    """
    images, generator = tiny_data.train.images.clone(), torch.get_rng_state()
    run, other = (
        Condenser(data, lasting(data, recipe, seed=seed), EXACT)
        for seed, data in enumerate((poisoned(tiny_data), tiny_data))
    )
    early, state = run.run(1), run.state()
    before, pixels = early.stored.clone(), early.images.clone()
    assert torch.equal(state["stored"].flatten(), before.flatten())
    assert written(run, tmp_path / "b") == undisturbed(recipe, EXACT)
    assert run.result().about.iterations == run.config.iterations
    assert not torch.equal(run.result().stored, before)
    assert torch.equal(early.stored, before)
    assert torch.equal(early.images, pixels)
    assert torch.equal(state["stored"].flatten(), before.flatten())
    assert not torch.equal(other.run(1).stored, before)
    assert torch.equal(tiny_data.train.images, images)
    assert torch.equal(torch.get_rng_state(), generator)


@PLANNED
def test_a_stopped_run_continues_to_the_same_bytes(
    recipe: str, plan: Plan, tiny_data: Data, tmp_path: Path
) -> None:
    """Stopped within each iteration, and between them; each part goes on from the last one's."""
    config = lasting(tiny_data, recipe)
    run = Condenser(tiny_data, config, plan)
    for iterations in (None, 1, None):
        if iterations is None:
            run.step()
        else:
            run.run(iterations)
        at = run.iteration, run.step_in_iteration
        save_state(run.state(), tmp_path / "state.safetensors")
        run = Condenser(tiny_data, config, plan)
        run.load_state(load_state(tmp_path / "state.safetensors"))
        assert (run.iteration, run.step_in_iteration) == at
    assert written(run, tmp_path / "resumed") == undisturbed(recipe, plan)


def test_a_run_stopped_before_its_first_iteration_continues(
    tiny_data: Data, tmp_path: Path
) -> None:
    config = lasting(tiny_data, "dm")
    save_state(Condenser(tiny_data, config, EXACT).state(), tmp_path / "state.safetensors")
    second = Condenser(tiny_data, config, EXACT)
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert second.iteration == 0
    assert written(second, tmp_path / "resumed") == undisturbed("dm", EXACT)


def test_batch_statistics_survive_a_stop(tiny_data: Data, tmp_path: Path) -> None:
    """After each of four steps: every part goes on from the last one's."""
    small: dict[str, Any] = {"iterations": 2, "supply.steps": 3, "supply.epochs": 2}
    small |= {"supply.momentum": 0.5, "supply.net": "convnet2:width=4,norm=batch"}
    whole = finished(tiny_data, "gm_mdo", EXACT, tmp_path / "whole", **small)
    config = lasting(tiny_data, "gm_mdo", **small)
    part = Condenser(tiny_data, config, EXACT)
    for _ in range(4):
        part.step()
        save_state(part.state(), tmp_path / "state.safetensors")
        part = Condenser(tiny_data, config, EXACT)
        part.load_state(load_state(tmp_path / "state.safetensors"))
    assert written(part, tmp_path / "resumed") == whole


@EACH_KIND
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


@each(LOWERED)
def test_the_loss_falls(recipe: str, tiny_data: Data) -> None:
    third = {"fresh": 10, "trained_on_synthetic": 10}.get(kinds(recipe)[2], 6)
    many: dict[str, Any] = {"supply.net": "convnet2:width=8", "formation.start_from": "noise"}
    many |= {"iterations": 3 * third}
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
    condenser.run(third)
    first = condenser.report().loss
    condenser.run(2 * third)
    condenser.report()
    condenser.run(3 * third)
    assert condenser.report().loss < 0.8 * first


def test_a_run_that_leaves_the_finite_numbers_stops(tiny_data: Data) -> None:
    config = configured(tiny_data, "dm", **{"optimizer.rate": 1e30})
    with pytest.raises(DivergedError, match=r"lower --optimizer\.rate"):
        Condenser(tiny_data, config, EXACT).run()


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


@EACH_KIND
def test_shapes(recipe: str) -> None:
    data = tiny(channels=3, side=12)
    condensed = Condenser(data, configured(data, recipe, iterations=1), EXACT).run()
    per_class = condensed.formation.decoded(2)
    assert condensed.images.shape == (3 * per_class, 3, 12, 12)


@each({kind[2]: name for name, kind in KINDS.items()}.values())
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
