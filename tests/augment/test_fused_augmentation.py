"""Augmentation in one kernel, against the ops one by one.

Triton's interpreter runs the kernels on a CPU, in a process of its own, where Triton is installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from condensery.augment import Draw, parse_strategy
from condensery.augment import fused as one_kernel
from condensery.augment.draws import sample
from condensery.augment.ops import apply
from condensery.augment.strategy import VALUES

_SCRIPT = """
import numpy as np, torch
from condensery.augment import fused, parse_strategy
from condensery.augment.draws import sample
from condensery.augment.ops import apply
strategy = parse_strategy("color_crop_cutout_flip_scale_rotate")
rng = np.random.default_rng(0)
for shape in [(6, 3, 8, 8), (6, 1, 9, 14)]:
    draws = [sample(rng, op) for op in strategy.ops]
    x = torch.randn(2 * shape[0], *shape[1:], requires_grad=True)
    slope = torch.randn_like(x)
    wide = x.detach().double().requires_grad_()
    parts = [apply(part, draw, strategy) for part, draw in zip(wide.split(2), draws)]
    wanted = torch.cat(parts)
    table = np.concatenate([fused.table_of(draw, strategy, *shape[2:]) for draw in draws])
    found = fused.augment(x, table, [2] * 6)
    for place, op in enumerate(strategy.ops):
        one, other = found[2 * place : 2 * place + 2], wanted[2 * place : 2 * place + 2]
        assert torch.allclose(one.double(), other, atol=2e-5), (op, shape)
    (back,) = torch.autograd.grad(found, x, slope)
    (oracle,) = torch.autograd.grad(wanted, wide, slope.double())
    for place, op in enumerate(strategy.ops):
        one, other = back[2 * place : 2 * place + 2], oracle[2 * place : 2 * place + 2]
        assert torch.allclose(one.double(), other, atol=5e-5), (op, shape)
    half = fused.augment(x.detach().bfloat16(), table, [2] * 6)
    assert half.dtype == torch.bfloat16 and (half.double() - wanted).abs().max() < 0.1
    each = sample(rng, "rotate", len(x))
    alone = fused.augment(x.detach(), fused.table_of(each, strategy, *shape[2:]))
    assert torch.allclose(alone.double(), apply(wide.detach(), each, strategy), atol=2e-5)
print("agree")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernels_are_the_ops() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "agree", done.stderr


def _slow(x: torch.Tensor, row: np.ndarray) -> torch.Tensor:
    """The forward kernel, pixel by pixel."""
    c, h, w = x.shape
    out = torch.zeros_like(x)
    if row[0] > 0.5:
        grey = x.mean(0)
        shift, saturation, contrast = (float(v) for v in row[1:4])
        rest = contrast * (1 - saturation) * grey + (1 - contrast) * grey.mean() + shift
        return rest + x * contrast * saturation
    middle = np.array([(w - 1) / 2, (h - 1) / 2])
    matrix = row[1:5].reshape(2, 2).astype(np.float64)
    for y in range(h):
        for x_ in range(w):
            if row[7] <= y < row[7] + row[9] and row[8] <= x_ < row[8] + row[10]:
                continue
            qx, qy = matrix @ (np.array([x_, y]) - middle) + middle + row[5:7]
            for py in (int(np.floor(qy)), int(np.floor(qy)) + 1):
                for px in (int(np.floor(qx)), int(np.floor(qx)) + 1):
                    if 0 <= px < w and 0 <= py < h:
                        out[:, y, x_] += (1 - abs(qx - px)) * (1 - abs(qy - py)) * x[:, py, px]
    return out


@pytest.mark.parametrize("op", ["color", "crop", "cutout", "flip", "scale", "rotate"])
@pytest.mark.parametrize("size", [(8, 8), (7, 10)])
def test_the_table_says_what_the_ops_do(op: str, size: tuple[int, int]) -> None:
    strategy = parse_strategy("color_crop_cutout_flip_scale_rotate")
    rng = np.random.default_rng(1)
    for _ in range(4):
        draw = sample(rng, op, 3)
        x = torch.randn(3, 2, *size, dtype=torch.float64)
        wanted = apply(x, draw, strategy)
        rows = one_kernel.table_of(draw, strategy, *size)
        for image, row, other in zip(x, rows, wanted, strict=True):
            assert torch.allclose(_slow(image, row), other, atol=1e-5)


def test_ends_of_the_draws() -> None:
    """Whole numbers are those of the ops at 0 and just below 1."""
    strategy = parse_strategy("crop_cutout")
    for op in strategy.ops:
        ends = torch.tensor([[0.0] * VALUES[op], [1 - 2.0**-24] * VALUES[op]])
        x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
        wanted = apply(x, Draw(op, ends), strategy)
        rows = one_kernel.table_of(Draw(op, ends), strategy, 9, 9)
        for image, row, other in zip(x, rows, wanted, strict=True):
            assert torch.allclose(_slow(image, row), other, atol=1e-12)
