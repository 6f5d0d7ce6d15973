"""Tiles of luma and half the chroma: packing and decoding against slow references."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from condensery import CondensedSet, UsageError, condense
from condensery.data import Data
from condensery.methods.formation import MultiFormation
from condensery.methods.formation.chroma import (
    basis,
    pack_subsampled,
    subsampled,
    unpack_subsampled,
)
from condensery.methods.task import Task
from condensery.sets.export import export
from tests.conftest import tiny

same = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)


@pytest.fixture
def colour_data() -> Data:
    """Three classes of RGB images of 8×8."""
    return tiny(channels=3)


def edges(side: int, parts: int) -> list[int]:
    """Where a side is cut."""
    return [int(np.floor(i * side / parts + 0.5)) for i in range(parts + 1)]


def cell(plane: Tensor, parts: int, number: int) -> Tensor:
    """One cell of a grid of parts×parts, in reading order."""
    row, column = divmod(number, parts)
    down, across = edges(plane.shape[-2], parts), edges(plane.shape[-1], parts)
    return plane[..., down[row] : down[row + 1], across[column] : across[column + 1]]


def to_rgb(luma: Tensor, one: Tensor, two: Tensor, space: str) -> Tensor:
    """RGB by solving for it: luma is the mean, the others say how the colours differ."""
    if space == "normalised":
        total, red_less_blue, green_more = luma * 3**0.5, one * 2**0.5, two * 6**0.5
    else:
        total, red_less_blue, green_more = luma * 3, (one - 0.5) * 2, (two - 0.5) * 4
    # green_more = 2g − (r + b) and total = g + (r + b)
    green = (total + green_more) / 3
    both = total - green
    return torch.stack([(both + red_less_blue) / 2, green, (both - red_less_blue) / 2])


@pytest.mark.parametrize(("side", "factor"), [(8, 1), (8, 2), (12, 3), (32, 3), (13, 3)])
@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_decoding_is_torchs_upsampling_of_three_tiles(side: int, factor: int, space: Any) -> None:
    torch.manual_seed(0)
    stored = torch.randn(2, 2, 3, side, side + 1, dtype=torch.float64)
    found = unpack_subsampled(stored, factor, space)
    assert found.shape == (2, 2 * 2 * factor**2, 3, side, side + 1)
    for c in range(2):
        for number in range(found.shape[1]):
            image, place = divmod(number, 2 * factor**2)
            held = stored[c, image]
            plane, tile = divmod(place, factor**2)
            cells = [cell(held[plane], factor, tile)]
            cells += [cell(held[2], 2 * factor, 2 * place + axis) for axis in range(2)]
            size = (side, side + 1)
            luma, a, b = (interpolate(x[None, None], size, mode="bilinear")[0, 0] for x in cells)
            same(found[c, number], to_rgb(luma, a, b, space))


@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_tiles_that_are_fitted_decode_to_what_is_nearest(space: Any) -> None:
    """No other tiles of the same size come nearer, by the axes that are stored."""
    torch.manual_seed(0)
    images = torch.rand(18, 3, 13, 13, dtype=torch.float64)
    axes = basis(space, torch.float64, torch.device("cpu")).axes

    def missed(stored: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", axes, unpack_subsampled(stored, 3, space)[0] - images)

    stored = pack_subsampled(images, 3, space, "fitted")[None].requires_grad_(True)
    (slope,) = torch.autograd.grad(missed(stored).square().sum(), stored)
    assert float(slope.abs().max()) < 1e-10
    averaged = pack_subsampled(images, 3, space, "area")[None]
    assert 0.1 < float(missed(stored.detach()).norm()) < float(missed(averaged).norm())


@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_packing_fills_every_cell_with_means_of_luma_and_chroma(space: Any) -> None:
    torch.manual_seed(0)
    images = torch.rand(16, 3, 24, 24, dtype=torch.float64)
    stored = pack_subsampled(images, 2, space)
    assert stored.shape == (2, 3, 24, 24)
    for number, image in enumerate(images):
        held, place = stored[number // 8], number % 8
        tiles = [cell(held[place // 4], 2, place % 4)]
        tiles += [cell(held[2], 4, 2 * place + axis) for axis in range(2)]
        small = [adaptive_avg_pool2d(image[None], tile.shape[-1])[0] for tile in tiles]
        # A tile is one of three axes of a colour: the same axis of the shrunk image.
        for axis, (tile, colours) in enumerate(zip(tiles, small, strict=True)):
            red, green, blue = colours
            sums = (red + green + blue, red - blue, 2 * green - red - blue)[axis]
            scale = (3, 2, 6)[axis] ** 0.5 if space == "normalised" else (3, 2, 4)[axis]
            shift = 0.5 if space == "unit" and axis else 0.0
            same(tile, sums / scale + shift)


def test_grey_and_even_colours_come_back() -> None:
    torch.manual_seed(0)
    even = torch.rand(8, 3, 1, 1, dtype=torch.float64).expand(-1, -1, 16, 16)
    for space in ("unit", "normalised"):
        stored = pack_subsampled(even, 2, space)
        back = unpack_subsampled(stored[None], 2, space)[0]
        same(back, even)


def test_normalised_pixels_are_rotated_and_colours_stay_between_0_and_1() -> None:
    where = torch.float64, torch.device("cpu")
    axes, back, added = basis("normalised", *where)
    same(axes @ back, torch.eye(3, dtype=torch.float64))
    same(axes @ axes.T, torch.eye(3, dtype=torch.float64))
    assert not added.any()
    axes, back, added = basis("unit", *where)
    same(axes @ back, torch.eye(3, dtype=torch.float64))
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    reached = corners @ axes.T + added.flatten()
    same(reached.amin(0), torch.zeros(3, dtype=torch.float64))
    same(reached.amax(0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_some_rows_are_those_of_all_and_have_gradients(space: Any) -> None:
    torch.manual_seed(0)
    stored = torch.randn(2, 2, 3, 9, 9, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([[3, 15, 8], [0, 0, 9]])
    whole = unpack_subsampled(stored, 2, space)
    some = unpack_subsampled(stored, 2, space, rows)
    same(some, torch.stack([whole[c, rows[c]] for c in range(2)]))
    assert torch.autograd.gradcheck(lambda x: unpack_subsampled(x, 2, space, rows[:, :1]), stored)


@pytest.mark.parametrize("start", ["real", "noise"])
@pytest.mark.parametrize("space", ["unit", "normalised"])
def test_the_start_decodes_to_images_near_the_real_ones(
    start: Any, space: Any, colour_data: Data
) -> None:
    train = colour_data.train
    task = Task.of(train, ipc=1, seed=0, dtype=torch.float64)
    chosen = MultiFormation(factor=1, chroma="half", space=space, start_from=start)
    formation = chosen.for_data(train.mean, train.std)
    stored = formation.start(task, train)
    images = formation.decode(stored)
    assert stored.shape == (train.classes, 1, *train.shape)
    assert images.shape == (train.classes, 2, *train.shape)
    if space == "unit":
        assert float(stored.min()) >= 0
        assert float(stored.max()) <= 1
    if start == "noise":
        return
    # A factor of 1 keeps luma whole: the mean of the colours is that of a training image.
    for c, made in enumerate(images):
        real = train.normalised(train.index[c], dtype=torch.float64)
        if space == "unit":
            made, real = train.unnormalise(made), train.unnormalise(real)
        grey, luma = made.mean(1).flatten(1), real.mean(1).flatten(1)
        assert float(torch.cdist(grey, luma).amin(1).max()) < 1e-6


def test_a_set_is_opened_and_exported_as_it_was_made(colour_data: Data, tmp_path: Path) -> None:
    settings = {"formation.chroma": "half", "iterations": 2, "real_batch": 4}
    made = condense(colour_data, "dm_mf", ipc=1, overrides=settings, seed=0)
    assert len(made) == colour_data.train.classes * subsampled(2)
    path = made.save(tmp_path / "set.safetensors")
    opened = CondensedSet.load(path)
    assert torch.equal(opened.images, made.images)
    assert opened.about.formation.settings["chroma"] == "half"
    with np.load(export(made, "npz", tmp_path / "stored", stored=True)) as held:
        assert "chroma" in str(held["decode"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "multi_scale"}, "formation.mode uniform"),
        ({"along": "time"}, "formation.along area"),
        ({"floor": "training"}, "formation.floor none"),
    ],
)
def test_what_it_does_not_go_with(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        MultiFormation(chroma="half", **settings)


def test_grey_data_and_small_images_are_refused(tiny_data: Data) -> None:
    assert tiny_data.train.shape[0] == 1
    with pytest.raises(UsageError, match="RGB images, and these have 1 channels"):
        condense(tiny_data, "dm_mf", ipc=1, overrides={"formation.chroma": "half"})
    with pytest.raises(UsageError, match="at most 2, or formation"):
        MultiFormation(chroma="half", factor=3).check(8, 8)
