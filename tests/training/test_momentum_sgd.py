"""The optimiser takes torch's steps, bit for bit, without torch's compiler."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from condensery import condense, evaluate
from condensery.training.momentum_sgd import MomentumSGD
from tests.programs import Program

SETTINGS: list[dict[str, Any]] = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "weight_decay": 5e-4},
    {"lr": 0.01, "momentum": 0.5, "weight_decay": 5e-4},
]


def _parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 3, 3), (7,), (5, 2)]
    return [torch.randn(s, generator=generator).requires_grad_() for s in shapes]


def _walk(optimizer: Any, parameters: list[Tensor], rates: list[float]) -> list[Tensor]:
    """Steps along made gradients; the last parameter has none at first, and none in between."""
    generator = torch.Generator().manual_seed(1)
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        for one in parameters:
            one.grad = torch.randn(one.shape, generator=generator)
        if step in (0, 3):
            parameters[-1].grad = None
        optimizer.step()
    return [one.detach().clone() for one in parameters]


@pytest.mark.parametrize("settings", SETTINGS)
def test_steps_are_those_of_torch(settings: dict[str, Any]) -> None:
    mine, theirs = _parameters(), _parameters()
    rates = [settings["lr"] * factor for factor in (1, 1, 0.5, 0.5, 2)]
    own, plain = MomentumSGD(mine, **settings), torch.optim.SGD(theirs, **settings)
    for a, b in zip(_walk(own, mine, rates), _walk(plain, theirs, rates), strict=True):
        assert torch.equal(a, b)
    if "momentum" in settings:
        for a, b in zip(mine, theirs, strict=True):
            assert torch.equal(own.state[a]["momentum_buffer"], plain.state[b]["momentum_buffer"])
    assert all(one.grad is None for one in _without_gradients(own, mine))


def _without_gradients(optimizer: MomentumSGD, parameters: list[Tensor]) -> list[Tensor]:
    optimizer.zero_grad()
    return parameters


def test_a_group_has_settings_of_its_own() -> None:
    mine, theirs = _parameters(), _parameters()

    def groups(of: list[Tensor]) -> list[dict[str, Any]]:
        return [{"params": of[:1]}, {"params": of[1:], "lr": 0.3, "momentum": 0.0}]

    own = MomentumSGD(groups(mine), lr=0.1, momentum=0.9)
    plain = torch.optim.SGD(groups(theirs), lr=0.1, momentum=0.9)
    for a, b in zip(_walk(own, mine, [0.1] * 3), _walk(plain, theirs, [0.1] * 3), strict=True):
        assert torch.equal(a, b)


def _trains() -> bool:
    """Whether a program that condenses and evaluates has imported torch's compiler."""
    how: dict[str, Any] = {"network": "convnet1:width=4", "epochs": 1, "repeats": 1}
    given = {"supply.net": "convnet1:width=4", "real_batch": 8}
    made = condense("digits", "dsa", ipc=1, iterations=1, plan="exact", overrides=given)
    evaluate(made, "digits", plan="exact", **how)
    return "torch._dynamo" in sys.modules


@pytest.mark.xdist_group("forked")
def test_training_imports_no_compiler() -> None:
    """Which would cost every command that trains seconds of its start."""
    program = Program(_trains)
    program.communicate(60)
    assert program.returncode == 0
