"""Matching through a pool's snapshots, with a second network that tells the classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condensery import UsageError
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data
from condensery.methods.objectives.functional import characteristic_distance
from condensery.methods.pools.store import Pool
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.nets import Judged, build, embed, embed_and_classify
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import stream
from condensery.utils.checkpoint import load_state, save_state

EXACT = exact_plan("cpu", 1)
NET = "convnet1:width=4"
EPOCHS = [0, 0.5, 1, 2, 3]


@pytest.fixture
def pool(tiny_data: Data, tmp_path: Path) -> Pool:
    how: dict[str, Any] = {"epochs": 3, "batch": 8, "held_out": 0.25, "rate": 0.1}
    settings = pool_settings(tiny_data, NET, snapshots=EPOCHS, **how)
    return train_pool(tiny_data, settings, 2, tmp_path / "pool", plan=EXACT)


def through(pool: Pool, data: Data, plan: Any = EXACT, **given: Any) -> Condenser:
    small = {"ipc": 2, "iterations": 5, "real_batch": 5, "objective.classification": 2.5}
    chosen = {"supply.kind": "pool", "supply.path": str(pool.path), **small, **given}
    return Condenser(data, configure(data, "dm", chosen), plan)


def same(network: nn.Module, weights: dict[str, Tensor]) -> bool:
    held = network.state_dict()
    return all(torch.equal(held[name], value) for name, value in weights.items())


def test_the_judge_is_a_later_snapshot_of_the_same_run(pool: Pool, tiny_data: Data) -> None:
    supply: Any = through(pool, tiny_data, **{"supply.ahead": 1}).supply
    kept = [(one.network, one.epoch, pool.weights(one)) for one in pool.snapshots]
    gaps = set()
    for iteration in range(60):
        found = supply.new(iteration)
        shown = found.network if isinstance(found, Judged) else found
        judge = found.judge if isinstance(found, Judged) else found
        (first,) = [(n, e) for n, e, weights in kept if same(shown, weights)]
        (second,) = [(n, e) for n, e, weights in kept if same(judge, weights)]
        assert first[0] == second[0], "of the same run"
        gaps.add(second[1] - first[1])
    assert gaps == {0, 0.5, 1}


def test_a_blend_lies_between_the_start_and_the_snapshot(pool: Pool, tiny_data: Data) -> None:
    supply: Any = through(pool, tiny_data, **{"supply.blend": True}).supply
    shares = []
    for iteration in range(30):
        found = supply.new(iteration)
        assert isinstance(found, Judged)
        (which,) = [one for one in pool.snapshots if same(found.judge, pool.weights(one))]
        (start,) = [one for one in pool.snapshots if one.network == which.network and not one.epoch]
        if which.epoch == 0:
            assert same(found.network, pool.weights(start))
            continue
        a, b = pool.weights(start), pool.weights(which)
        name = "classifier.weight"
        got = found.network.state_dict()[name]
        share = float(((got - b[name]) / (a[name] - b[name])).median())
        assert torch.allclose(got, b[name] + share * (a[name] - b[name]), atol=1e-6)
        shares.append(share)
    assert 0 <= min(shares) < 0.3
    assert 0.7 < max(shares) <= 1


def test_a_blend_needs_the_start(tiny_data: Data, tmp_path: Path) -> None:
    settings = pool_settings(tiny_data, NET, epochs=1, batch=8, held_out=0.25)
    pool = train_pool(tiny_data, settings, 1, tmp_path / "late", plan=EXACT)
    with pytest.raises(UsageError, match=r"epoch 0, which supply\.blend needs"):
        through(pool, tiny_data, **{"supply.blend": True}).run()
    with pytest.raises(UsageError, match=r"supply\.ahead must be epochs of at least 0"):
        through(pool, tiny_data, **{"supply.ahead": -1})


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("ahead", [0, 3])
def test_loss_and_gradient_are_the_formula(
    ahead: int, chunk: int | None, pool: Pool, tiny_data: Data
) -> None:
    plan = Plan(dtype="float64", real_dtype="float64", update_dtype="float64", chunk=chunk)
    # All real images, as they are: nothing is drawn but the networks.
    given = {"real_batch": 20, "augmentation.kind": "none", "supply.ahead": ahead}
    run = through(pool, tiny_data, plan, **given)
    network: Any = next(
        found
        for found in (run.supply.new(i) for i in range(99))
        if isinstance(found, Judged) == bool(ahead)
    )
    loss, gradient = run.matcher.gradient(network, run.stored.detach(), 0, 0)

    shown, judge = (network.network, network.judge) if ahead else (network, network)
    stored = run.stored.detach().clone().requires_grad_()
    train, expected = tiny_data.train, torch.zeros((), dtype=torch.float64)
    for c, images in enumerate(stored):
        real = embed(shown, train.normalised(train.index[c], dtype=torch.float64)).mean(0)
        expected = expected + (embed(shown, images).mean(0) - real).square().sum()
        expected = expected + 2.5 * cross_entropy(judge(images), torch.tensor([c, c]))
    (slope,) = torch.autograd.grad(expected, stored)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert torch.allclose(gradient, slope, rtol=1e-7, atol=1e-10)


def test_one_pass_gives_embedding_and_logits() -> None:
    images = torch.randn(3, 1, 8, 8)
    for spec in (NET, "mlp", "convnet2:norm=batch"):
        network = build(spec, (1, 8, 8), 4)
        seen, logits = embed_and_classify(network, images)
        assert torch.equal(seen, embed(network, images))
        assert torch.allclose(logits, network(images), atol=1e-6)
    first, second = build(NET, (1, 8, 8), 4), build(NET, (1, 8, 8), 4)
    seen, logits = embed_and_classify(Judged(first, second), images)
    assert torch.equal(seen, embed(first, images))
    assert torch.equal(logits, second(images))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("algorithm", ["sgd", "adam"])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    algorithm: str, steps: int, pool: Pool, tiny_data: Data, tmp_path: Path
) -> None:
    given = {
        "supply.ahead": 1,
        "optimizer.algorithm": algorithm,
        "optimizer.rate": 0.1,
        "optimizer.falls_until": 5,
    }
    whole = through(pool, tiny_data, **given).run()
    first, second = (through(pool, tiny_data, **given) for _ in range(2))
    first.run(steps)
    save_state(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert torch.equal(second.run().stored, whole.stored)


def test_adam_moves_as_its_formula_says(pool: Pool, tiny_data: Data) -> None:
    given = {"optimizer.algorithm": "adam", "optimizer.rate": 0.3, "optimizer.momentum": 0.6}
    run = through(pool, tiny_data, **given)
    start = run.stored.detach().clone()
    _, gradient = run.matcher.gradient(run.supply.new(0), start, 0, 0)
    run.step()
    # The first step of Adam is the rate times the gradient's sign, whatever the momenta.
    expected = start - 0.3 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(run.stored.detach(), expected, atol=1e-5)


def test_what_came_later_is_written_only_where_it_is_used(pool: Pool, tiny_data: Data) -> None:
    plain = configure(tiny_data, "dm").as_dict()
    assert "algorithm" not in plain["optimizer"]
    assert "falls_until" not in plain["optimizer"]
    assert "classification" not in plain["objective"]
    used = through(pool, tiny_data, **{"supply.ahead": 2, "optimizer.falls_until": 3}).config
    again = configure(tiny_data, used.as_dict())
    assert again.as_dict() == used.as_dict()
    assert again.supply.settings["ahead"] == 2
    assert again.objective.settings["classification"] == 2.5
    assert again.optimizer.falls_until == 3


def test_a_classification_that_cannot_be_is_rejected(tiny_data: Data) -> None:
    with pytest.raises(UsageError, match=r"objective\.classification must be finite"):
        configure(tiny_data, "dm", {"objective.classification": -1.0})
    with pytest.raises(UsageError, match=r"objective\.classification needs a network"):
        configure(tiny_data, "mmd", {"objective.classification": 1.0})


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("alpha", [0.0, 2.5])
def test_characteristic_functions_are_the_formula(
    alpha: float, chunk: int | None, pool: Pool, tiny_data: Data
) -> None:
    plan = Plan(dtype="float64", real_dtype="float64", update_dtype="float64", chunk=chunk)
    given = {
        "objective.kind": "characteristic_function",
        "objective.frequencies": 5,
        "objective.classification": alpha,
        "real_batch": 20,
        "augmentation.kind": "none",
    }
    run = through(pool, tiny_data, plan, **given)
    network = run.supply.new(3)
    loss, gradient = run.matcher.gradient(network, run.stored.detach(), 0, 0)

    size = embed(network, run.stored[0].detach()).shape[1]
    drawn = stream(0, "frequencies", size).standard_normal((size, 5))

    def phi(images: Tensor) -> Tensor:
        seen = embed(network, images)
        seen = seen / seen.norm(dim=1, keepdim=True)
        return torch.exp(1j * (seen @ torch.from_numpy(drawn))).mean(0)

    stored = run.stored.detach().clone().requires_grad_()
    train, expected = tiny_data.train, torch.zeros((), dtype=torch.float64)
    for c, images in enumerate(stored):
        r, s = phi(train.normalised(train.index[c], dtype=torch.float64)), phi(images)
        phases = r.abs() * s.abs() - (r * s.conj()).real
        distance = ((r.abs() - s.abs()).square() / 2 + phases).sqrt().mean()
        expected = expected + 300 * distance
        expected = expected + alpha * cross_entropy(network(images), torch.tensor([c, c]))
    (slope,) = torch.autograd.grad(expected, stored)
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-9)
    assert torch.allclose(gradient, slope, rtol=1e-6, atol=1e-9)


def test_equal_sets_have_equal_characteristic_functions() -> None:
    parts = torch.randn(3, 8, dtype=torch.float64)
    assert float(characteristic_distance(parts, parts)) < 1e-5 * 3
    assert float(characteristic_distance(parts, 2 * parts)) > 0.1
    # A phase alone counts, too: a quarter turn of every value.
    turned = torch.cat([-parts[:, 4:], parts[:, :4]], 1)
    assert float(characteristic_distance(parts, turned)) > 0.1
