"""Random networks that are drawn ahead of their use, against networks that are built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from condensery.data import load
from condensery.methods.supply.ahead import RandomNetworks
from condensery.methods.supply.random_networks import random_network
from condensery.methods.task import Task


def test_networks_drawn_ahead_are_those_that_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order of iterations, with threads, and for networks that start in their own way."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    task = task_of(load("digits"))
    for spec in ("convnet2:width=8", "mlp", "convnet2:norm=layer"):
        ahead = RandomNetworks(spec, task)
        ahead._plain = False
        for iteration in (0, 1, 2, 5, 6, 3):
            found = ahead.new(iteration)
            wanted = random_network(spec, task, iteration)
            pairs = zip(found.parameters(), wanted.parameters(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs), (spec, iteration)
            assert not any(w.requires_grad for w in found.parameters())
            with torch.no_grad():  # as training would
                next(found.parameters()).add_(1)
            found.requires_grad_(True)
        assert not ahead._plain


def test_networks_that_start_in_their_own_way_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    ahead = RandomNetworks("resnet10", task_of(load("digits", size=32)))
    ahead._plain = False
    ahead.new(0)
    assert ahead._plain


def task_of(data: Any) -> Task:
    return Task.of(data.train, ipc=1, seed=3, flip=False, dtype=torch.float32)
