"""The mathematics of the objectives, as pure functions of tensors."""

from __future__ import annotations

from torch import Tensor


def weighted_mean_rows(values: Tensor, weights: Tensor) -> Tensor:
    """Class means as one matrix product.

    Args:
        values: N×d, one row an example.
        weights: k×N; row c holds each example's share in the mean of class c, 0 for the others.

    Returns:
        k×d, in the type of ``weights``.
    """
    return weights @ values.to(weights.dtype)


def squared_mean_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Linear-kernel MMD between class means: Σ_c ‖real_c − synthetic_c‖² (DM, equations 5 and 6).

    Args:
        real: k×d class means of the real batches.
        synthetic: k×d class means of the synthetic batches.

    Returns:
        A scalar, summed over classes and dimensions.
    """
    return (real - synthetic).square().sum()
