"""Augmentations against plain per-image references, and what Siamese augmentation promises."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from condensery.augment import (
    Draw,
    Strategy,
    apply,
    augment_batch,
    augment_each,
    augment_idc,
    cat,
    cutmix,
    parse_strategy,
    sample_all,
    sample_one,
)
from condensery.augment.draws import sample
from condensery.augment.ops import _OPS
from condensery.augment.strategy import VALUES
from condensery.errors import UsageError
from condensery.methods.augmentation import Augmentation, NoAugmentation, SiameseOp, SiameseSequence
from condensery.runtime.randomness import stream

Image = npt.NDArray[np.float64]

OPS = tuple(VALUES)
DEFAULT = Strategy(OPS)
NEARLY_1 = 1 - 2.0**-24
SHAPES = [(1, 8, 8), (3, 28, 28), (3, 32, 32), (1, 12, 20), (3, 12, 20), (2, 9, 5)]


def images(n: int, shape: tuple[int, int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    rng = np.random.default_rng([n, *shape])
    return torch.from_numpy(rng.standard_normal((n, *shape))).to(dtype)


def values(op: str, rows: int) -> Tensor:
    """The two ends, the middle, then random values."""
    ends = np.array([[0.0], [NEARLY_1], [0.5]]) * np.ones(VALUES[op])
    drawn = np.random.default_rng(5).random((rows, VALUES[op]), dtype=np.float32)
    return torch.from_numpy(np.concatenate([ends, drawn])[:rows].astype(np.float32))


# --- slow references, one image and one row of values at a time ---------------------------------


def slow_color(x: Image, u: list[float]) -> Image:
    x = x + (u[0] - 0.5)
    grey = np.mean(x, axis=0, keepdims=True)
    x = grey + (x - grey) * (2 * u[1])
    level = np.mean(x)
    return level + (x - level) * (u[2] + 0.5)


def slow_crop(x: Image, u: list[float]) -> Image:
    _, h, w = x.shape
    far_y, far_x = int(0.125 * h + 0.5), int(0.125 * w + 0.5)
    dy = math.floor(u[0] * (2 * far_y + 1)) - far_y
    dx = math.floor(u[1] * (2 * far_x + 1)) - far_x
    out = np.zeros_like(x)
    for i in range(h):
        for j in range(w):
            if 0 <= i + dy < h and 0 <= j + dx < w:
                out[:, i, j] = x[:, i + dy, j + dx]
    return out


def slow_cutout(x: Image, u: list[float]) -> Image:
    _, h, w = x.shape
    tall, wide = int(0.5 * h + 0.5), int(0.5 * w + 0.5)
    # An odd side is centred on one of S pixels, an even one on one of S + 1 borders between them.
    top = math.floor(u[0] * (h if tall % 2 else h + 1)) - tall // 2
    left = math.floor(u[1] * (w if wide % 2 else w + 1)) - wide // 2
    out = x.copy()
    for i in range(h):
        for j in range(w):
            if top <= i < top + tall and left <= j < left + wide:
                out[:, i, j] = 0
    return out


def slow_flip(x: Image, u: list[float]) -> Image:
    return x[:, :, ::-1].copy() if u[0] < 0.5 else x


def bilinear(x: Image, matrix: Image) -> Image:
    """out(p) = in(centre + matrix·(p − centre)), p = (row, column), zeros beyond the image."""
    _, h, w = x.shape
    centre = np.array([(h - 1) / 2, (w - 1) / 2])
    out = np.zeros_like(x)
    for i in range(h):
        for j in range(w):
            row, column = centre + matrix @ (np.array([i, j]) - centre)
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < h and 0 <= c < w:
                        out[:, i, j] += x[:, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return out


def scale_matrix(u: list[float]) -> Image:
    across, down = (1 / 1.2 + v * (1.2 - 1 / 1.2) for v in u)
    return np.diag([down, across])


def rotation_matrix(u: list[float]) -> Image:
    angle = math.radians(-15 + 30 * u[0])
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


def slow_noise(x: Image, u: list[float]) -> Image:
    def scatter(v: int) -> int:
        for _ in range(2):
            v = ((v ^ (v >> 16)) * 0x45D9F3B) % 2**32
        return v ^ (v >> 16)

    seed, size = scatter(int(u[0] * 2**24) + 1), x.size
    out = np.empty(size)
    for i in range(size):
        first = (scatter(scatter(i) ^ seed) + 0.5) / 2**32
        second = (scatter(scatter(i + size) ^ seed) + 0.5) / 2**32
        out[i] = math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
    return x + 0.001 * out.reshape(x.shape)


SLOW: dict[str, Callable[[Image, list[float]], Image]] = {
    "color": slow_color,
    "crop": slow_crop,
    "cutout": slow_cutout,
    "flip": slow_flip,
    "scale": lambda x, u: bilinear(x, scale_matrix(u)),
    "rotate": lambda x, u: bilinear(x, rotation_matrix(u)),
    "noise": slow_noise,
}


def slow(x: Tensor, draw: Draw) -> Tensor:
    rows = draw.expand(len(x)).values.double().tolist()
    done = [SLOW[draw.op](i, u) for i, u in zip(x.double().numpy(), rows, strict=True)]
    return torch.from_numpy(np.stack(done)).to(x.dtype)


def same(got: Tensor, wanted: Tensor) -> None:
    assert got.dtype == wanted.dtype
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-12)


def test_every_op_has_values_a_function_and_a_reference() -> None:
    assert set(VALUES) == set(_OPS) == set(SLOW)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_of_each_image(op: str, shape: tuple[int, int, int]) -> None:
    x = images(5, shape)
    draw = Draw(op, values(op, 5))
    same(apply(x, draw, DEFAULT), slow(x, draw))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_shared_by_the_batch(op: str, shape: tuple[int, int, int]) -> None:
    x = images(3, shape)
    for row in torch.split(values(op, 5), 1):
        draw = Draw(op, row)
        got = apply(x, draw, DEFAULT)
        same(got, slow(x, draw))
        same(apply(x, draw.expand(3), DEFAULT), got)


@pytest.mark.parametrize("op", ["crop", "cutout", "flip"])
def test_ops_that_move_pixels_are_exact_in_float32(op: str) -> None:
    x = images(200, (1, 9, 11), torch.float32)
    draw = sample(np.random.default_rng(0), op, 200)
    got = apply(x, draw, DEFAULT)
    assert torch.equal(got, slow(x, draw))
    one_by_one = [
        apply(i[None], Draw(op, u[None]), DEFAULT) for i, u in zip(x, draw.values, strict=True)
    ]
    assert torch.equal(got, torch.cat(one_by_one))


@pytest.mark.parametrize(("op", "matrix"), [("scale", scale_matrix), ("rotate", rotation_matrix)])
def test_resampling_agrees_with_scipy(op: str, matrix: Callable[[list[float]], Image]) -> None:
    x = images(6, (2, 14, 23))
    draw = sample(np.random.default_rng(1), op, 6)
    got = apply(x, draw, DEFAULT).numpy()
    centre = np.array([6.5, 11.0])
    for i, u in enumerate(draw.values.double().tolist()):
        m = matrix(u)
        for c in range(2):
            wanted = ndimage.affine_transform(
                x[i, c].numpy(), m, centre - m @ centre, order=1, mode="grid-constant"
            )
            np.testing.assert_allclose(got[i, c], wanted, atol=1e-11)


@pytest.mark.parametrize("op", OPS)
def test_float32_is_near_float64(op: str) -> None:
    x = images(4, (3, 32, 32))
    draw = sample(np.random.default_rng(2), op, 4)
    wanted = apply(x, draw, DEFAULT)
    torch.testing.assert_close(
        apply(x.float(), draw, DEFAULT).double(), wanted, rtol=1e-4, atol=1e-4
    )


# --- ranges and identities -----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "far"), [(28, 4), (32, 4), (33, 4), (64, 8)])
def test_crop_reaches_every_shift_equally(size: int, far: int) -> None:
    n, middle = 100 * (2 * far + 1), size // 2
    x = torch.zeros(n, 1, size, size)
    x[:, :, middle, middle] = 1
    u = torch.arange(n)[:, None].expand(n, 2) / n
    out = apply(x, Draw("crop", torch.stack([u[:, 0], u[:, 1].flip(0)], 1)), DEFAULT)
    where = out.flatten(1).argmax(1)
    for found in (where // size, where % size):
        shifts, counts = np.unique((middle - found).numpy(), return_counts=True)
        assert shifts.tolist() == list(range(-far, far + 1))
        assert counts.min() >= 99
        assert counts.max() <= 101
    assert (middle - where[0] // size).item() == -far
    assert (middle - where[-1] // size).item() == far


@pytest.mark.parametrize(
    ("size", "u", "rows"),
    [
        (32, 0.0, range(8)),
        (32, 0.5, range(8, 24)),
        (32, NEARLY_1, range(24, 32)),
        (10, 0.0, range(3)),
        (10, NEARLY_1, range(7, 10)),
    ],
)
def test_cutout_centres_reach_the_border(size: int, u: float, rows: range) -> None:
    x = torch.ones(1, 1, size, size)
    out = apply(x, Draw("cutout", torch.tensor([[u, 0.5]])), DEFAULT)
    cut = (out[0, 0] == 0).any(1).nonzero().flatten().tolist()
    assert cut == list(rows)


def linear_part(op: str, u: list[float], **magnitudes: float) -> list[float]:
    """What an op does to the ramps X and Y near the centre, where bilinear samples are exact."""
    ramp = torch.arange(-10.0, 11.0, dtype=torch.float64)
    x = torch.stack([ramp.expand(21, 21), ramp[:, None].expand(21, 21)])[None]
    strategy = Strategy((op,), **magnitudes)
    out = apply(x, Draw(op, torch.tensor([u])), strategy)[0, :, 9:12, 9:12]
    return [float(v) for c in out for v in (c[1, 2] - c[1, 1], c[2, 1] - c[1, 1])]


@pytest.mark.parametrize(("u", "s"), [(0.0, 1 / 1.2), (NEARLY_1, 1.2), (5 / 11, 1.0)])
def test_scale_ranges(u: float, s: float) -> None:
    np.testing.assert_allclose(linear_part("scale", [u, 5 / 11]), [s, 0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(linear_part("scale", [5 / 11, u]), [1, 0, 0, s], atol=1e-6)


@pytest.mark.parametrize("most", [15.0, 45.0])
@pytest.mark.parametrize(("u", "share"), [(0.0, -1), (0.5, 0), (NEARLY_1, 1)])
def test_rotation_ranges(u: float, share: int, most: float) -> None:
    xx, xy, yx, yy = linear_part("rotate", [u], rotate=most)
    assert math.degrees(math.atan2(yx, xx)) == pytest.approx(share * most, abs=1e-4)
    np.testing.assert_allclose([xx, xy], [yy, -yx], atol=1e-12)
    assert xx**2 + yx**2 == pytest.approx(1)


@pytest.mark.parametrize(
    ("op", "u"),
    [
        ("color", [0.5, 0.5, 0.5]),
        ("crop", [0.5, 0.5]),
        ("flip", [0.5]),
        ("scale", [5 / 11, 5 / 11]),
        ("rotate", [0.5]),
    ],
)
def test_values_that_change_nothing(op: str, u: list[float]) -> None:
    x = images(2, (3, 16, 16))
    for rows in (1, 2):
        out = apply(x, Draw(op, torch.tensor([u] * rows)), DEFAULT)
        torch.testing.assert_close(out, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "off"),
    [
        ("crop", {"crop": 0.0}),
        ("cutout", {"cutout": 0.0}),
        ("scale", {"scale": 1.0}),
        ("rotate", {"rotate": 0.0}),
        ("noise", {"noise": 0.0}),
        ("color", {"brightness": 0.0, "contrast": 0.0}),
    ],
)
def test_magnitudes_that_change_nothing(op: str, off: dict[str, float]) -> None:
    x = images(4, (1, 7, 7))
    out = apply(x, sample(np.random.default_rng(3), op, 4), Strategy((op,), **off))
    torch.testing.assert_close(out, x)


def test_the_largest_crop_moves_everything_out() -> None:
    x = torch.ones(2, 1, 6, 6)
    draw = Draw("crop", torch.zeros(1, 2))
    strategy = Strategy(("crop",), crop=1.0)
    assert apply(x, draw, strategy).abs().max() == 0
    assert apply(x, draw.expand(2), strategy).abs().max() == 0


def test_color_means_what_its_parts_mean() -> None:
    x = images(2, (3, 6, 6))
    grey = apply(x, Draw("color", torch.tensor([[0.5, 0.0, 0.5]])), DEFAULT)
    torch.testing.assert_close(grey, x.mean(1, keepdim=True).expand_as(x))
    bright = apply(x, Draw("color", torch.tensor([[0.75, 0.5, 0.5]])), DEFAULT)
    torch.testing.assert_close(bright, x + 0.25)
    flat = apply(x, Draw("color", torch.tensor([[0.5, 0.5, 0.0]])), DEFAULT)
    torch.testing.assert_close(flat.std((1, 2, 3)), x.std((1, 2, 3)) / 2)
    torch.testing.assert_close(flat.mean((1, 2, 3)), x.mean((1, 2, 3)))


def test_noise_is_normal_and_different_for_every_image() -> None:
    x = torch.zeros(64, 3, 16, 16, dtype=torch.float64)
    seeds = torch.arange(64)[:, None] / 2**24
    z = apply(x, Draw("noise", seeds), Strategy(("noise",), noise=1.0)).flatten(1).numpy()
    assert stats.kstest(z.ravel(), "norm").pvalue > 0.01
    between = np.corrcoef(z)[~np.eye(64, dtype=bool)]
    assert abs(between).max() < 5.5 / math.sqrt(z.shape[1])
    neighbours = np.corrcoef(z[:, 1:].ravel(), z[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(z.size)


# --- what holds for every op --------------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
def test_siamese_the_same_image_stays_the_same_image(op: str) -> None:
    for shape in ((3, 32, 32), (1, 7, 10)):
        real, synthetic = images(13, shape), images(3, shape)
        synthetic[1] = real[7]
        for row in torch.split(values(op, 6), 1):
            draw = Draw(op, row)
            a, b = apply(real, draw, DEFAULT), apply(synthetic, draw, DEFAULT)
            same(b[1], a[7])


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rows", [1, 3])
def test_gradients(op: str, rows: int) -> None:
    x = images(3, (2, 5, 4)).requires_grad_()
    for u in (values(op, 3), sample(np.random.default_rng(7), op, 3).values):
        draw = Draw(op, u[-rows:])
        assert torch.autograd.gradcheck(lambda x, d=draw: apply(x, d, DEFAULT), (x,))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_are_rounded_once(op: str, rows: int, dtype: torch.dtype) -> None:
    x = images(4, (3, 10, 10), dtype)
    draw = sample(np.random.default_rng(8), op, rows)
    out = apply(x, draw, DEFAULT)
    assert out.dtype == dtype
    assert torch.equal(out, apply(x.float(), draw, DEFAULT).to(dtype))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rows", [1, 4])
def test_memory_format_is_kept_and_the_input_is_untouched(op: str, rows: int) -> None:
    plain = images(4, (3, 10, 12))
    last = plain.contiguous(memory_format=torch.channels_last)
    before = plain.clone()
    draw = sample(np.random.default_rng(9), op, rows)
    out = apply(plain, draw, DEFAULT)
    assert out.is_contiguous()
    out_last = apply(last, draw, DEFAULT)
    assert out_last.is_contiguous(memory_format=torch.channels_last)
    same(out_last, out)
    assert torch.equal(plain, before)
    assert torch.equal(last, before)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("rows", [1, 4])
def test_away_from_the_cpu_no_value_is_read_back(op: str, rows: int) -> None:
    # Meta tensors hold no values, so that whatever would read one raises.
    draw = sample(np.random.default_rng(10), op, rows).to("meta")
    with pytest.raises(RuntimeError):
        draw.values[0, 0].item()
    out = apply(torch.empty(4, 3, 8, 8, device="meta"), draw, DEFAULT)
    assert out.shape == (4, 3, 8, 8)


def test_an_empty_batch_stays_empty() -> None:
    for op in OPS:
        draw = sample(np.random.default_rng(0), op)
        assert apply(torch.empty(0, 3, 8, 8), draw, DEFAULT).shape == (0, 3, 8, 8)


# --- draws ---------------------------------------------------------------------------------------


def test_the_same_address_gives_the_same_draw() -> None:
    def at(step: int) -> Draw:
        return sample_one(stream(3, "augmentation", 2, step, 1), DEFAULT, 2)

    assert at(5).op == at(5).op
    assert torch.equal(at(5).values, at(5).values)
    seen = {(at(s).op, *at(s).values.flatten().tolist()) for s in range(50)}
    assert len(seen) == 50


def test_one_op_is_drawn_uniformly() -> None:
    rng = np.random.default_rng(0)
    strategy = parse_strategy("color_crop_flip")
    drawn = [sample_one(rng, strategy).op for _ in range(3000)]
    counts = [drawn.count(op) for op in strategy.ops]
    assert stats.chisquare(counts).pvalue > 0.01


def test_all_ops_are_drawn_in_order() -> None:
    draws = sample_all(np.random.default_rng(0), parse_strategy("cutout_color_crop"), 4)
    assert [d.op for d in draws] == ["cutout", "color", "crop"]
    assert [tuple(d.values.shape) for d in draws] == [(4, 2), (4, 3), (4, 2)]
    assert all(0 <= v < 1 for d in draws for v in d.values.flatten().tolist())
    assert all(d.values.dtype == torch.float32 for d in draws)


def test_classes_batched_together_give_what_each_gives() -> None:
    rng = np.random.default_rng(0)
    parts = [images(n, (3, 8, 8)) for n in (2, 5, 1)]
    for op in OPS:
        draws = [sample(rng, op) for _ in parts]
        merged = cat([d.expand(len(p)) for d, p in zip(draws, parts, strict=True)])
        alone = [apply(p, d, DEFAULT) for p, d in zip(parts, draws, strict=True)]
        same(apply(torch.cat(parts), merged, DEFAULT), torch.cat(alone))


def test_draws_that_do_not_fit_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="did you mean 'crop'"):
        Draw("crops", torch.zeros(1, 2))
    with pytest.raises(UsageError, match=r"color takes values of shape G×3, not 1×2"):
        Draw("color", torch.zeros(1, 2))
    with pytest.raises(UsageError, match="3 rows cannot be expanded to 4"):
        sample(rng, "crop", 3).expand(4)
    with pytest.raises(UsageError, match="one op can be joined, got color, crop"):
        cat([sample(rng, "crop"), sample(rng, "color")])
    with pytest.raises(UsageError, match="got none"):
        cat([])
    with pytest.raises(UsageError, match="3 rows does not fit 4 images"):
        apply(torch.zeros(4, 1, 8, 8), sample(rng, "crop", 3), DEFAULT)
    with pytest.raises(UsageError, match=r"float images, got 4×8×8"):
        apply(torch.zeros(4, 8, 8), sample(rng, "crop"), DEFAULT)
    with pytest.raises(UsageError, match=r"torch\.uint8"):
        apply(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), sample(rng, "crop"), DEFAULT)


def test_strategies() -> None:
    assert parse_strategy("colour_crop") == Strategy(("color", "crop"))
    assert parse_strategy("color_flip").without("flip") == Strategy(("color",))
    assert parse_strategy("color").without("flip") == Strategy(("color",))
    assert parse_strategy("none") == parse_strategy(Strategy().text) == Strategy()
    assert parse_strategy(DEFAULT.text) == DEFAULT
    with pytest.raises(UsageError, match="unknown augmentation op 'colr'; did you mean 'color'"):
        parse_strategy("crop_colr")
    with pytest.raises(UsageError, match="unknown augmentation op ''"):
        parse_strategy("")
    with pytest.raises(UsageError, match="unknown augmentation op 'flop'"):
        DEFAULT.without("flop")
    with pytest.raises(UsageError, match="'color' is named twice"):
        parse_strategy("color_colour")
    with pytest.raises(UsageError, match=r"crop must be in 0 … 1, got 2"):
        Strategy(crop=2)
    with pytest.raises(UsageError, match=r"scale must be at least 1, got 0\.5"):
        Strategy(scale=0.5)
    with pytest.raises(UsageError, match="rotate must be at least 0, got nan"):
        Strategy(rotate=math.nan)
    for empty in (sample_one, lambda rng, s: augment_each(torch.zeros(1, 1, 4, 4), rng, s)):
        with pytest.raises(UsageError, match="strategy is empty"):
            empty(np.random.default_rng(0), Strategy())


# --- the loop's choice --------------------------------------------------------------------------


def test_siamese_op_draws_one_op_and_leaves_out_flip() -> None:
    choice: Augmentation = SiameseOp(strategy="colour_crop_flip")
    assert choice == SiameseOp(strategy="color_crop_flip")
    assert choice.for_data(True) == choice
    ops = {d.op for s in range(60) for d in choice.draw(stream(0, "a", s))}
    assert ops == {"color", "crop", "flip"}
    assert all(len(choice.draw(stream(0, "a", s))) == 1 for s in range(60))
    no_flip = choice.for_data(False)
    assert no_flip == SiameseOp(strategy="color_crop")
    assert {d.op for s in range(60) for d in no_flip.draw(stream(0, "a", s))} == {"color", "crop"}
    assert SiameseOp(strategy="flip").for_data(False).draw(stream(0, "a")) == ()


def test_siamese_sequence_applies_every_op_in_order() -> None:
    choice: Augmentation = SiameseSequence(strategy="rotate_color_flip").for_data(False)
    x = images(4, (3, 9, 9))
    draws = choice.draw(stream(0, "a"))
    assert [d.op for d in draws] == ["rotate", "color"]
    rotated, colored = draws
    same(choice.apply(x, draws), slow(slow(x, rotated), colored))
    assert not torch.allclose(choice.apply(x, draws), slow(slow(x, colored), rotated))


def test_no_augmentation() -> None:
    choice: Augmentation = NoAugmentation()
    x = images(2, (1, 4, 4))
    draws = choice.for_data(False).draw(stream(0, "a"))
    assert draws == ()
    assert choice.apply(x, draws) is x


@pytest.mark.parametrize("choice", [NoAugmentation(), SiameseOp(), SiameseSequence()])
def test_choices_remember_nothing(choice: Augmentation) -> None:
    before = choice.draw(stream(0, "a", 1))
    state = choice.state()
    assert state == {}
    choice.load_state(state)
    after = choice.draw(stream(0, "a", 1))
    assert [d.op for d in after] == [d.op for d in before]
    assert all(torch.equal(a.values, b.values) for a, b in zip(after, before, strict=True))


def test_a_misspelt_strategy_is_refused_when_it_is_named() -> None:
    for choice in (SiameseOp, SiameseSequence):
        with pytest.raises(UsageError, match="did you mean 'rotate'"):
            choice(strategy="crop_rotat")


# --- training -----------------------------------------------------------------------------------


def test_augment_batch_is_one_op_with_values_of_each_image() -> None:
    x = images(5, (3, 8, 8))
    seen = set()
    for step in range(20):
        draw = sample_one(stream(0, "t", step), DEFAULT, 5)
        seen.add(draw.op)
        assert len(np.unique(draw.values.numpy(), axis=0)) == 5
        same(augment_batch(x, stream(0, "t", step), DEFAULT), slow(x, draw))
    assert len(seen) > 3


def test_augment_each_gives_every_image_its_own_op() -> None:
    strategy = parse_strategy("flip_color_rotate_cutout")
    x = images(40, (3, 8, 8))
    out = augment_each(x, stream(0, "t"), strategy)
    rng = stream(0, "t")
    chosen = rng.integers(4, size=40)
    assert np.bincount(chosen).min() > 3
    wanted = torch.empty_like(x)
    for number, op in enumerate(strategy.ops):
        (rows,) = np.nonzero(chosen == number)
        for row, u in zip(rows, sample(rng, op, len(rows)).values, strict=True):
            wanted[row] = slow(x[row][None], Draw(op, u[None]))[0]
    same(out, wanted)
    few = images(2, (3, 8, 8))
    assert augment_each(few, stream(0, "t"), strategy).shape == few.shape


@pytest.mark.parametrize("flip", [False, True])
def test_augment_idc(flip: bool) -> None:
    x = images(4, (3, 8, 8))
    seen = set()
    for step in range(12):
        rng = stream(0, "t", step)
        one = ("crop", "scale", "rotate")[int(rng.integers(3))]
        seen.add(one)
        wanted = x
        for op in ["flip", "color", one] if flip else ["color", one]:
            wanted = slow(wanted, sample(rng, op, 4))
        same(augment_idc(x, stream(0, "t", step), flip), wanted)
    assert seen == {"crop", "scale", "rotate"}


def slow_cutmix(x: Image, rng: np.random.Generator) -> tuple[Image, list[int], float]:
    n, _, h, w = x.shape
    assert rng.random() < 1
    side = math.sqrt(1 - rng.beta(1.0, 1.0))
    partners = rng.permutation(n).tolist()
    tall, wide = int(h * side), int(w * side)
    top = int(rng.integers(h)) - tall // 2
    left = int(rng.integers(w)) - wide // 2
    out, own = x.copy(), 0
    for i in range(h):
        for j in range(w):
            if top <= i < top + tall and left <= j < left + wide:
                for k in range(n):
                    out[k, :, i, j] = x[partners[k], :, i, j]
            else:
                own += 1
    return out, partners, own / (h * w)


def test_cutmix_agrees_with_a_slow_one() -> None:
    x, labels = images(6, (3, 9, 14)), torch.arange(6) * 10
    clipped = False
    for step in range(40):
        before = x.clone()
        mixed, own, other, share = cutmix(x, labels, stream(0, "c", step), p=1)
        wanted, partners, wanted_share = slow_cutmix(x.numpy(), stream(0, "c", step))
        assert torch.equal(x, before)
        assert torch.equal(mixed, torch.from_numpy(wanted))
        assert own is labels
        assert other.tolist() == [10 * p for p in partners]
        assert share == pytest.approx(wanted_share)
        assert 0 <= share <= 1
        rng = stream(0, "c", step)
        rng.random()
        clipped |= share > rng.beta(1.0, 1.0) + 0.2
    assert clipped


def test_cutmix_happens_with_its_probability() -> None:
    x, labels = images(4, (1, 8, 8)), torch.arange(4)
    mixed = 0
    for step in range(400):
        out, own, other, share = cutmix(x, labels, stream(1, "c", step))
        if out is x:
            assert own is other
            assert share == 1
        else:
            mixed += 1
    assert 160 <= mixed <= 240
    assert cutmix(x, labels, stream(0, "c"), p=0)[0] is x


def test_cutmix_lets_gradients_through() -> None:
    x = images(3, (1, 5, 5)).requires_grad_()
    labels = torch.arange(3)
    mix = torch.autograd.gradcheck(lambda x: cutmix(x, labels, stream(0, "c", 1), p=1)[0], (x,))
    assert mix


def test_cutmix_refuses_what_it_cannot_do() -> None:
    x, labels = torch.zeros(2, 1, 4, 4), torch.arange(2)
    with pytest.raises(UsageError, match="beta must be positive, got 0"):
        cutmix(x, labels, np.random.default_rng(0), beta=0)
    with pytest.raises(UsageError, match=r"p must lie in 0 … 1, got 1\.5"):
        cutmix(x, labels, np.random.default_rng(0), p=1.5)
