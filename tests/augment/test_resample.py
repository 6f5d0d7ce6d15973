"""The gathered gradient of affine resampling, against autograd through torch's sampler."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample

from condensery.augment.resample import AffineSample, affine_grid, gathered, reach_of

_MATRICES = {
    "smaller": [[1.2, 0.0, 0.0, 1.1]],
    "larger": [[1 / 1.2, 0.0, 0.0, 0.9]],
    "each its own": [[1.1, 0.0, 0.0, 0.85], [0.9, 0.0, 0.0, 1.2], [1.0, 0.0, 0.0, 1.0]],
}


def _turn(degrees: float, height: int, width: int) -> list[float]:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    cos, sin, aspect = float(angle.cos()), float(angle.sin()), (height - 1) / (width - 1)
    return [cos, -sin * aspect, sin / aspect, cos]


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
@pytest.mark.parametrize("case", [*_MATRICES, "turned 15", "turned 45", "turned -120"])
def test_gathered_slopes_are_the_samplers(case: str, size: tuple[int, int]) -> None:
    """The oracle is autograd through torch's own sampler, which is exact on a CPU."""
    rows = [_turn(float(case.split()[1]), *size)] if "turned" in case else _MATRICES[case]
    matrix = torch.tensor(rows, dtype=torch.float64)
    reach = reach_of(2**0.5) if "turned" in case else reach_of(1.2)
    x = torch.randn(3, 2, *size, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 2, *size, dtype=torch.float64)
    grid = affine_grid(matrix, *size).expand(3, -1, -1, -1)
    plain = grid_sample(x, grid, "bilinear", "zeros", align_corners=True)
    (wanted,) = torch.autograd.grad(plain, x, slope)
    assert torch.allclose(gathered(slope, matrix, reach), wanted, rtol=1e-9, atol=1e-12)
    ours = AffineSample.apply(x, matrix, reach)  # type: ignore[no-untyped-call]
    assert torch.equal(ours, plain)
    (found,) = torch.autograd.grad(ours, x, slope)
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)
