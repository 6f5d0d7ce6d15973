"""CAFE's terms and algorithm 1 written slowly, its queues on made-up accuracies; pixel MMD."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor, nn
from torch.nn import functional as F

from condensery import UsageError
from condensery.cli.main import main
from condensery.condensation.configure import configure, notes_of, resolved
from condensery.condensation.loop import Condenser
from condensery.config.schema import PixelOptimizer, RunConfig
from condensery.data import Data
from condensery.methods.objectives import AlignedFeatures
from condensery.methods.objectives.functional import discrimination
from condensery.methods.supply import Context, Dynamic
from condensery.methods.supply.dynamic import Queue
from condensery.methods.task import Step, Task
from condensery.nets import build, embed, features
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.trainer import Tensors
from condensery.utils.checkpoint import load_state, save_state
from tests.conftest import tiny

FLOAT64 = exact_plan("cpu", 1, "float64")
#: A batch takes 8, 7 and 8 images of the tiny data's classes: unequal on purpose.
SMALL = {"ipc": 2, "iterations": 2, "real_batch": 8, "supply.net": "convnet3:width=4"}
QUICK = {"supply.gamma": 2, "supply.step_cap": 3, "supply.epoch_cap": 2, "supply.query": 3}


# ----------------------------------------------------------------- the features, slowly


def convnet_layers(network: nn.Module, images: Tensor) -> list[Tensor]:
    """CAFE's five maps of ConvNet-3, from its weights, by plain functions."""
    named = dict(network.named_parameters())
    out = []
    for block in range(3):
        weight = named[f"blocks.{block}.conv.weight"]
        images = F.conv2d(images, weight, named[f"blocks.{block}.conv.bias"], padding=1)
        mean = images.mean((2, 3), keepdim=True)
        variance = images.var((2, 3), keepdim=True, unbiased=False)
        images = (images - mean) / torch.sqrt(variance + 1e-5)
        scale, shift = named[f"blocks.{block}.norm.weight"], named[f"blocks.{block}.norm.bias"]
        images = torch.relu(images * scale[:, None, None] + shift[:, None, None])
        out.append(images)
        images = F.avg_pool2d(images, 2)
    return [*out, images, images.flatten(1)]


def lenet_layers(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The two maps and two hidden layers of LeNet, the last once more."""
    weights = list(network.parameters())
    padding = 2 if images.shape[1] == 1 else 0
    first = F.max_pool2d(torch.relu(F.conv2d(images, weights[0], weights[1], padding=padding)), 2)
    second = F.max_pool2d(torch.relu(F.conv2d(first, weights[2], weights[3])), 2)
    third = torch.relu(F.linear(second.flatten(1), weights[4], weights[5]))
    last = torch.relu(F.linear(third, weights[6], weights[7]))
    return [first, second, third, last, last]


def slow_loss(
    real: Sequence[Sequence[Tensor]],
    made: Sequence[Sequence[Tensor]],
    weights: Sequence[float],
    beta: float,
    reduction: str,
) -> Tensor:
    """Equations 1 to 4 with loops, from each class's layers."""
    total = torch.zeros((), dtype=torch.float64)
    for real_layers, made_layers in zip(real, made, strict=True):
        for weight, a, b in zip(weights, real_layers, made_layers, strict=True):
            total = total + weight * ((a.sum(0) / len(a) - b.sum(0) / len(b)) ** 2).sum()
    centers = [layers[-1].mean(0) for layers in made]
    terms = []
    for label, layers in enumerate(real):
        for row in layers[-1]:
            logits = torch.stack([(row * center).sum() for center in centers])
            terms.append(-(logits[label] - torch.logsumexp(logits, 0)))
    together = torch.stack(terms)
    return total + beta * (together.mean() if reduction == "mean" else together.sum())


def real_rows(data: Data, config: RunConfig, iteration: int, step: int) -> list[Tensor]:
    """Each class's real batch."""
    out = []
    for c, rows in enumerate(data.train.index):
        if len(rows) > config.real_batch:
            rng = stream(config.seed, "real-batch", iteration, step, c)
            picked = rng.choice(len(rows), config.real_batch, replace=False, shuffle=False)
            rows = rows[torch.from_numpy(picked)]
        out.append(rows)
    return out


def slow_gradient(
    data: Data,
    config: RunConfig,
    network: nn.Module,
    stored: Tensor,
    at: tuple[int, int],
    layers: Any = convnet_layers,
) -> tuple[Tensor, Tensor]:
    """The loss of one step and its gradient, class by class."""
    train, settings = data.train, config.objective.settings
    leaf = stored.detach().requires_grad_()
    rows = real_rows(data, config, *at)
    real = [layers(network, train.normalised(r, dtype=torch.float64)) for r in rows]
    made = [layers(network, leaf[c]) for c in range(train.classes)]
    weights = settings["weights"] if len(settings["weights"]) == 5 else [1, 1, 1, 1, 0]
    loss = slow_loss(real, made, weights, settings["discrimination"], settings["reduction"])
    return loss, torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("recipe", ["cafe", "cafe_paper"])
@pytest.mark.parametrize(
    ("spec", "side", "layers"),
    [("convnet3:width=4", 8, convnet_layers), ("lenet", 16, lenet_layers)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_and_its_gradient_are_the_papers(
    recipe: str, spec: str, side: int, layers: Any, channels: int
) -> None:
    data = tiny(channels=channels, side=side)
    config = configure(data, recipe, {**SMALL, "supply.net": spec})
    condenser = Condenser(data, config, FLOAT64)
    network = condenser.supply.new(1)
    stored = condenser.stored.detach()
    loss, gradient = condenser.matcher.gradient(network, stored, 1, 2)
    expected, slope = slow_gradient(data, config, network, stored, (1, 2), layers)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-9, atol=1e-12)
    assert (slope != 0).double().mean() > 0.9


@pytest.mark.parametrize("spec", ["resnet10", "alexnet:norm=batch", "mlp:width=8"])
def test_any_network_of_the_zoo(spec: str) -> None:
    data = tiny(channels=3, side=32 if spec == "vgg11" else 8)
    config = configure(data, "cafe", {**SMALL, **QUICK, "supply.net": spec})
    condenser = Condenser(data, config, FLOAT64)
    network = condenser.supply.new(0)
    condenser.supply.prepare(network, condenser.context())
    stored = condenser.stored.detach()
    loss, gradient = condenser.matcher.gradient(network, stored, 0, 0)
    leaf = stored.clone().requires_grad_()
    rows = real_rows(data, config, 0, 0)
    real = [features(network, data.train.normalised(r, dtype=torch.float64)) for r in rows]
    made = [features(network, leaf[c]) for c in range(3)]
    names = list(real[0])
    weights = [0.1] * (len(names) - 3) + [1.0] * 3
    expected = slow_loss(
        [[f[n] for n in names] for f in real],
        [[f[n] for n in names] for f in made],
        weights,
        0.01,
        "sum",
    )
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-9, atol=1e-12)
    slope = torch.autograd.grad(expected, leaf)[0]
    torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-11)


def test_discrimination_is_scikit_learns_log_loss() -> None:
    rng = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 5, generator=rng, dtype=torch.float64)
    centers = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    labels = [0, 0, 1, 1, 1, 1, 1, 2, 2]
    chances = torch.softmax(rows @ centers.T, 1).numpy()
    for normalize, reduction in ((True, "mean"), (False, "sum")):
        expected = log_loss(labels, chances, normalize=normalize)
        found = discrimination(rows, [2, 5, 2], centers, reduction)  # type: ignore[arg-type]
        assert float(found) == pytest.approx(expected, rel=1e-12)


def gradient(data: Data, plan: Plan, **overrides: Any) -> Tensor:
    config = configure(data, "cafe", {**SMALL, **overrides})
    condenser = Condenser(data, config, plan)
    network = condenser.supply.new(0)
    found: Tensor = condenser.matcher.gradient(network, condenser.stored.detach(), 0, 0)[1]
    return found


@pytest.mark.parametrize("chunk", [1, 3, 5, 8, 100])
@pytest.mark.parametrize("ipc", [1, 2, 5])
def test_chunks_change_nothing(tiny_data: Data, chunk: int, ipc: int) -> None:
    chunked = dataclasses.replace(FLOAT64, chunk=chunk)
    whole = gradient(tiny_data, FLOAT64, ipc=ipc)
    torch.testing.assert_close(gradient(tiny_data, chunked, ipc=ipc), whole, rtol=1e-9, atol=1e-12)


def test_float32_and_a_bfloat16_real_branch_stay_close(tiny_data: Data) -> None:
    reference = gradient(tiny_data, FLOAT64)
    single = gradient(tiny_data, exact_plan("cpu", 1)).double()
    assert (single - reference).norm() < 1e-4 * reference.norm()
    half = gradient(tiny_data, Plan(real_dtype="bfloat16", chunk=4)).double()
    assert 0 < (half - reference).norm() < 0.1 * reference.norm()


@pytest.mark.usefixtures("traced_only")
def test_compiled_equals_eager() -> None:
    data = tiny((24, 24, 24))  # in two chunks: each size of one is compiled for itself
    more = {"real_batch": 24, "supply.net": "convnet1:width=4"}
    eager = gradient(data, Plan(chunk=16), **more)
    compiled = gradient(data, Plan(chunk=16, compile=True, channels_last=True), **more)
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-5)


# ----------------------------------------------------------------- its settings


def test_without_discrimination_classes_are_separable(tiny_data: Data) -> None:
    one = AlignedFeatures(discrimination=0.0)
    assert (one.separable, one.observes) == (True, False)
    both = AlignedFeatures()
    assert (both.separable, both.observes) == (False, True)
    alone = gradient(tiny_data, FLOAT64, **{"objective.discrimination": 0})
    rest = gradient(tiny_data, FLOAT64, **{"objective.layers": []})
    together = gradient(tiny_data, FLOAT64)
    torch.testing.assert_close(alone + rest, together, rtol=1e-9, atol=1e-12)
    assert min(alone.norm(), rest.norm()) > 0


def test_layers_add_up(tiny_data: Data) -> None:
    def of(layers: list[str] | None) -> Tensor:
        more = {"objective.layers": layers, "objective.discrimination": 0}
        return gradient(tiny_data, FLOAT64, **more)

    names = ["block1", "block2", "block3", "pooled", "embedding"]
    parts = [of([name]) for name in names]
    torch.testing.assert_close(torch.stack(parts).sum(0), of(None), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(parts[3], parts[4], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(parts[0], parts[1])
    tenth = {"objective.layers": ["block1"], "objective.weights": [1.0]}
    full = gradient(tiny_data, FLOAT64, **tenth, **{"objective.discrimination": 0})
    torch.testing.assert_close(10 * parts[0], full, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective.layers": ["blok1"]}, "did you mean 'block1'"),
        ({"objective.layers": ["block1", "block1"]}, "names a layer twice"),
        ({"objective.layers": [], "objective.discrimination": 0}, "nothing is compared"),
        ({"objective.weights": [0.0], "objective.discrimination": 0}, "nothing is compared"),
        ({"objective.weights": []}, "one number or more"),
        ({"objective.weights": [-1.0]}, "none of them negative"),
        ({"objective.weights": [1.0, 0.0], "objective.layers": ["embedding"]}, "leave no layer"),
        ({"objective.discrimination": -1}, "not negative"),
        ({"objective.reduction": "max"}, "objective.reduction must be"),
        ({"supply.gamma": 1}, "supply.gamma must be at least 2"),
        ({"supply.lambda1": 5}, "difference of accuracies"),
        ({"supply.query": 0}, "supply.query"),
        ({"supply.rate": 0}, "supply.rate"),
        ({"supply.strategy": "spin"}, "spin"),
        ({"optimizer.drops": [0]}, "optimizer.drops"),
        ({"optimizer.drop_factor": 2}, "optimizer.drop_factor"),
        ({"supply.path": "x"}, "is a setting of other kinds of supply (pool, trained_on_real)"),
        ({"objective.layers": "block1"}, "must be a list such as '[block1]'"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, Any], words: str, tiny_data: Data, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        Condenser(tiny_data, configure(tiny_data, "cafe", {**SMALL, **settings}), FLOAT64).run(1)
    assert words in str(refused.value)


def test_constants(tiny_data: Data) -> None:
    cafe, paper, dsa = (configure(tiny_data, f"cafe{n}") for n in ("", "_paper", "_dsa"))
    assert cafe.objective.settings == {
        "layers": None,
        "weights": [0.1, 0.1, 1.0, 1.0, 1.0],
        "repeat_last": True,
        "discrimination": 0.01,
        "reduction": "sum",
    }
    assert paper.objective.settings["weights"] == [1.0]
    assert not paper.objective.settings["repeat_last"]
    assert (paper.objective.settings["discrimination"], paper.objective.settings["reduction"]) == (
        1.0,
        "mean",
    )
    assert dsa.objective == cafe.objective
    assert (dsa.augmentation.kind, cafe.augmentation.kind) == ("siamese_op", "none")
    for config in (cafe, paper, dsa):
        assert config.optimizer == PixelOptimizer(
            rate=0.1, momentum=0.5, drops=[1200, 1400, 1800], drop_factor=0.5
        )
        assert (config.iterations, config.real_batch) == (2000, 256)
        assert config.formation.settings["start_from"] == "noise"
        named: dict[str, Any] = {
            "gamma": 10,
            "query": 128,
            "rate": 0.01,
        }
        named |= {"step_cap": 10, "epoch_cap": 50, "momentum": 0.0, "net": "convnet3"}
        named |= {"redraw": "network"}
        assert named.items() <= config.supply.settings.items()
        limits = tuple(config.supply.settings[f"lambda{n}"] for n in (1, 2))
        assert limits == ((0.05, 0.05) if config is paper else (0.04, 0.03))


class Bare(nn.Module):
    """A network of someone's own that names no layers."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3)
        self.classifier = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.conv(images).relu().mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("convnet3:width=4", ["block1", "block2", "block3", "pooled"]),
        ("lenet", ["stage1", "stage2", "hidden1", "hidden2"]),
        ("resnet10", ["stem", "stage1", "stage2", "stage3", "stage4", "embedding"]),
        ("resnetap10", ["stem", "stage1", "stage2", "stage3", "stage4", "embedding"]),
        pytest.param(
            "resnet18_ap",
            ["stem", "stage1", "stage2", "stage3", "stage4"],
            marks=pytest.mark.slow,
        ),
        ("tests.methods.test_cafe:Bare", ["embedding"]),
    ],
)
def test_the_last_map_counts_once_unless_it_is_asked_for(spec: str, layers: list[str]) -> None:
    network = build(spec, (3, 16, 16), 3)
    found = features(network, torch.randn(2, 3, 16, 16))
    assert AlignedFeatures()._layers_of(found) == layers
    assert AlignedFeatures(repeat_last=True)._layers_of(found) == list(found)
    data = tiny(channels=3, side=16)
    for recipe in ("cafe", "cafe_paper") if "convnet" in spec else ("cafe",):
        config = configure(data, recipe, {**SMALL, **QUICK, "iterations": 1, "supply.net": spec})
        Condenser(data, config, exact_plan("cpu", 1)).run()


def test_checks_take_few_images_at_once(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    condenser = Condenser(tiny_data, configure(tiny_data, "cafe", SMALL), Plan(chunk=5))
    network = condenser.supply.new(0)
    supply: Any = condenser.supply
    query, sizes = condenser.context().query(10, 1), []
    whole = type(query).take

    def take(self: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(rows))
        return whole(self, rows)

    monkeypatch.setattr(type(query), "take", take)
    supply._learner.course(condenser.context(), network).accuracy(query)
    assert sizes == [5, 5, 5, 5, 5, 1]


@pytest.mark.parametrize(
    "changed",
    [
        {"objective.layers": []},
        {"objective.discrimination": 0},
        {"supply.kind": "trained_on_synthetic"},
        {"objective.layers": ["block2", "pooled"]},
        {"supply.gamma": 5},
        {"supply.lambda1": 0.01, "supply.lambda2": 0.08},
    ],
)
def test_ablations_are_overrides(changed: dict[str, Any], tiny_data: Data) -> None:
    quick = {} if "supply.kind" in changed else QUICK
    config = configure(tiny_data, "cafe", {**SMALL, **quick, **changed})
    run = Condenser(tiny_data, config, exact_plan("cpu", 1))
    start = run.stored.detach().clone()
    assert not torch.equal(run.run().stored, start)


def test_a_change_of_kind_keeps_the_datas_own_network() -> None:
    data = tiny(side=64)
    config = configure(data, "cafe", {"supply.kind": "trained_on_synthetic"})
    assert config.supply.settings["net"] == "convnet4"
    assert configure(data, "dc", {"supply": "fresh"}).supply.settings["net"] == "convnet4"


def test_the_rate_falls_where_the_paper_halves_it(tiny_data: Data) -> None:
    rates = configure(tiny_data, "cafe").optimizer
    found = [rates.rate_at(i) for i in (0, 1199, 1200, 1399, 1400, 1799, 1800, 1999)]
    assert found == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])


def test_the_loop_takes_the_rate_of_its_iteration(tiny_data: Data) -> None:
    more = {"optimizer.momentum": 0.0, "optimizer.drops": [1, 3], "iterations": 4, "ipc": 1}
    config = configure(tiny_data, "mmd", {**SMALL, **more, "optimizer.rate": 0.1})
    run = Condenser(tiny_data, config, FLOAT64)
    before = run.stored.detach().clone()
    for rate in (0.1, 0.05, 0.05, 0.025):
        step = run.matcher.gradient(run.supply.new(0), run.stored.detach(), run.iteration, 0)[1]
        run.step()
        torch.testing.assert_close(run.stored.detach(), before - rate * step)
        before = run.stored.detach().clone()


# ----------------------------------------------------------------- the queues


class Told:
    """A course whose accuracies are made up: those of the checks, in order, and then the last."""

    def __init__(self, accuracies: Sequence[float]) -> None:
        self.accuracies = list(accuracies)
        self.epochs_done: list[tuple[int, tuple[int, int]]] = []
        self.checks = 0

    def load_momenta(self, momenta: dict[str, Tensor]) -> None:
        assert momenta == {}

    def momenta(self) -> dict[str, Tensor]:
        return {}

    def accuracy(self, data: Any) -> float:
        found = self.accuracies[min(self.checks, len(self.accuracies) - 1)]
        self.checks += 1
        return found

    def epochs(
        self, images: Tensor, labels: Tensor, numbers: range, address: tuple[int, int]
    ) -> None:
        self.epochs_done += [(number, address) for number in numbers]


def told(accuracies: Sequence[float], **settings: Any) -> tuple[dict[str, Any], Told, list[Any]]:
    """What one network's life looks like under made-up accuracies."""
    course = Told(accuracies)
    drawn: list[Any] = []
    nothing = torch.zeros(0)

    def query(n: int, number: int | None) -> Any:
        drawn.append((n, number))

    supply = Dynamic(net="convnet1:width=2", **settings)
    task = Task((1, 4, 4), 2, 1, 0, False, torch.device("cpu"), torch.float32)
    supply.start(task)
    network: Any = supply.new(0)
    step = 0
    while network is not None:
        context = Context(
            0,
            step,
            lambda: (nothing, nothing),
            query,
            lambda n: None,  # type: ignore[arg-type, return-value]
            lambda n: (nothing, nothing),
            Tensors(nothing, nothing),
            lambda net, how: course,  # type: ignore[arg-type, return-value]
        )
        network = supply.advance(network, context)
        step += 1
    (life,) = supply.report()["networks"]
    assert supply.report() == {}
    return life, course, drawn


def test_a_network_that_has_converged_already_is_left_when_the_queue_is_full() -> None:
    life, course, _ = told([0.5], gamma=4, epoch_cap=6)
    # The inner queue never spreads, so the cap ends those loops.
    assert life == {"steps": 4, "epochs": 3 * 6, "epochs_capped": 3, "ended": "converged"}
    assert [e for e, _ in course.epochs_done[:6]] == list(range(6))
    assert course.epochs_done[6][1] == (0, 1)


def test_a_network_that_never_converges_is_left_at_the_cap() -> None:
    life, _, _ = told([0.1, 0.9] * 500, gamma=4, step_cap=7, epoch_cap=50)
    # Each inner loop ends as soon as its queue is full: after γ epochs.
    assert life == {"steps": 7, "epochs": 6 * 4, "epochs_capped": 0, "ended": "capped"}


def test_the_inner_queue_is_a_window_that_starts_empty() -> None:
    # Outer check .2; then five inner checks, of which only the last three spread more than .05;
    # an outer check .21; the inner queue must fill again: three more.
    accuracies = [0.20, 0.20, 0.21, 0.22, 0.23, 0.28, 0.21, 0.30, 0.31, 0.40, 0.215]
    life, course, drawn = told(accuracies, gamma=3, lambda1=0.05, lambda2=0.05, query=7)
    assert course.epochs_done[:8] == [
        *((e, (0, 0)) for e in range(5)),
        *((e, (0, 1)) for e in range(3)),
    ]
    assert life == {"steps": 3, "epochs": 8, "epochs_capped": 0, "ended": "converged"}
    assert drawn == [(7, n) for n in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0)]
    once = told(accuracies, gamma=3, lambda1=0.05, lambda2=0.05, query=7, redraw="network")
    assert (once[0], once[2]) == (life, [(7, None)] * 11)


def test_the_outer_queue_forgets_the_beginning() -> None:
    accuracies = [0.1, 0.5, 0.6, 0.7, 0.71, 0.72]  # outer checks: the inner loops are one epoch
    mixed = [a for outer in accuracies for a in (outer, 0.0, 1.0)]
    life, _, _ = told(mixed, gamma=2, lambda1=0.05, epoch_cap=2)
    assert (life["steps"], life["ended"]) == (5, "converged")


def test_thresholds_are_strict() -> None:
    assert told([0.5, 0.0, 1.0, 0.75], gamma=2, lambda1=0.25, step_cap=2)[0]["ended"] == "capped"
    life = told([0.5, 0.0, 0.25, 0.0, 0.5], gamma=2, lambda2=0.25, step_cap=2, epoch_cap=9)[0]
    assert life["epochs"] == 4  # a spread of exactly λ2 is not enough; .0 to .5 is


def test_a_queue() -> None:
    assert not Queue(3, [0.1, 0.4]).full
    queue = Queue(3, [0.1, 0.4, 0.2])
    assert queue.full
    assert queue.spread == pytest.approx(0.3)
    queue.add(0.3)
    assert queue.values() == [0.4, 0.2, 0.3]
    assert queue.spread == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("ipc", "gamma", "caps"),
    [
        (1, 10, (10, 10)),  # DC's are (1, 1)
        (10, 10, (10, 50)),
        (10, 12, (12, 50)),
        (20, 10, (20, 25)),
        (50, 10, (50, 10)),
        (100, 10, (50, 10)),
    ],
)
def test_caps_are_dcs_loop_numbers(
    ipc: int, gamma: int, caps: tuple[int, int], tiny_data: Data
) -> None:
    config = configure(tiny_data, "cafe", {"ipc": ipc, "supply.gamma": gamma})
    settings = config.supply.settings
    assert (settings["step_cap"], settings["epoch_cap"]) == caps
    typed = configure(tiny_data, "cafe", {"ipc": ipc, "supply.step_cap": 100})
    assert typed.supply.settings["step_cap"] == 100
    # A run of an earlier version, whose recipe.yaml has no such field, goes on as it began.
    assert Dynamic().redraw == "check"


def test_a_network_has_one_query_set(tiny_data: Data) -> None:
    condenser = Condenser(tiny_data, configure(tiny_data, "cafe", SMALL), FLOAT64)
    inputs = condenser._inputs
    draws = [inputs.at(k, m).query(5, None).all()[0] for k, m in ((0, 0), (0, 3), (1, 0))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_short_caps_are_told(tiny_data: Data) -> None:
    capped = resolved(tiny_data, "cafe", {"supply.epoch_cap": 4})
    (note,) = notes_of(capped.choices, capped.config.ipc)
    assert "supply.epoch_cap 4 is below supply.gamma 10: that queue never fills" in note
    plain = resolved(tiny_data, "cafe")
    assert notes_of(plain.choices, plain.config.ipc) == []


# ----------------------------------------------------------------- the whole algorithm


def slow_accuracy(
    data: Data, network: nn.Module, n: int, at: tuple[int, int], number: int, once: bool
) -> float:
    """Of some training images per class."""
    right = total = 0
    for c, rows in enumerate(data.train.index):
        if len(rows) > n:
            purpose = f"query-{number}" if number else "query"
            rng = stream(0, "query-network", at[0], 0, c) if once else stream(0, purpose, *at, c)
            rows = rows[torch.from_numpy(rng.choice(len(rows), n, replace=False, shuffle=False))]
        with torch.no_grad():
            found = network(data.train.normalised(rows, dtype=torch.float64)).argmax(1)
        right += int((found == c).sum())
        total += len(rows)
    return right / total


def algorithm_1(data: Data, config: RunConfig, stored: Tensor) -> tuple[Tensor, list[int]]:
    """CAFE's algorithm 1 with plain lists, in float64; the pixels, and the epochs of each loop."""
    train, s = data.train, config.supply.settings
    once = s["redraw"] == "network"
    velocity = torch.zeros_like(stored)
    loops = []
    for k in range(config.iterations):
        with fork_rng(0, "network", k):
            network = build(s["net"], train.shape, train.classes).double()
        outer: list[float] = []
        step = 0
        while True:
            _, slope = slow_gradient(data, config, network, stored, (k, step))
            velocity = 0.5 * velocity + slope
            stored = stored - config.optimizer.rate * velocity
            score = slow_accuracy(data, network, s["query"], (k, step), 0, once)
            outer = [*outer, score][-s["gamma"] :]
            full = len(outer) == s["gamma"]
            if (full and max(outer) - min(outer) < s["lambda1"]) or step + 1 >= s["step_cap"]:
                break
            inner: list[float] = []
            sgd = torch.optim.SGD(network.parameters(), lr=s["rate"])
            for epoch in range(s["epoch_cap"]):
                sgd.zero_grad()
                labels = torch.arange(train.classes).repeat_interleave(2)
                F.cross_entropy(network(stored.flatten(0, 1)), labels).backward()
                sgd.step()
                score = slow_accuracy(data, network, s["query"], (k, step), epoch + 1, once)
                inner = [*inner, score][-s["gamma"] :]
                if len(inner) == s["gamma"] and max(inner) - min(inner) > s["lambda2"]:
                    break
            loops.append(epoch + 1)
            step += 1
        loops.append(-step)
    return stored, loops


@pytest.mark.parametrize("redraw", ["network", "check"])
def test_a_run_is_algorithm_1(redraw: str) -> None:
    data = tiny((30, 28, 25), side=8)
    given: dict[str, Any] = {**SMALL, "iterations": 3, "supply.gamma": 3, "supply.query": 9}
    given |= {"supply.step_cap": 6, "supply.epoch_cap": 5, "supply.rate": 0.3}
    given |= {"supply.lambda1": 0.12, "supply.lambda2": 0.06, "supply.redraw": redraw}
    config = configure(data, "cafe", given)
    condenser = Condenser(data, config, FLOAT64)
    start = condenser.stored.detach().clone()
    condenser.run()
    expected, loops = algorithm_1(data, config, start)
    torch.testing.assert_close(condenser.stored.detach(), expected, rtol=1e-8, atol=1e-9)
    lives = condenser.supply.report()["networks"]
    assert sum(life["epochs"] for life in lives) == sum(n for n in loops if n > 0)
    assert [life["steps"] for life in lives] == [1 - n for n in loops if n <= 0]
    assert {3, 5} <= set(loops), "queues and caps both ended inner loops"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("spec", ["convnet2:width=8", "convnet2:width=8,norm=batch"])
def test_accuracy_is_that_of_the_network(spec: str, dtype: Any, tiny_data: Data) -> None:
    config = configure(tiny_data, "cafe", {**SMALL, **QUICK, "supply.net": spec})
    condenser = Condenser(tiny_data, config, Plan(chunk=4, update_dtype=dtype))
    network = condenser.supply.new(0)
    context = condenser.context()
    condenser.supply.prepare(network, context)
    images, labels = condenser.context().query(10, 1).all()
    assert labels.bincount().tolist() == [10, 7, 9]
    supply: Any = condenser.supply
    found = supply._learner.course(context, network).accuracy(condenser.context().query(10, 1))
    network.eval()
    expected = float((network(images).argmax(1) == labels).double().mean())
    assert found == pytest.approx(expected, abs=0.08 if dtype == "bfloat16" else 1e-9)
    assert 0 < expected < 1


def test_queries_are_training_images_drawn_afresh(tiny_data: Data) -> None:
    condenser = Condenser(tiny_data, configure(tiny_data, "cafe", SMALL), FLOAT64)
    every = tiny_data.train.normalised(dtype=torch.float64)
    held = {image.numpy().tobytes() for image in every}
    draws = [condenser.context().query(5, number).all()[0] for number in (0, 1, 2)]
    assert all(image.numpy().tobytes() in held for draw in draws for image in draw)
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])
    assert torch.equal(condenser.context().query(5, 1).all()[0], draws[1])
    # Batch statistics come from a draw of their own.
    assert not torch.equal(condenser.context().statistics(5).all()[0], draws[0])


def test_the_queue_and_the_network_survive_a_stop(tiny_data: Data, tmp_path: Path) -> None:
    """After each of four steps: every part goes on from the last one's."""
    given: dict[str, Any] = {**SMALL, **QUICK, "supply.momentum": 0.5, "supply.rate": 0.3}
    given |= {"supply.lambda1": 0.0, "supply.gamma": 3, "supply.step_cap": 4}
    config = configure(tiny_data, "cafe_dsa", given)
    whole, part = (Condenser(tiny_data, config, exact_plan("cpu", 1)) for _ in range(2))
    whole.run()
    for _ in range(4):
        part.step()
        save_state(part.state(), tmp_path / "state.safetensors")
        part = Condenser(tiny_data, config, exact_plan("cpu", 1))
        part.load_state(load_state(tmp_path / "state.safetensors"))
    assert torch.equal(part.run().stored, whole.result().stored)
    assert part.supply.report() == whole.supply.report()


def test_what_the_supply_did_is_in_the_metrics(tmp_path: Path) -> None:
    quick = [w for n, v in QUICK.items() for w in (f"--{n}", str(v))]
    arguments = [
        *("condense", "--recipe", "cafe", "--ipc", "1", "--iterations", "2", "--real-batch", "4"),
        *("--supply.net", "convnet1:width=4", "--plan", "exact", "--quiet", *quick),
    ]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    lives = [life for line in lines for life in json.loads(line)["supply"]["networks"]]
    assert len(lives) == 2
    for life in lives:
        assert life["ended"] in ("converged", "capped")
        assert 2 <= life["steps"] <= 3
        assert life["epochs"] == 2 * (life["steps"] - 1)


# ----------------------------------------------------------------- pixel MMD


def test_mmd_finds_the_class_means(tiny_data: Data) -> None:
    given = {"ipc": 1, "iterations": 60, "real_batch": 100, "supply.net": "convnet1:width=2"}
    condenser = Condenser(tiny_data, configure(tiny_data, "mmd", given), FLOAT64)
    condenser.run()
    train = tiny_data.train
    for c, rows in enumerate(train.index):
        mean = train.normalised(rows, dtype=torch.float64).mean(0)
        torch.testing.assert_close(condenser.stored.detach()[c, 0], mean, rtol=1e-6, atol=1e-6)


def test_mmd_leaves_the_network_out(tiny_data: Data) -> None:
    config = configure(tiny_data, "mmd", SMALL)
    condenser = Condenser(tiny_data, config, FLOAT64)
    stored = condenser.stored.detach()
    loss, slope = condenser.matcher.gradient(condenser.supply.new(0), stored, 0, 0)
    rows = real_rows(tiny_data, config, 0, 0)
    gaps = [
        stored[c].mean(0) - tiny_data.train.normalised(r, dtype=torch.float64).mean(0)
        for c, r in enumerate(rows)
    ]
    assert float(loss) == pytest.approx(math.fsum(float((g**2).sum()) for g in gaps))
    for c, gap in enumerate(gaps):
        torch.testing.assert_close(slope[c], (2 / 2 * gap).expand(2, *gap.shape))
    other = condenser.supply.new(1)
    assert not torch.equal(embed(other, stored[0]), embed(condenser.supply.new(0), stored[0]))
    assert torch.equal(condenser.matcher.gradient(other, stored, 0, 0)[1], slope)


def test_a_step_says_what_was_observed() -> None:
    step = Step(nn.Identity(), 0, 0, 0, (2, 1), (1, 1))
    assert step.observed is None
    seen = torch.tensor([[1.0], [2.0], [3.0]])
    step = dataclasses.replace(step, observed=seen)
    real = synthetic = torch.tensor([[1.0, 0.5], [2.0, -0.5]])
    found = AlignedFeatures().compare(real, synthetic, step)
    assert float(found) == pytest.approx(
        float(discrimination(seen, (2, 1), synthetic[:, 1:], "mean"))
    )
