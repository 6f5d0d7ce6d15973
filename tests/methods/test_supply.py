"""Networks trained on the synthetic set: schedules, criteria, state; and stopping by itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condensery import UsageError
from condensery.cli.main import main
from condensery.condensation.configure import configure, notes_of
from condensery.condensation.convergence import Convergence, window_of
from condensery.condensation.loop import Condenser
from condensery.config.build import Choices
from condensery.config.recipes import recipe_names
from condensery.data import Data
from condensery.errors import DivergedError
from condensery.methods.supply import TrainedOnSynthetic
from condensery.methods.supply.schedules import fixed_schedule, is_published
from condensery.runtime.plan import Plan, exact_plan
from condensery.utils.progress import Progress
from tests.conftest import tiny

EXACT = exact_plan("cpu", 1, "float64")
SMALL = {"ipc": 2, "iterations": 1, "real_batch": 5, "supply.net": "convnet1:width=4"}


def supply_of(data: Data, **overrides: Any) -> tuple[Condenser, Any]:
    condenser = Condenser(data, configure(data, "dc", {**SMALL, **overrides}), EXACT)
    return condenser, condenser.supply


@pytest.mark.parametrize(
    ("ipc", "expected"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10))],
)
def test_published_schedules(ipc: int, expected: tuple[int, int]) -> None:
    assert fixed_schedule(ipc) == expected
    assert is_published(ipc)


def test_schedules_between_and_beyond() -> None:
    assert fixed_schedule(100) == fixed_schedule(1250) == (50, 10)
    assert fixed_schedule(75) == (50, 10)
    for ipc in range(2, 50):
        steps, epochs = fixed_schedule(ipc)
        assert steps == ipc  # T grows with the budget
        assert is_published(ipc) == (ipc % 10 == 0)
        assert 1 <= epochs <= 50
    assert is_published(75), "from 50 on nothing changes"


@pytest.mark.parametrize("recipe", [r for r in recipe_names() if r.startswith(("dc", "ds", "gm"))])
@pytest.mark.parametrize("ipc", [1, 5, 10, 50])
def test_recipes_have_their_schedule_in_numbers(recipe: str, ipc: int, tiny_data: Data) -> None:
    config = configure(tiny_data, recipe, {"ipc": ipc})
    settings = config.supply.settings
    assert settings["steps"] == fixed_schedule(ipc)[0]
    if recipe == "gm_mda":
        each = settings["epochs"]
        zeta = [each[min(t, len(each) - 1)] for t in range(14)]
        assert zeta == [50 - 10 * t if t < 4 else 10 if t < 10 else 5 for t in range(14)]  # eq. 12
    else:
        assert settings["epochs"] == (None if recipe == "gm_mdo" else fixed_schedule(ipc)[1])
    notes = notes_of(Choices.of(config), config.ipc)
    assert bool(notes) == (ipc == 5)
    if notes:
        assert "no paper gives a schedule for 5 images per class: 5 steps" in notes[0]
        assert ("epochs are interpolated" in notes[0]) == (recipe not in ("gm_mda", "gm_mdo"))


@pytest.mark.parametrize(
    ("recipe", "overrides", "field", "value"),
    [
        ("dc", {"ipc": 100}, "formation.start_from", "real"),
        ("dc", {"ipc": 50}, "formation.start_from", "noise"),
        ("dc", {"supply.net": "mlp"}, "optimizer.rate", 0.01),
        ("dc", {"supply.net": "convnet3:width=64"}, "optimizer.rate", 0.1),
        ("dc", {"supply.net": "vgg11"}, "supply.norm", "batch"),
        ("gm_md", {"supply.net": "resnet18"}, "supply.norm", "batch"),
        ("dc", {"supply.net": "vgg11:norm=instance"}, "supply.norm", None),
        ("dc", {"supply.net": "convnet3"}, "supply.norm", None),
        ("dsa", {}, "formation.start_from", "real"),
        ("dsa", {}, "supply.augmentation", "batch_op"),
        ("gm_md", {}, "supply.momentum", 0.5),
        ("gm_md", {}, "objective.distance", "cosine+l2"),
    ],
)
def test_constants_of_the_papers(
    recipe: str, overrides: dict[str, Any], field: str, value: Any, tiny_data: Data
) -> None:
    found: Any = configure(tiny_data, recipe, overrides).as_dict()
    for name in field.split("."):
        found = found[name]
    assert found == value


def test_the_network_is_not_trained_after_its_last_step(tiny_data: Data) -> None:
    condenser, supply = supply_of(tiny_data, **{"supply.steps": 3, "supply.epochs": 4})
    condenser.run()
    assert supply.report() == {"epochs": 2 * 4}
    assert supply.effort(6) == (3.0, 2 * 4 * 6)


def test_training_is_sgd_on_the_synthetic_set(tiny_data: Data) -> None:
    given: dict[str, Any] = {"supply.steps": 2, "supply.epochs": 3, "supply.momentum": 0.5}
    condenser, supply = supply_of(tiny_data, **given, **{"supply.weight_decay": 0.01})
    network = supply.new(0)
    other = supply_of(tiny_data, **given)[1].new(0)
    condenser._network = network
    condenser.step()
    other.requires_grad_(True)
    sgd = torch.optim.SGD(other.parameters(), lr=0.01, momentum=0.5, weight_decay=0.01)
    images, labels = condenser.context().synthetic()
    for _ in range(3):
        sgd.zero_grad()
        cross_entropy(other(images), labels).backward()
        sgd.step()
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def losses_of(condenser: Condenser, images: Tensor, labels: Tensor, epochs: int) -> list[float]:
    """The loss of some real images after each epoch on the synthetic set, slowly."""
    network = condenser.supply.new(0).requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), lr=condenser.config.supply.settings["rate"])
    made, targets = condenser.context().synthetic()
    out = []
    for _ in range(epochs + 1):
        out.append(float(cross_entropy(network(images), labels).detach()))
        sgd.zero_grad()
        cross_entropy(network(made), targets).backward()
        sgd.step()
    return out


@pytest.mark.parametrize("rate", [0.3, 3.0])
def test_training_stops_when_the_network_overfits(rate: float) -> None:
    data = tiny((20, 20, 20))
    given: dict[str, Any] = {
        "supply.steps": 2,
        "supply.until": "overfit",
        "supply.rate": rate,
        "supply.cap": 9,
    }
    condenser, supply = supply_of(data, **given, **{"supply.validation": 30})
    condenser.step()
    condenser.step_in_iteration = 0  # the address of the batch that was watched
    losses = losses_of(condenser, *condenser.context().mixed(30), 9)
    rises = [i for i in range(1, 10) if losses[i] > losses[i - 1]]
    report = supply.report()
    assert report["epochs"] == (rises[0] if rises else 9)
    assert report.get("capped", 0) == (0 if rises else 1)


def test_training_stops_at_the_gap(tiny_data: Data) -> None:
    wide: dict[str, Any] = {
        "supply.steps": 2,
        "supply.until": "gap",
        "supply.cap": 7,
        "supply.gap": 1e9,
    }
    condenser, supply = supply_of(tiny_data, **wide)
    condenser.run()
    assert supply.report() == {"epochs": 7, "capped": 1}
    condenser, supply = supply_of(tiny_data, **{**wide, "supply.gap": 0.0, "supply.rate": 5.0})
    condenser.run()
    assert supply.report()["epochs"] < 7


def test_the_watched_batch_is_drawn_for_its_step(tiny_data: Data) -> None:
    condenser, _ = supply_of(tiny_data)
    first, labels = condenser.context().mixed(10)
    assert len(first) == len(labels) == 10
    assert torch.equal(first, condenser.context().mixed(10)[0])
    condenser.step_in_iteration = 1
    assert not torch.equal(first, condenser.context().mixed(10)[0])
    assert len(condenser.context().mixed(10_000)[0]) == len(tiny_data.train)


def test_state_carries_network_and_momentum(tiny_data: Data) -> None:
    given: dict[str, Any] = {"supply.steps": 3, "supply.epochs": 2, "supply.momentum": 0.5}
    condenser, supply = supply_of(tiny_data, **given)
    condenser.step()
    state = condenser.state()["supply"]
    assert set(state["network"]) == set(state["momenta"])
    again, other = supply_of(tiny_data, **given)
    again.load_state(condenser.state())
    assert other.state()["momenta"].keys() == state["momenta"].keys()
    condenser.run()
    assert "network" not in condenser.state()["supply"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("supply.steps", 0, "supply.steps must be at least 1"),
        ("supply.epochs", [], "supply.epochs must be one number or more"),
        ("supply.epochs", -1, "supply.epochs"),
        ("supply.cap", 0, "supply.cap must be at least 1"),
        ("supply.until", "overfitting", "supply"),
        ("supply.rate", -1.0, "supply.rate must be positive"),
        ("supply.momentum", 1.0, "supply.momentum must be at least 0"),
        ("supply.strategy", "colr", "did you mean 'color'"),
        ("objective.distance", "cosne", "did you mean 'cosine'"),
        ("objective.level", "outer", "objective"),
        ("objective.inter_weight", 0, "objective.inter_weight must be positive"),
        ("objective.inter_weight", float("inf"), "positive and finite"),
        ("objective.parameters", "biases", "objective"),
        ("supply.rate", float("inf"), "finite"),
        ("supply.weight_decay", float("nan"), "finite"),
        ("supply.gap", float("nan"), "supply.gap must be finite"),
        ("window", 9, "window must be at least 10"),
        ("objective.level", None, "objective.level needs a value: intra or inter"),
        ("objective.distance", None, "objective.distance needs a value"),
        ("supply.rate", None, "supply.rate needs a value"),
        ("supply.until", None, "supply.until needs a value: epochs or overfit or gap"),
        ("iterations", None, "iterations needs a value"),
        ("until", "never", "until"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    field: str, value: Any, message: str, tiny_data: Data
) -> None:
    with pytest.raises(UsageError, match=message):
        configure(tiny_data, "gm_md", {field: value})


def test_a_supply_by_hand_settles_itself(tiny_data: Data) -> None:
    condenser, _ = supply_of(tiny_data)
    supply = TrainedOnSynthetic(net="convnet1:width=4")
    supply.start(condenser.task)
    assert (supply.steps, supply.epochs) == fixed_schedule(condenser.task.ipc)


# --- stopping by itself ------------------------------------------------------------------------


def stops_at(losses: list[float], iterations: int) -> int | None:
    rule = Convergence(window_of(iterations))
    for k, loss in enumerate(losses, 1):
        if rule.add(torch.tensor(loss, dtype=torch.float64)):
            return k
    return None


def test_a_falling_loss_goes_on_and_a_flat_one_stops() -> None:
    falling = [math.exp(-k / 100) for k in range(1000)]
    assert stops_at(falling, 1000) is None
    flat = [math.exp(-k / 20) + 1 for k in range(1000)]
    found = stops_at(flat, 1000)
    assert found is not None
    assert 100 <= found <= 200
    assert stops_at([1.0] * 1000, 1000) == 100


@pytest.mark.parametrize(("spread", "expected"), [(5.0, 100), (0.5, None)])
def test_noise_does_not_pass_for_a_fall(spread: float, expected: int | None) -> None:
    # The mean falls by 8 %: much against a standard error of 0.1, nothing against one of 1.
    losses = [mean + spread * sign for mean in (10.0, 9.2) for _ in range(25) for sign in (1, -1)]
    assert stops_at(losses, 1000) == expected


@pytest.mark.parametrize("given", [{}, {"iterations": 100}, {"iterations": 5000}])
def test_the_window_follows_the_recipes_own_schedule(
    given: dict[str, Any], tiny_data: Data
) -> None:
    assert configure(tiny_data, "dc", given).window == 50
    assert configure(tiny_data, "dm", given).window == 1000
    # A hundred pixel steps a network: ten networks, and not a hundred, which are 10 000 steps.
    assert configure(tiny_data, "idc", given).window == 10
    assert configure(tiny_data, "idc", {**given, "supply.steps": 20}).window == 25
    assert configure(tiny_data, "dc", {**given, "ipc": 50}).window == 10
    assert configure(tiny_data, "dm", {**given, "window": 30}).window == 30
    again = configure(tiny_data, configure(tiny_data, "dc", given).as_dict(), {"iterations": 7})
    assert again.window == 50


@pytest.mark.parametrize("recipe", ["dc", "dm"])
def test_a_run_that_converges_ends_and_resumes_to_the_same_bytes(
    recipe: str, tiny_data: Data, tmp_path: Path
) -> None:
    small = {**SMALL, "ipc": 1, "iterations": 200, "until": "converged", "window": 10}
    small |= {"supply.steps": 2, "supply.epochs": 1} if recipe == "dc" else {}
    config = configure(tiny_data, recipe, {**small, "optimizer.rate": 1e-9})  # nothing can fall
    whole = Condenser(tiny_data, config, EXACT)
    expected = whole.run()
    assert whole.converged
    assert expected.about.iterations < 200
    first = Condenser(tiny_data, config, EXACT)
    first.run(13)
    first.step()  # for dc the first of two, in the middle of an iteration
    second = Condenser(tiny_data, config, EXACT)
    second.load_state(first.state())
    found = second.run()
    assert found.about == expected.about
    assert second.state()["convergence"] == whole.state()["convergence"]
    assert torch.equal(found.stored, expected.stored)


def test_the_command_says_where_it_converged(tmp_path: Path, capsys: Any) -> None:
    arguments = [
        *("condense", "--recipe", "dc", "--ipc", "1", "--iterations", "300", "--real-batch", "2"),
        *("--until", "converged", "--optimizer.rate", "1e-9", "--supply.net", "convnet1:width=4"),
        *("--window", "10", "--plan", "exact", "--out", str(tmp_path / "run")),
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "converged after 20 of 300 iterations" in out
    assert main(arguments) == 0
    assert "is finished" in capsys.readouterr().out


def test_the_command_tells_of_an_interpolated_schedule(tmp_path: Path, capsys: Any) -> None:
    arguments = [
        *("condense", "--recipe", "dc", "--ipc", "3", "--iterations", "0", "--plan", "exact"),
        *("--out", str(tmp_path / "run")),
    ]
    assert main(arguments) == 0
    assert "note: no paper gives a schedule for 3 images per class" in capsys.readouterr().out


def test_progress_within_a_long_iteration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("condensery.utils.progress.time.monotonic", lambda: now[0])
    progress = Progress(10, "iterations")
    for second, what in (
        (5, "within"),
        (20, "within"),
        (100, "done"),
        (110, "done"),
        (131, "within"),
    ):
        now[0] = float(second)
        if what == "done":
            progress.advance("loss 3")
        else:
            progress.within("step 7")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "0/10 iterations, step 7 of the next",
        "1/10 iterations, 0.01/s, 15.0 min left, loss 3",
        "2/10 iterations, 0.0153/s, 8.7 min left, loss 3, step 7 of the next",
    ]


class Dropped(nn.Module):
    """A foreign network with dropout and a buffer of indices."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.classifier = nn.Linear(channels * 64, classes)
        self.register_buffer("order", torch.arange(channels * 64).flip(0))

    def forward(self, images: Tensor) -> Tensor:
        flat = images.flatten(1)[:, self.get_buffer("order")]
        return self.classifier(self.drop(flat))  # type: ignore[no-any-return]


FOREIGN = "tests.methods.test_supply:Dropped:channels=1,classes=3"


@pytest.mark.parametrize("until", ["epochs", "overfit", "gap"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_has_an_address(
    until: str, dtype: Literal["float32", "bfloat16"], tiny_data: Data
) -> None:
    given = {**SMALL, "supply.net": FOREIGN, "supply.until": until, "supply.cap": 4}
    config = configure(tiny_data, "gm_md", {**given, "supply.steps": 3, "supply.epochs": 3})
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        condenser = Condenser(tiny_data, config, Plan(chunk=8, update_dtype=dtype))
        condenser.run()
        assert torch.equal(torch.get_rng_state(), before)
        found.append(condenser.stored.detach())
    assert torch.equal(*found)


def test_every_pass_drops_other_units(tiny_data: Data) -> None:
    given = {"supply.net": FOREIGN, "supply.steps": 2, "supply.epochs": 3}
    condenser, supply = supply_of(tiny_data, **given)
    network = supply.new(0)
    masks: list[Tensor] = []
    network.drop.register_forward_hook(lambda *a: masks.append((a[2] != 0).flatten()))
    course = condenser.context().course(network, supply._protocol)
    images, labels = condenser.context().synthetic()

    def loss(weights: dict[str, Tensor], pictures: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(network(pictures), targets[:, 0].long())

    course.trainer.losses._losses[(None, True, False)] = (
        loss  # the network itself, to see its masks
    )
    course.epochs(images.abs() + 1, labels, range(3), (0, 0))
    assert len(masks) == 3
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


def test_bfloat16_training_stays_close_to_float32(tiny_data: Data) -> None:
    given = {**SMALL, "supply.steps": 2, "supply.epochs": 5, "supply.rate": 0.3}
    config = configure(tiny_data, "dc", given)

    def trained(dtype: Literal["float32", "bfloat16"]) -> tuple[Tensor, Tensor]:
        condenser = Condenser(tiny_data, config, Plan(chunk=4, update_dtype=dtype))
        network = condenser.supply.new(0)
        before = nn.utils.parameters_to_vector(network.parameters()).clone()
        condenser._network = network
        condenser.step()
        return before, nn.utils.parameters_to_vector(network.parameters()).detach() - before

    start, single = trained("float32")
    same, half = trained("bfloat16")
    assert torch.equal(start, same)
    assert not torch.equal(single, half), "the passes must have been narrow"
    assert (half - single).norm() < 0.05 * single.norm()


def test_a_divergence_names_both_rates(tiny_data: Data) -> None:
    config = configure(
        tiny_data, "dc", {**SMALL, "supply.steps": 3, "supply.epochs": 50, "supply.rate": 1e30}
    )
    with pytest.raises(DivergedError, match=r"optimizer\.rate .* or --supply\.rate"):
        Condenser(tiny_data, config, exact_plan("cpu", 1)).run()


def test_a_file_stands_on_top_of_the_recipe_that_it_names(tmp_path: Path, tiny_data: Data) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: gm_mda\nipc: 100\nsupply: {steps: 2, epochs: [4, 2]}\n")
    found = configure(tiny_data, str(file), {"objective.level": "intra"})
    assert found.supply.settings["epochs"] == [4, 2]
    assert found.supply.settings["momentum"] == 0.5
    assert found.formation.settings["start_from"] == "real", "the recipe's case for 100 images"
    assert found.objective.settings["level"] == "intra"
    assert (found.ipc, found.recipe, found.window) == (100, "mine", 50)
    file.write_text("recipe: gm_mda\nipc: 100\nformation: {start_from: noise}\n")
    assert configure(tiny_data, str(file)).formation.settings["start_from"] == "noise"
    with pytest.raises(UsageError, match="lacks formation"):
        file.write_text("supply: {steps: 2}\n")
        configure(tiny_data, str(file))
    nested = configure(tiny_data, "dc", {"supply": {"steps": 7}})
    assert nested.supply.settings["steps"] == 7


def test_a_budget_may_be_numpys(tiny_data: Data) -> None:
    assert configure(tiny_data, "dc", {"ipc": np.int64(3)}).ipc == 3


def test_another_budget_of_a_finished_recipe_is_told(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "a"
    tiny_run = ["--iterations", "0", "--plan", "exact"]
    assert main(["condense", "--recipe", "dc", "--ipc", "2", *tiny_run, "--out", str(out)]) == 0
    assert "depend on the budget" not in capsys.readouterr().out
    again = ["condense", "--config", str(out), "--ipc", "100", *tiny_run]
    assert main([*again, "--out", str(tmp_path / "b")]) == 0
    assert "that depend on the budget are those of 2 images per class" in capsys.readouterr().out


def test_a_refused_run_leaves_its_folder_free(tmp_path: Path, capsys: Any) -> None:
    wrong = [
        *("condense", "--recipe", "dc", "--ipc", "1", "--iterations", "1", "--real-batch", "2"),
        *("--supply.net", "mlp:width=4", "--plan", "exact", "--out", str(tmp_path / "run")),
    ]
    assert main([*wrong, "--objective.parameters", "conv"]) == 2
    assert "MLP has no parameters" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(wrong) == 0
    assert main([*wrong, "--objective.distance", "l1"]) == 2
    assert "objective.distance there: cosine, here: l1" in capsys.readouterr().err


def test_a_network_without_the_wanted_parameters_is_refused(tiny_data: Data) -> None:
    given = {**SMALL, "supply.net": "mlp:width=8", "objective.parameters": "conv"}
    condenser = Condenser(tiny_data, configure(tiny_data, "dc", given), EXACT)
    with pytest.raises(UsageError, match=r"MLP has no parameters of --objective\.parameters conv"):
        condenser.run()


def test_plans_say_what_they_do() -> None:
    plan = Plan(compile=True, together=True, chunk=8, update_dtype="bfloat16")
    assert "classes together" in plan.describe()
    assert "training bfloat16" in plan.describe()
    with pytest.raises(UsageError, match=r"needs plan\.compile"):
        Plan(together=True)


def test_a_plans_field_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        *("condense", "--recipe", "gm_md", "--ipc", "1", "--iterations", "1", "--real-batch", "2"),
        *("--supply.net", "convnet1:width=4", "--plan.memory_gb", "0.5", "--plan.chunk", "4"),
    ]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert "auto, changed (" in capsys.readouterr().out
    plan = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    assert (plan["memory_gb"], plan["chunk"]) == (0.5, 4)
    assert main([*arguments, "--plan.memory_mb", "1", "--out", str(tmp_path / "b")]) == 2
    assert "did you mean 'plan.memory_gb'" in capsys.readouterr().err
