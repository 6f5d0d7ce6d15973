"""Formations: packing and decoding against slow references, budgets, and sets that decode."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from condensery import CondensedSet, UsageError
from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data, load
from condensery.methods.formation import MultiFormation, Pixels
from condensery.methods.formation.grid import tiles
from condensery.methods.formation.multi import pack, unpack
from condensery.methods.formation.resize import area, bilinear, shrink, upsample
from condensery.methods.task import Task
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import stream

FLOAT64 = exact_plan("cpu", 1, "float64")
SIZES = [(28, 2), (28, 3), (32, 2), (32, 3), (96, 3), (8, 2), (7, 3)]


def slow_unpack(stored: Tensor, factor: int, along: str) -> Tensor:
    """Tile by tile with torch's own upsampling."""
    height, width = stored.shape[-2:]
    out = []
    for images in stored:
        made = []
        for image in images:
            rows = factor if along == "area" else 1
            for i in range(rows):
                for j in range(factor):
                    top, bottom = (int(np.floor(x * height / rows + 0.5)) for x in (i, i + 1))
                    left, right = (int(np.floor(x * width / factor + 0.5)) for x in (j, j + 1))
                    tile = image[None, :, top:bottom, left:right]
                    made.append(interpolate(tile, (height, width), mode="bilinear")[0])
        out.append(torch.stack(made))
    return torch.stack(out)


@pytest.mark.parametrize(("side", "factor"), [*SIZES, (64, 1)])
@pytest.mark.parametrize("along", ["area", "time"])
def test_decoding_is_torchs_upsampling_of_each_cell(side: int, factor: int, along: str) -> None:
    torch.manual_seed(0)
    stored = torch.randn(2, 3, 2, side, side, dtype=torch.float64)
    found = unpack(stored, factor, along)
    torch.testing.assert_close(found, slow_unpack(stored, factor, along), rtol=1e-12, atol=1e-12)


def test_spectrograms_are_cut_along_time_alone() -> None:
    stored = torch.randn(2, 1, 1, 64, 64, dtype=torch.float64)
    found = unpack(stored, 2, "time")
    assert found.shape == (2, 2, 1, 64, 64)
    first = interpolate(stored[:, 0, :, :, :32], (64, 64), mode="bilinear")
    torch.testing.assert_close(found[:, 0], first)
    oblong = unpack(torch.randn(1, 1, 1, 5, 9, dtype=torch.float64), 2, "time")
    assert oblong.shape == (1, 2, 1, 5, 9)


@pytest.mark.parametrize(("side", "factor"), SIZES)
@pytest.mark.parametrize("along", ["area", "time"])
def test_cells_tile_the_image(side: int, factor: int, along: str) -> None:
    seen = torch.zeros(side, side, dtype=torch.long)
    grid = tiles(side, side, factor, along)
    for rows, columns in grid:
        seen[rows, columns] += 1
    assert (seen == 1).all()
    assert len(grid) == (factor**2 if along == "area" else factor)
    sizes = {c.stop - c.start for _, c in grid}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("side", "factor"), SIZES)
def test_packing_and_decoding_share_their_grid(side: int, factor: int) -> None:
    """A ramp comes back as it was, away from the border, wherever it was packed."""
    line = torch.linspace(0, 1, side, dtype=torch.float64)
    ramps = torch.stack([line.expand(side, side), line.expand(side, side).T])
    n = factor**2
    images = ramps[torch.arange(n) % 2][:, None]
    shape = (1, side, side)
    back = unpack(pack(images, shape, factor, "area")[None], factor, "area")[0]
    assert back.shape == images.shape
    edge = -(-side // (side // factor))  # a tile's pixel in full-size pixels
    inner = slice(edge, side - edge)
    torch.testing.assert_close(
        back[..., inner, inner], images[..., inner, inner], rtol=0, atol=0.6 / side
    )


def test_packing_keeps_the_mean_and_knows_areas() -> None:
    images = torch.rand(4, 2, 8, 8, dtype=torch.float64)
    packed = pack(images, (2, 8, 8), 2, "area")
    torch.testing.assert_close(packed[0, :, :4, 4:], adaptive_avg_pool2d(images[1], 4))
    weights = area(2, 3, torch.float64, torch.device("cpu"))
    torch.testing.assert_close(
        weights, torch.tensor([[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], dtype=torch.float64)
    )
    for into, out in ((28, 9), (28, 10), (96, 32), (5, 5)):
        weights = area(out, into, torch.float64, torch.device("cpu"))
        torch.testing.assert_close(weights.sum(1), torch.ones(out, dtype=torch.float64))
        torch.testing.assert_close(
            weights.sum(0), torch.full((into,), out / into, dtype=torch.float64)
        )
    assert torch.equal(bilinear(5, 5, torch.float64, torch.device("cpu")), torch.eye(5).double())


@pytest.mark.parametrize(("side", "factor"), SIZES)
def test_packing_by_nearest_pixels_is_torchs(side: int, factor: int) -> None:
    torch.manual_seed(0)
    images = torch.rand(factor**2, 2, side, side, dtype=torch.float64)
    packed = pack(images, (2, side, side), factor, "area", "nearest")
    for image, (rows, columns) in zip(images, tiles(side, side, factor, "area"), strict=True):
        size = rows.stop - rows.start, columns.stop - columns.start
        expected = interpolate(image[None], size, mode="nearest")[0]
        assert torch.equal(packed[0, :, rows, columns], expected)


@pytest.mark.parametrize(("side", "held"), [(32, 11), (28, 9), (9, 9), (8, 2)])
def test_fitted_tiles_are_the_least_squares_solution(side: int, held: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, side, side + 1, dtype=torch.float64)
    small = shrink(images, held, held, "fitted")
    # All pixels at once: what each number of a tile adds to the image is a column.
    each = torch.eye(held * held, dtype=torch.float64).unflatten(1, (held, held))
    columns = interpolate(each[None], (side, side + 1), mode="bilinear")[0].flatten(1).T
    expected = torch.linalg.lstsq(columns, images.flatten(1).T).solution.T
    torch.testing.assert_close(small.flatten(1), expected, rtol=0, atol=1e-10)
    again = shrink(upsample(small, side, side + 1), held, held, "fitted")
    torch.testing.assert_close(again, small, rtol=0, atol=1e-10)


@pytest.mark.parametrize("along", ["area", "time"])
def test_a_fitted_start_decodes_nearer_to_the_images(along: Any, tiny_data: Data) -> None:
    train = tiny_data.train
    task = Task.of(train, ipc=1, seed=0, dtype=torch.float64)
    missed = {}
    for how in ("area", "nearest", "fitted"):
        chosen = MultiFormation(factor=2, along=along, shrink=how)
        made = chosen.decode(chosen.start(task, train))
        orders = [
            stream(0, "start", group=c).permutation(len(rows)) for c, rows in enumerate(train.index)
        ]
        real = torch.stack(
            [
                train.normalised(rows[torch.from_numpy(order[: made.shape[1]])])
                for rows, order in zip(train.index, orders, strict=True)
            ]
        )
        missed[how] = float((made - real).square().mean())
    assert 0 < missed["fitted"] < 0.95 * min(missed["area"], missed["nearest"])


@pytest.mark.parametrize("space", ["unit", "normalised"])
@pytest.mark.parametrize("chroma", ["full", "half"])
def test_what_tiles_keep_of_images(space: Any, chroma: Any) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 12, 12, 3), dtype=np.uint8)
    train = load((image.repeat(20, 0), np.arange(20) % 2)).train  # whichever are looked at
    chosen = MultiFormation(factor=2, space=space, chroma=chroma)
    one = train.normalised(torch.tensor([0]))[0].double()
    lost = interpolate(adaptive_avg_pool2d(one, 6)[None], 12, mode="bilinear")[0] - one
    if chroma == "full":
        spread = one - one.mean((1, 2), keepdim=True)
        expected = 1 - float(lost.square().sum() / spread.square().sum())
        assert chosen.kept(train) == pytest.approx(expected, abs=1e-5)
    whole = dataclasses.replace(chosen, factor=1).kept(train)
    assert whole == pytest.approx(1.0, abs=1e-6) if chroma == "full" else whole < 1
    fitted = dataclasses.replace(chosen, shrink="fitted").kept(train)
    assert chosen.kept(train) < fitted < whole
    bounded = MultiFormation(factor=2, space=space, mode="bounded", bound=1).kept(train)
    assert chroma == "half" or bounded == chosen.kept(train), "tiles count, however many there are"


def formation(**settings: Any) -> MultiFormation:
    return MultiFormation(space="unit", **settings).for_data((0.4, 0.5), (0.2, 0.25))


@pytest.mark.parametrize("mode", ["uniform", "multi_scale", "bounded"])
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("along", ["area", "time"])
def test_what_is_decoded(mode: Any, factor: int, along: Any) -> None:
    stored = torch.rand(2, 3, 2, 9, 12, dtype=torch.float64, requires_grad=True)
    chosen = formation(mode=mode, factor=factor, along=along, bound=5)
    found = chosen.decode(stored)
    normal = (stored - torch.tensor([0.4, 0.5]).view(-1, 1, 1)) / torch.tensor([0.2, 0.25]).view(
        -1, 1, 1
    )
    if mode == "uniform":
        expected = slow_unpack(normal, factor, along)
    elif mode == "multi_scale":
        scales = [slow_unpack(normal, f, along) for f in range(1, factor + 1)]
        expected = torch.cat(scales, 1)
    else:
        more = [slow_unpack(normal, factor, along)] if factor > 1 else []
        expected = torch.cat([normal, *more], 1)[:, : 5 if factor > 1 else 3]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-6)
    assert found.shape[1] == chosen.decoded(3)
    (slope,) = torch.autograd.grad(found.square().sum(), stored)
    assert (slope != 0).all(), "gradients reach every stored number"


@pytest.mark.parametrize("mode", ["uniform", "multi_scale", "bounded", "partitioned"])
@pytest.mark.parametrize("side", [8, 9])
def test_some_of_what_is_decoded(mode: Any, side: int) -> None:
    stored = torch.rand(2, 3, 2, side, side, dtype=torch.float64)
    rows = torch.tensor([[0, 4, 5], [2, 3, 11]])
    chosen: list[Any] = [formation(mode=mode, factor=2), Pixels()]
    for one in chosen:
        wanted = rows % one.decoded(3)
        whole = one.decode(stored)
        expected = torch.stack([whole[c][wanted[c]] for c in range(2)])
        torch.testing.assert_close(one.decode(stored, wanted), expected)


def test_a_bound_never_drops_a_stored_image() -> None:
    chosen = formation(mode="bounded", factor=2, bound=2)
    assert chosen.decoded(7) == 7
    assert formation(mode="bounded", factor=2, bound=1000).decoded(7) == 7 * 5


def idcs_partition(stored: int, largest: int, bound: int, along: str) -> list[tuple[int, int]]:
    """The authors' program's loop, in its own terms."""
    found, budget, room = [], stored, bound - stored
    done = 0
    for factor in range(largest, 0, -1):
        size = factor**2 if along == "area" else factor
        n = min(max(room, 0) // size, budget) if factor > 1 else budget
        found.append((factor, n))
        budget -= n
        done += n * size
        room = bound - done - budget
    return [(factor, n) for factor, n in found if n]


@pytest.mark.parametrize("along", ["area", "time"])
@pytest.mark.parametrize(
    ("stored", "factor", "bound"),
    [
        (20, 3, 40),
        (20, 3, 128),
        (50, 2, 128),
        (10, 2, 128),
        (128, 3, 128),
        (200, 3, 128),
        (1, 3, 9),
    ],
)
def test_stored_images_are_partitioned_as_in_idcs_program(
    stored: int, factor: int, bound: int, along: Any
) -> None:
    chosen = formation(mode="partitioned", factor=factor, bound=bound, along=along)
    expected = idcs_partition(stored, factor, bound, along)
    assert chosen.parts(stored) == expected
    assert sum(count for _, count in expected) == stored
    assert stored <= chosen.decoded(stored) <= max(bound, stored)


@pytest.mark.parametrize("along", ["area", "time"])
def test_each_part_is_packed_and_cut_by_its_own_factor(along: Any, tiny_data: Data) -> None:
    train = tiny_data.train
    task = Task.of(train, ipc=4, seed=3, dtype=torch.float64)
    settings: dict[str, Any] = {"mode": "partitioned", "factor": 3, "along": along, "bound": 12}
    chosen = MultiFormation(**settings)
    parts = {"area": [(2, 2), (1, 2)], "time": [(3, 2), (2, 2)]}[along]
    assert chosen.parts(4) == parts
    stored = chosen.start(task, train)
    expected, packed, at, taken = [], [], 0, 0
    for factor, count in parts:
        expected.append(slow_unpack(stored[:, at : at + count], factor, along))
        wanted = count * (factor**2 if along == "area" else factor)
        rows = np.resize(stream(3, "start", group=0).permutation(12), 99)[taken : taken + wanted]
        images = train.normalised(train.index[0][torch.from_numpy(rows)], dtype=torch.float64)
        packed.append(pack(images, train.shape, factor, along))
        at, taken = at + count, taken + wanted
    torch.testing.assert_close(stored[0], torch.cat(packed))
    found = chosen.decode(stored)
    torch.testing.assert_close(found, torch.cat(expected, 1), rtol=1e-9, atol=1e-9)
    assert found.shape[1] == chosen.decoded(4)


def test_a_factor_of_one_is_pixels(tiny_data: Data) -> None:
    task = Task.of(tiny_data.train, ipc=3, seed=0, dtype=torch.float64)
    for start in ("real", "noise"):
        mine = MultiFormation(factor=1, space="normalised", start_from=start)
        theirs = Pixels(start_from=start)
        first = mine.start(task, tiny_data.train)
        torch.testing.assert_close(first, theirs.start(task, tiny_data.train))
        assert torch.equal(mine.decode(first), first)
    given: dict[str, Any] = {"ipc": 2, "iterations": 3, "real_batch": 6}
    given |= {"supply.net": "convnet2:width=4"}
    plain = Condenser(tiny_data, configure(tiny_data, "dm", given), FLOAT64)
    one = configure(tiny_data, "dm_mf", {**given, "formation.factor": 1})
    torch.testing.assert_close(
        Condenser(tiny_data, one, FLOAT64).run().stored, plain.run().stored, rtol=1e-9, atol=1e-9
    )


def test_the_start_is_packed_real_images(tiny_data: Data) -> None:
    task = Task.of(tiny_data.train, ipc=2, seed=3, dtype=torch.float64)
    train = tiny_data.train
    chosen = MultiFormation(factor=2, space="unit").for_data(train.mean, train.std)
    stored = chosen.start(task, train)
    assert stored.shape == (3, 2, 1, 8, 8)
    assert 0 <= float(stored.min()) <= float(stored.max()) <= 1
    for c, members in enumerate(train.index):
        order = stream(3, "start", group=c).permutation(len(members))
        rows = members[torch.from_numpy(np.resize(order, 8))]
        small = adaptive_avg_pool2d(train.images[rows].double() / 255, 4)
        for s in range(2):
            for k in range(4):
                i, j = divmod(k, 2)
                tile = stored[c, s, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
                torch.testing.assert_close(tile, small[4 * s + k], rtol=1e-6, atol=1e-6)


def test_stored_colours_stay_colours(tiny_data: Data) -> None:
    given = {"ipc": 1, "iterations": 2, "real_batch": 5, "supply.net": "convnet2:width=4"}
    given |= {"supply.steps": 3, "supply.images": 4, "optimizer.rate": 50.0}
    run = Condenser(tiny_data, configure(tiny_data, "idc", given), FLOAT64)
    outside = []
    run.run(after_step=lambda r: outside.append(bool(((r.stored < 0) | (r.stored > 1)).any())))
    assert any(outside), "within an outer iteration they are free"
    assert not any((outside[2], outside[5])), "its end brings them back"
    middle = Condenser(tiny_data, configure(tiny_data, "idc", given), FLOAT64)
    middle.step()
    handed = middle.result().stored
    assert float(handed.min()) >= 0
    assert float(handed.max()) <= 1
    free = configure(tiny_data, "idc", {**given, "formation.space": "normalised"})
    assert float(Condenser(tiny_data, free, FLOAT64).run().stored.abs().max()) > 3


def test_numbers_that_are_no_colours_are_not_clamped() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 8)
    images = (rng.normal(size=(16, 1, 8, 8)) - 5).astype(np.float32)
    data = load((images, labels), test=(images[::4].copy(), labels[::4].copy()))
    given = {"ipc": 1, "iterations": 1, "real_batch": 4, "supply.net": "convnet2:width=4"}
    given |= {"supply.steps": 2, "supply.images": 4, "formation.along": "time"}
    made = Condenser(data, configure(data, "idc", given), exact_plan("cpu", 1)).run()
    assert float(made.stored.max()) < 0
    assert made.images.shape == (4, 1, 8, 8)
    assert float(made.images.mean().abs()) < 1


def test_a_set_decodes_wherever_it_is_opened(tiny_data: Data, tmp_path: Path) -> None:
    given = {"ipc": 2, "iterations": 1, "real_batch": 5, "supply.net": "convnet2:width=4"}
    given |= {"supply.steps": 1, "formation.mode": "multi_scale"}
    made = Condenser(tiny_data, configure(tiny_data, "idc", given), exact_plan("cpu", 1)).run()
    assert (len(made), made.stored.shape[1]) == (3 * 2 * 5, 2)
    assert made.labels.bincount().tolist() == [10, 10, 10]
    again = CondensedSet.load(made.save(tmp_path / "set"))
    assert torch.equal(again.images, made.images)
    assert made.stored_bytes == 3 * 2 * 64 * 4
    colours = torch.cat([made.stored, unpack(made.stored, 2, "area")], 1).flatten(0, 1)
    torch.testing.assert_close(again.pixels(), colours, rtol=1e-5, atol=1e-6)


def test_the_command_says_what_is_stored_and_what_is_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [
        "condense",
        "--recipe",
        "idc",
        "--ipc",
        "1",
        "--iterations",
        "0",
        "--plan",
        "exact",
    ]
    assert main([*arguments, "--out", str(out)]) == 0
    assert main(["show", str(out)]) == 0
    said = capsys.readouterr().out
    assert "stored        10 × 1×8×8, 1 per class in 10 classes, 2.6 kB" in said
    assert "decoded       40 training images" in said
    file = tmp_path / "plain.npz"
    assert main(["export", str(out), "--to", "npz", "--out", str(file)]) == 0
    with np.load(file) as plain:
        assert plain["images"].shape == (40, 1, 8, 8)
        assert np.bincount(plain["labels"]).tolist() == [4] * 10
    assert main(["export", str(out), "--stored", "--out", str(tmp_path / "s.npz")]) == 0
    with np.load(tmp_path / "s.npz") as stored:
        assert stored["stored"].shape == (10, 1, 8, 8)
        how = str(stored["decode"]) if "decode" in stored else json.dumps(stored.files)
        assert "(stored - mean) / std; its tiles are the training images" in how
        assert "'kind': 'multi_formation'" in how


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"formation.factor": 0}, "formation.factor must be at least 1"),
        ({"formation.factor": 5}, "less than 2 pixels of 8×8"),
        ({"formation.bound": 0}, "formation.bound"),
        ({"formation.mode": "multi"}, "formation.mode must be"),
        ({"synthetic_batch": 0}, "synthetic_batch must be at least 1"),
        ({"optimizer.rate_for_ipc": 0}, "optimizer.rate_for_ipc"),
        ({"supply.steps": 0}, "supply.steps"),
        ({"supply.images": -1}, "supply.images"),
        ({"supply.cutmix": 2}, "supply.cutmix is a probability"),
        ({"supply.strategy": "spin"}, "spin"),
        ({"supply.path": "nowhere"}, "holds no pool"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], words: str, tiny_data: Data) -> None:
    with pytest.raises(UsageError) as refused:
        Condenser(tiny_data, configure(tiny_data, "idc", {"ipc": 1, **settings}), FLOAT64)
    assert words in str(refused.value)


# ----------------------------------------------------------------- a part of the decoded images


@pytest.mark.parametrize("recipe", ["idc", "dm_mf"])
@pytest.mark.parametrize("chunk", [None, 3, 8])
def test_a_step_takes_a_part_of_the_decoded_images(
    recipe: str, chunk: int | None, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"ipc": 2, "real_batch": 6, "augmentation.kind": "none"}
    given |= {"supply.net": "convnet2:width=4", "synthetic_batch": 5}
    plan = dataclasses.replace(FLOAT64, chunk=chunk)
    run = Condenser(tiny_data, configure(tiny_data, recipe, given), plan)
    network, stored = run.supply.new(0), run.stored.detach()
    loss, slope = run.matcher.gradient(network, stored, 3, 1)
    # The same step on a formation that decodes just these images.
    picked = [
        np.sort(stream(0, "synthetic-batch", 3, 1, c).choice(8, 5, replace=False)) for c in range(3)
    ]

    parts = stored.clone()
    whole = run.formation.decode

    def decode(stored: Tensor, rows: Tensor | None = None) -> Tensor:
        assert rows is None
        first = next(c for c in range(3) if torch.equal(stored[0], parts[c]))
        some = [torch.from_numpy(picked[first + k]) for k in range(len(stored))]
        return torch.stack([one[r] for one, r in zip(whole(stored), some, strict=True)])

    other = Condenser(
        tiny_data, configure(tiny_data, recipe, {**given, "synthetic_batch": None}), plan
    )
    monkeypatch.setattr(other.formation, "decode", decode)
    monkeypatch.setattr(other.formation, "decoded", lambda stored: 5)
    expected, wanted = other.matcher.gradient(network, stored, 3, 1)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(slope, wanted, rtol=1e-9, atol=1e-12)
    again = run.matcher.gradient(network, stored, 3, 2)[1]
    assert not torch.equal(again, slope)


def test_a_typed_rate_is_meant_as_it_is(tiny_data: Data) -> None:
    assert configure(tiny_data, "idc", {"ipc": 50}).optimizer.rate == pytest.approx(
        0.005 * 5 * (8 / 32) ** 2
    )
    assert configure(tiny_data, "idc", {"ipc": 50, "optimizer.rate": 0.1}).optimizer.rate == 0.1
    scaled = {"ipc": 50, "optimizer.rate": 0.1, "optimizer.rate_for_ipc": 10}
    assert configure(tiny_data, "idc", scaled).optimizer.rate == pytest.approx(0.5)
    resolved = configure(tiny_data, "idc", {"ipc": 50}).as_dict()
    assert resolved["optimizer"]["rate_for_ipc"] is None
    assert configure(tiny_data, resolved).optimizer.rate == pytest.approx(0.005 * 5 / 16)


def test_plans_count_what_is_decoded(tiny_data: Data) -> None:
    fast = Plan(chunk=4, compile=False, real_dtype="bfloat16")
    given = {"ipc": 1, "real_batch": 6, "supply.net": "convnet2:width=4", "supply.steps": 1}
    given |= {"iterations": 1}
    exact = Condenser(tiny_data, configure(tiny_data, "idc", given), exact_plan("cpu", 1))
    quick = Condenser(tiny_data, configure(tiny_data, "idc", given), fast)
    start = exact.stored.detach().clone()
    moved = exact.run().stored - start
    assert 0 < (quick.run().stored - start - moved).norm() < 0.2 * moved.norm()
