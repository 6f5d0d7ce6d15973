"""IDC: one inner iteration and the networks' training written slowly, constants, and its supply."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from condensery.augment import augment_sequence, parse_strategy
from condensery.augment.draws import sample
from condensery.augment.ops import apply
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data, load
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.nets import build
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.utils.checkpoint import load_state, save_state
from tests.conftest import tiny

EXACT = exact_plan("cpu", 1)
FLOAT64 = exact_plan("cpu", 1, "float64")
NET = "convnet2:width=4"
SMALL: dict[str, Any] = {"ipc": 1, "iterations": 1, "real_batch": 6, "supply.net": NET}
#: Networks that learn without anything random but the choice of their images.
PLAIN = {"supply.augmentation": "none", "supply.cutmix": 0.0}


def slow_decode(stored: Tensor, mean: float, std: float) -> Tensor:
    """Four quarters of each 8×8 image at full size."""
    normal = (stored - mean) / std
    quarters = [normal[..., a : a + 4, b : b + 4] for a in (0, 4) for b in (0, 4)]
    return torch.cat([interpolate(q, (8, 8), mode="bilinear") for q in quarters])


def slow_step(run: Condenser, network: nn.Module, stored: Tensor, at: tuple[int, int]) -> Tensor:
    """Algorithm 1, line 7: the slope of Σ_c D(∇ℓ(f(S_c)), ∇ℓ(T_c)), class by class."""
    train, augmentation = run.train, run.augmentation
    weights = [p for p in network.parameters() if p.dim() == 4]
    for weight in network.parameters():
        weight.requires_grad_(True)
    leaf = stored.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for c, members in enumerate(train.index):
        rng = stream(0, "real-batch", *at, c)
        picked = rng.choice(len(members), 6, replace=False, shuffle=False)
        draw = augmentation.draw(stream(0, "augmentation", *at, c))
        real = train.normalised(members[torch.from_numpy(picked)], dtype=torch.float64)
        made = slow_decode(leaf[c], train.mean[0], train.std[0])
        slopes = []
        for images in (real, made):
            labels = torch.full((len(images),), c)
            loss = cross_entropy(network(augmentation.apply(images, draw)), labels)
            slopes.append(torch.autograd.grad(loss, weights, create_graph=True))
        for a, b in zip(*slopes, strict=True):
            gap = a.detach() - b
            squares = run.config.objective.settings["distance"] == "mse"
            total = total + (gap.square().sum() if squares else gap.abs().sum())
    (slope,) = torch.autograd.grad(total, leaf)
    for weight in network.parameters():
        weight.requires_grad_(False)
    return slope


@pytest.mark.parametrize("distance", ["mse", "l1"])
def test_an_outer_iteration_is_algorithm_1(distance: str, tiny_data: Data) -> None:
    given = {**SMALL, **PLAIN, "objective.distance": distance, "optimizer.rate": 0.02}
    given |= {"supply.steps": 3, "supply.images": 11, "supply.batch": 4, "iterations": 2}
    run = Condenser(tiny_data, configure(tiny_data, "idc", given), FLOAT64)
    stored = run.stored.detach().clone()
    velocity = torch.zeros_like(stored)
    train = run.train
    for k in range(2):
        with fork_rng(0, "network", k):
            network = build(NET, train.shape, train.classes).double()
        sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for m in range(3):
            velocity = 0.5 * velocity + slow_step(run, network, stored, (k, m))
            stored = stored - 0.02 * velocity
            if m == 2:
                break
            network.requires_grad_(True)
            rows = torch.from_numpy(
                stream(0, "update-real", k, m).choice(len(train), 11, replace=False)
            )
            for part in rows.split(4):
                sgd.zero_grad()
                images = train.normalised(part, dtype=torch.float64)
                cross_entropy(network(images), train.labels[part]).backward()
                sgd.step()
        stored = stored.clamp(0, 1)
    start = run.stored.detach().clone()
    run.run()
    torch.testing.assert_close(run.stored.detach(), stored, rtol=1e-8, atol=1e-9)
    assert (stored - start).abs().mean() > 1e-4


def test_pretraining_is_epochs_on_the_real_set(tiny_data: Data) -> None:
    given = {**SMALL, **PLAIN, "supply.pretrain": 2, "supply.batch": 8}
    run = Condenser(tiny_data, configure(tiny_data, "idc", given), FLOAT64)
    network = run.supply.new(0)
    run.supply.prepare(network, run.context())
    run.supply.prepare(network, run.context())  # the second step does not train it again
    train = run.train
    with fork_rng(0, "network", 0):
        other = build(NET, train.shape, train.classes).double()
    sgd = torch.optim.SGD(other.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for epoch in range(2):
        order = stream(0, "update-real-epoch", 0, 0, epoch).permutation(len(train))
        for part in torch.from_numpy(order).split(8):
            sgd.zero_grad()
            images = train.normalised(part, dtype=torch.float64)
            cross_entropy(other(images), train.labels[part]).backward()
            sgd.step()
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    assert run.supply.report() == {"pretrained": 2}


def test_a_sequence_applies_every_op_to_each_image() -> None:
    torch.manual_seed(0)
    images = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    strategy = parse_strategy("color_crop")
    found = augment_sequence(images, np.random.default_rng(3), strategy)
    rng = np.random.default_rng(3)
    colours, shifts = sample(rng, "color", 5), sample(rng, "crop", 5)
    expected = apply(apply(images, colours, strategy), shifts, strategy)
    torch.testing.assert_close(found, expected)
    changed = (found != images).flatten(1).any(1)
    assert changed.all()
    assert len({tuple(v.flatten()[:4].tolist()) for v in found - images}) == 5


@pytest.mark.parametrize("setting", ["sequence", "batch_op", "image_op", "none"])
def test_networks_learn_with_each_augmentation(setting: str, tiny_data: Data) -> None:
    given = {**SMALL, "supply.augmentation": setting, "supply.steps": 2, "supply.images": 9}
    run = Condenser(tiny_data, configure(tiny_data, "idc", given), exact_plan("cpu", 1))
    network = run.supply.new(0)
    before = nn.utils.parameters_to_vector(network.parameters()).clone()
    run._network = network
    run.step()
    assert not torch.equal(nn.utils.parameters_to_vector(network.parameters()), before)
    assert run.supply.report() == {"images": 9}


@pytest.mark.usefixtures("traced_only")
def test_compiled_and_narrow_stays_close() -> None:
    data = tiny((60, 60, 60))
    given = {**SMALL, **PLAIN, "real_batch": 16, "supply.steps": 2, "supply.images": 64}
    given |= {"supply.batch": 32, "augmentation.kind": "none", "supply.net": "convnet1:width=4"}
    config = configure(data, "idc", given)
    plain = Condenser(data, config, exact_plan("cpu", 1))
    fast = Plan(
        chunk=16, compile=True, channels_last=True, real_dtype="bfloat16", update_dtype="bfloat16"
    )
    quick = Condenser(data, config, fast)
    start = plain.stored.detach().clone()
    moved = plain.run().stored - start
    assert 0 < (quick.run().stored - start - moved).norm() < 0.1 * moved.norm()


@pytest.mark.parametrize(
    ("recipe", "data", "ipc", "expected"),
    [
        ("idc", "cifar10", 10, ("mse", 0.005, 2000, 2, 0.5, "color_crop_cutout")),
        ("idc", "cifar10", 50, ("mse", 0.025, 2000, 2, 0.5, "color_crop_cutout")),
        ("idc", "cifar100", 10, ("mse", 0.005, 2000, 2, 0.5, "color_crop_cutout")),
        ("idc_i", "cifar10", 1, ("mse", 0.0005, 2000, 1, 0.5, "color_crop_cutout")),
        ("idc", "svhn", 10, ("mse", 0.005, 500, 2, 0.5, "color_crop_cutout")),
        ("idc", "", 10, ("mse", 0.005, 500, 2, 0.5, "color_crop_cutout")),
        ("idc_i", "", 10, ("mse", 0.005, 500, 1, 0.5, "color_crop_cutout")),
        ("idc", "mnist", 10, ("l1", 0.0001, 500, 2, 0.0, "color_crop")),
        ("idc_i", "mnist", 10, ("l1", 0.0001, 500, 1, 0.5, "color_crop_cutout")),
        (
            "idc",
            "fashion_mnist",
            10,
            ("l1", 0.0001 * (28 / 32) ** 2, 500, 2, 0.5, "color_crop_cutout"),
        ),
    ],
)
def test_constants(recipe: str, data: str, ipc: int, expected: tuple[Any, ...]) -> None:
    from condensery.config.recipes import read_recipe
    from condensery.config.resolve import resolve

    side = 28 if "mnist" in data else 32
    facts = {"data": data, "ipc": ipc, "size": side, "classes": 10, "net": "convnet3"}
    facts |= {"family": "convnet", "norm": "default", "audio": False}
    raw = {**read_recipe(recipe), "data": data, "ipc": ipc}
    config = resolve(raw, facts).config
    supply = config.supply.settings
    found = (
        config.objective.settings["distance"],
        pytest.approx(config.optimizer.rate),
        supply["images"],
        config.formation.settings["factor"],
        supply["cutmix"],
        config.augmentation.settings["strategy"],
    )
    assert expected == found
    assert config.objective.settings["parameters"] == "conv"
    assert (config.iterations, config.real_batch, config.synthetic_batch) == (2000, 64, 128)
    named: dict[str, Any] = {
        "steps": 100,
        "batch": 64,
        "rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
    }
    named |= {"augmentation": "sequence", "strategy": "color_crop", "pretrain": 0}
    assert named.items() <= supply.items()
    assert config.formation.settings["space"] == "unit"
    assert config.optimizer.momentum == 0.5


def test_constants_of_larger_images() -> None:
    from condensery.config.recipes import read_recipe
    from condensery.config.resolve import resolve

    facts = {"data": "imagenet10", "ipc": 20, "size": 224, "classes": 10, "net": "convnet3"}
    facts |= {"family": "convnet", "norm": "default", "audio": False}
    config = resolve({**read_recipe("idc"), "data": "imagenet10", "ipc": 20}, facts).config
    assert config.formation.settings["factor"] == 3
    assert config.optimizer.rate == pytest.approx(0.006)
    assert config.iterations == 500
    named = {"pretrain": 10, "cutmix": 1.0, "images": 500}
    assert named.items() <= config.supply.settings.items()
    many = resolve({**read_recipe("idc"), "data": "x", "ipc": 20}, {**facts, "classes": 100}).config
    assert many.optimizer.rate == pytest.approx(0.002)
    named = {"rate": 0.1, "weight_decay": 1e-4, "pretrain": 5, "batch": 128}
    assert named.items() <= many.supply.settings.items()
    assert (many.real_batch, config.real_batch) == (128, 64), "C.1: at least 128"
    spoken = resolve(
        {**read_recipe("idc"), "data": "x", "ipc": 20}, {**facts, "audio": True}
    ).config
    assert spoken.formation.settings["factor"] == 2
    half = {**facts, "size": 112, "data": ""}
    raw = {**read_recipe("idc"), "data": "x", "ipc": 20}
    assert resolve(raw, half).config.optimizer.rate == pytest.approx(0.006 / 4)


@pytest.mark.xdist_group("fsdd")
def test_constants_of_speech(real_data: Path) -> None:
    data = load("fsdd")
    config = configure(data, "idc", {"ipc": 20})
    assert config.formation.settings["along"] == "time"
    assert config.formation.settings["factor"] == 2
    assert config.objective.settings["distance"] == "l1"
    assert config.augmentation.kind == "none"
    named: dict[str, Any] = {"rate": 0.0003, "augmentation": "none", "cutmix": 0.0, "images": 500}
    assert {**named, "net": "convnet4"}.items() <= config.supply.settings.items()
    assert config.optimizer.rate == pytest.approx(0.006)
    assert config.iterations == 1000
    for recipe in ("dm", "dsa", "cafe_dsa", "dm_mf", "idc_i_real_mse", "idc_i_real_cosine"):
        assert configure(data, recipe).augmentation.kind == "none", recipe
    assert configure(data, "dm_mf").formation.settings["along"] == "time"
    table5 = configure(data, "idc_i_real_mse").supply.settings
    assert (table5["augmentation"], table5["cutmix"]) == ("none", 0.0)
    given = {"ipc": 1, "iterations": 1, "supply.steps": 2, "supply.images": 8, "real_batch": 4}
    run = Condenser(data, configure(data, "idc", {**given, "supply.net": NET}), EXACT)
    made = run.run()
    assert made.images.shape == (20, 1, 64, 64)
    assert config.formation.settings["space"] == "normalised"
    assert float(made.stored.max()) > 1, "decibels are no colours, and are not clamped above"
    least = float(data.train.normalised().min())
    assert float(made.stored.min()) == pytest.approx(least, abs=1e-6)


def _sounds(mean: float, std: float) -> Data:
    """Arrays that are read as recordings' spectrograms are, on any scale."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 9)
    images = rng.standard_normal((18, 1, 8, 8)).astype(np.float32)
    images = (images - images.mean()) / images.std() * std + mean
    found = load((images, labels), test=(images[::2].copy(), labels[::2].copy()), flip=False)
    return dataclasses.replace(found, rate=8000)


@pytest.mark.parametrize("recipe", ["idc", "idc_i", "idc_i_real_mse"])
def test_a_step_on_recordings_does_not_depend_on_their_scale(recipe: str) -> None:
    """The rate is meant for standardised spectrograms; decibels have another std."""
    given = {**SMALL, "iterations": 2, "supply.steps": 2, "supply.images": 8, "supply.batch": 4}
    given |= {"real_batch": 4, "objective.distance": "mse", "optimizer.rate": 0.02}
    runs = [
        Condenser(data, configure(data, recipe, given), FLOAT64)
        for data in (_sounds(0.0, 1.0), _sounds(-3.0, 3.6))
    ]
    starts = [run.stored.detach().clone() for run in runs]
    moved = [run.run().stored - start for run, start in zip(runs, starts, strict=True)]
    assert moved[0].abs().max() > 1e-3
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-3, atol=1e-5)


def test_no_stored_pixel_falls_below_the_floor() -> None:
    data = _sounds(-3.0, 3.6)
    least = float((data.train.images.min() + 3.0) / 3.6)
    given = {**SMALL, "supply.steps": 1, "optimizer.rate": 1e4}
    made = Condenser(data, configure(data, "idc", given), EXACT).run().stored
    assert float(made.min()) == pytest.approx(least, abs=1e-5)
    assert (made > least + 1).any()
    free = configure(data, "idc", {**given, "formation.floor": "none"})
    assert float(Condenser(data, free, EXACT).run().stored.min()) < least - 1
    # Channel by channel, and in the units of what is stored.
    bright = tiny((5, 5), channels=3)
    for space in ("normalised", "unit"):
        over = {**SMALL, "formation.space": space, "formation.floor": "training"}
        run = Condenser(bright, configure(bright, "idc", over), FLOAT64)
        low = torch.full_like(run.stored, -1e3)
        run.formation.project(low)
        expected = bright.train.images.double().amin((0, 2, 3)) / 255
        if space == "normalised":
            mean, std = (torch.tensor(v).double() for v in (bright.train.mean, bright.train.std))
            expected = (expected - mean) / std
        torch.testing.assert_close(low[0, 0, :, 0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_run_from_a_pool_goes_on(steps: int, tiny_data: Data, tmp_path: Path) -> None:
    settings = pool_settings(tiny_data, NET, epochs=1, batch=8)
    pool = train_pool(tiny_data, settings, 2, tmp_path / "pool", plan=exact_plan("cpu", 1))
    given = {**SMALL, "supply.path": str(pool.path), "supply.steps": 3, "supply.images": 9}
    config = configure(tiny_data, "idc", {**given, "iterations": 2, "supply.pretrain": 1})
    other = configure(tiny_data, "idc", {**given, "supply.net": "mlp"})
    assert other.supply.settings["net"] == NET, "networks are the pool's"
    whole, first, second = (Condenser(tiny_data, config, exact_plan("cpu", 1)) for _ in range(3))
    start = whole.supply.new(0)
    drawn = pool.weights(pool.snapshots[whole.supply._band.draw(0)])  # type: ignore[attr-defined]
    assert all(torch.equal(start.state_dict()[name], value) for name, value in drawn.items())
    whole.run()
    for _ in range(steps):
        first.step()
    save_state(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert torch.equal(second.run().stored, whole.result().stored)
    assert second.supply.report() == whole.supply.report()


def test_batch_norm_networks_learn_and_are_looked_through(tiny_data: Data) -> None:
    given = {**SMALL, "supply.net": "convnet2:width=4,norm=batch", "supply.steps": 3}
    config = configure(tiny_data, "idc", {**given, "supply.images": 9, "supply.batch": 4})
    made = Condenser(tiny_data, config, exact_plan("cpu", 1)).run()
    assert torch.isfinite(made.stored).all()
