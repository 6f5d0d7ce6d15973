"""The learned upsampling: FSRCNN by torch's own layers, its weights learned, kept and checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condensery import CondensedSet, DataError, UsageError
from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data
from condensery.errors import DivergedError
from condensery.methods.formation import Fsrcnn, MultiFormation
from condensery.methods.formation.grid import tiles
from condensery.methods.task import Task
from condensery.runtime.plan import exact_plan
from condensery.utils.checkpoint import load_state, save_state
from tests.conftest import tiny

FLOAT64 = exact_plan("cpu", 1, "float64")
LEARNED: dict[str, Any] = {"ipc": 2, "iterations": 2, "real_batch": 5, "formation.kind": "fsrcnn"}
LEARNED |= {"supply.net": "convnet2:width=4", "formation.rate": 0.05}


def slow_fsrcnn(cell: Tensor, weights: dict[str, Tensor], factor: int) -> Tensor:
    """The network as torch's own layers."""
    names = ("first", "shrink", "middle", "expand")
    for name in names:
        kernel = weights[name]
        outputs, inputs, side, _ = kernel.shape
        layer = torch.nn.Conv2d(inputs, outputs, side, padding=side // 2).double()
        slope = torch.nn.PReLU(outputs).double()
        with torch.no_grad():
            layer.weight.copy_(kernel)
            layer.bias.copy_(weights[f"{name}.bias"])  # type: ignore[union-attr]
            slope.weight.copy_(weights[f"{name}.slope"])
        cell = slope(layer(cell))
    last = weights["last"]
    layer = torch.nn.ConvTranspose2d(
        last.shape[0], last.shape[1], 9, factor, 4, output_padding=factor - 1
    ).double()  # type: ignore[assignment]
    with torch.no_grad():
        layer.weight.copy_(last)
        layer.bias.copy_(weights["last.bias"])  # type: ignore[union-attr]
    return layer(cell)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("side", "factor"), [(8, 2), (9, 2), (9, 3), (28, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_learned_upsampling_is_bilinear_and_a_network(
    side: int, factor: int, channels: int
) -> None:
    data = tiny(channels=channels, side=side)
    task = Task.of(data.train, ipc=2, seed=0, dtype=torch.float64)
    chosen = Fsrcnn(factor=factor).for_data(data.train.mean, data.train.std)
    plain = MultiFormation(factor=factor).for_data(data.train.mean, data.train.std)
    stored = chosen.start(task, data.train)
    assert torch.equal(stored, plain.start(task, data.train))
    torch.testing.assert_close(chosen.decode(stored), plain.decode(stored))
    weights = chosen.weights()
    with torch.no_grad():
        for weight in weights.values():
            weight.add_(0.1 * torch.randn(weight.shape, dtype=torch.float64))
    normal = plain.normalised(stored)
    made = []
    for rows, columns in tiles(side, side, factor, "area"):
        cell = normal[..., rows, columns].flatten(0, 1)
        smooth = interpolate(cell, (side, side), mode="bilinear")
        more = slow_fsrcnn(cell, weights, factor)
        made.append(smooth + interpolate(more, (side, side), mode="bilinear"))
    expected = torch.stack(made, 1).unflatten(0, (3, 2)).flatten(1, 2)
    torch.testing.assert_close(chosen.decode(stored), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("recipe", ["dm", "idc", "cafe"])
def test_its_weights_are_learned_with_the_pixels(recipe: str, tiny_data: Data) -> None:
    quick: dict[str, Any] = {"supply.steps": 2, "supply.images": 5} if recipe == "idc" else {}
    if recipe == "cafe":
        quick = {"supply.gamma": 2, "supply.step_cap": 2, "supply.epoch_cap": 1}
    config = configure(tiny_data, recipe, {**LEARNED, **quick})
    run = Condenser(tiny_data, config, FLOAT64)
    formation: Any = run.formation
    before = formation.state()
    network, at = run.supply.new(0), (0, 0)
    # The slope to the last layer's weights, against differences of the loss.
    run.supply.prepare(network, run.context())
    run.matcher.gradient(network, run.stored.detach(), *at)
    found = formation.weights()["last"].grad.clone()
    place = (1, 0, 3, 4)
    step, losses = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            formation.weights()["last"][place] += sign * step
        losses.append(float(run.matcher.gradient(network, run.stored.detach(), *at)[0]))
        with torch.no_grad():
            formation.weights()["last"][place] -= sign * step
    assert float(found[place]) == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-4)
    run.run()
    after = formation.state()
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("chunk", [2, 5, 100])
def test_chunks_add_up_to_the_same_weights(chunk: int, tiny_data: Data) -> None:
    config = configure(tiny_data, "dm", LEARNED)
    plain = Condenser(tiny_data, config, FLOAT64)
    chunked = Condenser(tiny_data, config, dataclasses.replace(FLOAT64, chunk=chunk))
    plain.run()
    chunked.run()
    torch.testing.assert_close(chunked.stored, plain.stored, rtol=1e-9, atol=1e-9)
    mine, theirs = chunked.formation.state(), plain.formation.state()
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-9, atol=1e-9)


def test_a_learned_upsampling_goes_on_and_is_kept(tiny_data: Data, tmp_path: Path) -> None:
    config = configure(tiny_data, "idc", {**LEARNED, "supply.steps": 3, "supply.images": 5})
    exact = exact_plan("cpu", 1)
    whole, first, second = (Condenser(tiny_data, config, exact) for _ in range(3))
    for _ in range(2):
        first.step()
    early = first.result()
    images = early.images.clone()
    save_state(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_state(tmp_path / "state.safetensors"))
    made, again = whole.run(), second.run()
    assert again.save(tmp_path / "b").read_bytes() == made.save(tmp_path / "a").read_bytes()
    first.run()
    assert torch.equal(early.images, images), "a set does not change when the run continues"
    assert torch.equal(CondensedSet.load(early.save(tmp_path / "c")).images, images)
    held = CondensedSet.load(tmp_path / "a")
    assert torch.equal(held.images, made.images)
    assert not torch.equal(held.images, MultiFormation().for_data(
        made.about.mean, made.about.std).decode(made.stored).flatten(0, 1))  # fmt: skip
    pixels = made.stored.numel() * 4
    weights = sum(w.numel() for w in whole.formation.state().values()) * 4
    assert (made.stored_bytes, made.formation_bytes) == (pixels + weights, weights)
    assert held.stored_bytes == made.stored_bytes


def test_weights_that_do_not_fit_are_refused(tiny_data: Data, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made = Condenser(tiny_data, configure(tiny_data, "dm", LEARNED), exact_plan("cpu", 1)).run()
    file = made.save(tmp_path / "set")
    about = {"condensery": made.about.dump()}
    whole = load_file(file)
    nothing = torch.full_like(whole["formation.shrink"], float("nan"))
    for name, value in (
        ("formation.last", torch.zeros(3, 1, 9, 9)),
        ("formation.first", None),
        ("formation.shrink", nothing),
        ("formation.more", torch.zeros(9)),
        ("formation.middle", torch.zeros(4, 4, 5, 5)),
    ):
        damaged = {**whole, name: value} if value is not None else dict(whole)
        if value is None:
            del damaged[name]
        save_file(damaged, file, metadata=about)
        with pytest.raises(DataError, match="its formation cannot decode it"):
            CondensedSet.load(file)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"formation.factor": 1}, "formation.factor must be at least 2"),
        ({"formation.channels": 0}, "formation.channels"),
        ({"formation.rate": 0}, "formation.rate must be positive"),
        ({"formation.mode": "uniform"}, "is a setting of other kinds of formation"),
    ],
)
def test_wrong_settings_of_a_learned_upsampling(
    settings: dict[str, Any], words: str, tiny_data: Data
) -> None:
    with pytest.raises(UsageError) as refused:
        configure(tiny_data, "dm", {**LEARNED, **settings})
    assert words in str(refused.value)


def test_its_rate_falls_with_the_pixels(tiny_data: Data) -> None:
    config = configure(tiny_data, "dm", {**LEARNED, "optimizer.drops": [1], "iterations": 2})
    run = Condenser(tiny_data, config, FLOAT64)
    seen = []
    run.run(after_step=lambda r: seen.append([g["lr"] for g in r.optimizer.param_groups]))
    assert seen == [[1.0, 0.05], [0.5, 0.025]]


def test_a_divergence_names_its_rate(tiny_data: Data) -> None:
    config = configure(tiny_data, "dm", {**LEARNED, "formation.rate": 1e30})
    with pytest.raises(DivergedError, match=r"formation\.rate"):
        Condenser(tiny_data, config, exact_plan("cpu", 1)).run()


def test_its_weights_are_exported_with_what_is_stored(tiny_data: Data, tmp_path: Path) -> None:
    made = Condenser(tiny_data, configure(tiny_data, "dm", LEARNED), exact_plan("cpu", 1)).run()
    made.save(tmp_path / "run")
    file = tmp_path / "stored.npz"
    assert main(["export", str(tmp_path / "run"), "--stored", "--out", str(file)]) == 0
    with np.load(file) as held:
        assert held["formation.last"].shape == (8, 1, 9, 9)
        assert "transposed convolution" in str(held["decode"])
