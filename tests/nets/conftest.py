"""Fixtures of the networks' tests."""

from __future__ import annotations

import pytest
from torch import Tensor, nn


@pytest.fixture
def shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms and ReLUs check their input's shape and give it back.

    Tensors without data are normalised in Python, which takes longer than all else that is asked
    of their shapes. What norms compute is tested with numbers.
    """

    def batch(norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
        assert maps.dim() == 4
        assert maps.shape[1] == norm.num_features
        return maps

    def groups(norm: nn.GroupNorm, maps: Tensor) -> Tensor:
        assert maps.shape[1] == norm.num_channels
        return maps

    def layer(norm: nn.LayerNorm, maps: Tensor) -> Tensor:
        assert maps.shape[1:] == norm.normalized_shape
        return maps

    for kind, forward in ((nn.BatchNorm2d, batch), (nn.GroupNorm, groups), (nn.LayerNorm, layer)):
        monkeypatch.setattr(kind, "forward", forward)
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, maps: maps)
