"""One DM step against the paper's algorithm written slowly, and every plan against exact."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.matcher import Matcher
from condensery.config.schema import Choice, RunConfig
from condensery.data import Data
from condensery.methods.augmentation import SiameseOp
from condensery.methods.task import Step
from condensery.nets import build
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from tests.conftest import tiny

SLOW = {"ipc": 2, "iterations": 3, "real_batch": 8, "supply.net": "convnet2:width=8"}
FLOAT64 = exact_plan("cpu", 1, "float64")


def run(data: Data, plan: Plan, recipe: str = "dm", **overrides: Any) -> Tensor:
    config = configure(data, recipe, {**SLOW, **overrides})
    condenser = Condenser(data, config, plan)
    condenser.run()
    stored: Tensor = condenser.stored.detach()
    return stored


def flat_embedding(network: torch.nn.Module, images: Tensor, batch_norm: bool) -> Tensor:
    """ψ of a two-block ConvNet, from its weights, by plain functions."""
    weights = [w for w in network.parameters() if w.dim() == 4]
    named = dict(network.named_parameters())
    biases = [named[n.replace("weight", "bias")] for n, w in named.items() if w.dim() == 4]
    for weight, bias in zip(weights, biases, strict=True):
        images = torch.nn.functional.conv2d(images, weight, bias, padding=1)
        over = (0, 2, 3) if batch_norm else (2, 3)
        mean = images.mean(over, keepdim=True)
        variance = images.var(over, keepdim=True, unbiased=False)
        images = torch.relu((images - mean) / torch.sqrt(variance + 1e-5))
        images = torch.nn.functional.avg_pool2d(images, 2)
    return images.flatten(1)


def algorithm_1(data: Data, config: RunConfig, batch_norm: bool) -> Tensor:
    """DM's algorithm 1 with SGD and momentum, class by class, in float64."""
    train = data.train
    chosen = [
        train.index[c][stream(config.seed, "start", group=c).permutation(n)[: config.ipc]]
        for c, n in enumerate(train.counts)
    ]
    images = torch.cat([train.normalised(rows, dtype=torch.float64) for rows in chosen])
    synthetic = images.unflatten(0, (train.classes, config.ipc)).clone().requires_grad_()
    velocity = torch.zeros_like(synthetic)
    augmentation = SiameseOp(**dict(config.augmentation.settings)).for_data(data.flip)
    for k in range(config.iterations):
        with fork_rng(config.seed, "network", k):
            spec = "convnet2:width=8" + (",norm=batch" if batch_norm else "")
            network = build(spec, train.shape, train.classes).double()
        real, made = [], []
        for c in range(train.classes):
            rows = train.index[c]
            if len(rows) > config.real_batch:
                rng = stream(config.seed, "real-batch", k, 0, c)
                rows = rows[rng.choice(len(rows), config.real_batch, replace=False, shuffle=False)]
            draw = augmentation.draw(stream(config.seed, "augmentation", k, 0, c))
            real.append(augmentation.apply(train.normalised(rows, dtype=torch.float64), draw))
            made.append(augmentation.apply(synthetic[c], draw))
        if batch_norm:  # statistics mix the classes of each branch
            seen = flat_embedding(network, torch.cat(real), True).split([len(r) for r in real])
            drawn = flat_embedding(network, torch.cat(made), True).split([len(m) for m in made])
        else:
            seen = tuple(flat_embedding(network, r, False) for r in real)
            drawn = tuple(flat_embedding(network, m, False) for m in made)
        loss = sum((a.mean(0) - b.mean(0)).square().sum() for a, b in zip(seen, drawn, strict=True))
        assert isinstance(loss, Tensor)
        (gradient,) = torch.autograd.grad(loss, synthetic)
        velocity = config.optimizer.momentum * velocity + gradient
        synthetic = (synthetic - config.optimizer.rate * velocity).detach().requires_grad_()
    found: Tensor = synthetic.detach()
    return found


@pytest.mark.parametrize("recipe", ["dm", "dm_bn"])
@pytest.mark.parametrize("channels", [1, 3])
def test_exact_is_the_papers_algorithm(recipe: str, channels: int) -> None:
    data = tiny(channels=channels)
    config = configure(data, recipe, SLOW)
    found = run(data, FLOAT64, recipe)
    expected = algorithm_1(data, config, batch_norm=recipe == "dm_bn")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    start = Condenser(data, config, FLOAT64).stored.detach()
    assert (found - start).abs().mean() > 1e-3, "three steps must move the pixels"


@pytest.mark.parametrize("recipe", ["dm", "dm_bn"])
@pytest.mark.parametrize("chunk", [1, 3, 5, 8, 100])
def test_chunks_change_nothing(tiny_data: Data, chunk: int, recipe: str) -> None:
    chunked = dataclasses.replace(FLOAT64, chunk=chunk)
    torch.testing.assert_close(run(tiny_data, chunked, recipe), run(tiny_data, FLOAT64, recipe))


def test_channels_last_changes_nothing(tiny_data: Data) -> None:
    plan = dataclasses.replace(FLOAT64, chunk=4, channels_last=True)
    torch.testing.assert_close(run(tiny_data, plan), run(tiny_data, FLOAT64))


def test_float32_and_a_bfloat16_real_branch_stay_close(tiny_data: Data) -> None:
    reference = run(tiny_data, FLOAT64, iterations=1)
    start = run(tiny_data, FLOAT64, iterations=0)
    moved = (reference - start).norm()
    single = run(tiny_data, exact_plan("cpu", 1), iterations=1).double()
    assert (single - reference).norm() / moved < 1e-4
    half = Plan(real_dtype="bfloat16", chunk=4)
    assert (run(tiny_data, half, iterations=1).double() - reference).norm() / moved < 0.1


def test_compiled_equals_eager() -> None:
    eager = Plan(chunk=4)
    compiled = dataclasses.replace(eager, compile=True, channels_last=True)
    data = tiny((8, 8, 8))
    small: dict[str, Any] = {"iterations": 2, "supply.net": "convnet1:width=4"}
    torch.testing.assert_close(
        run(data, compiled, **small), run(data, eager, **small), rtol=1e-3, atol=1e-4
    )


class Tied:
    """An objective whose comparison ties all classes together, and that cannot be split."""

    separable = False
    single = False
    passes = 1.0

    def __init__(self, additive: bool) -> None:
        self.additive = additive

    def statistic(self, network: Any, images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        assert labels.shape == images.shape[:1]
        return weights @ torch.tanh(images.flatten(1) * (1 + labels[:, None]))

    def compiles(self, network: Any) -> bool:
        return True

    def levels(self, step: Step | None) -> tuple[float, float]:
        return 1.0, 0.0

    def compare(self, real: Tensor, synthetic: Tensor, step: Step | None) -> Tensor:
        return (real.mean(0) - synthetic.mean(0)).square().sum() + (real - synthetic).abs().sum()

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        return None


@pytest.mark.parametrize("additive", [True, False])
@pytest.mark.parametrize("chunk", [None, 2, 3])
def test_an_objective_that_ties_classes_gets_its_whole_gradient(
    tiny_data: Data, additive: bool, chunk: int | None
) -> None:
    config = configure(tiny_data, "dm", {**SLOW, "ipc": 3, "augmentation.kind": "none"})
    plan = dataclasses.replace(FLOAT64, chunk=chunk)
    condenser = Condenser(tiny_data, config, plan)
    objective = Tied(additive)
    matcher = Matcher(
        plan,
        condenser.task,
        condenser.train,
        objective=objective,
        formation=condenser.formation,
        augmentation=condenser.augmentation,
        real_batch=config.real_batch,
    )
    network = condenser.supply.new(0)
    loss, gradient = matcher.gradient(network, condenser.stored.detach(), 0, 0)

    from condensery.condensation.matching.draws import draw_rows

    train = tiny_data.train
    rows = draw_rows(train, config.real_batch, config.seed, "real-batch", 0, 0)
    leaf = condenser.stored.detach().clone().requires_grad_()

    def means(parts: list[Tensor]) -> Tensor:
        return torch.stack(
            [torch.tanh(p.flatten(1) * (1 + c)).mean(0) for c, p in enumerate(parts)]
        )

    real = means([train.normalised(r, dtype=torch.float64) for r in rows])
    expected = objective.compare(real, means(list(leaf)), None)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, leaf)[0])


def test_the_gradient_agrees_with_finite_differences(tiny_data: Data) -> None:
    config = configure(tiny_data, "dm", SLOW)
    condenser = Condenser(tiny_data, config, FLOAT64)
    network, stored = condenser.supply.new(0), condenser.stored.detach().clone()
    _, gradient = condenser.matcher.gradient(network, stored, 0, 0)
    direction = torch.from_numpy(stream(0, "direction").standard_normal(tuple(stored.shape)))
    step = 1e-5
    ahead, _ = condenser.matcher.gradient(network, stored + step * direction, 0, 0)
    behind, _ = condenser.matcher.gradient(network, stored - step * direction, 0, 0)
    slope = float(ahead - behind) / (2 * step)
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5)


def test_a_class_smaller_than_the_real_batch_gives_all_it_has(tiny_data: Data) -> None:
    all_of_it = run(tiny_data, FLOAT64, real_batch=12)
    torch.testing.assert_close(all_of_it, run(tiny_data, FLOAT64, real_batch=500))


def test_without_augmentation_the_choice_is_none(tiny_data: Data) -> None:
    config = configure(tiny_data, "dm", {**SLOW, "augmentation.kind": "none"})
    assert config.augmentation == Choice("none", {})
    assert not torch.equal(
        run(tiny_data, FLOAT64, **{"augmentation.kind": "none"}), run(tiny_data, FLOAT64)
    )
