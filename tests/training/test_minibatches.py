"""Batches in pieces: what fills them counts nothing, and compiled calls have one shape."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from condensery import nets
from condensery.data import Data
from condensery.runtime.plan import Plan, exact_plan
from condensery.training import losses
from condensery.training.datasets import Tensors
from condensery.training.minibatches import pieces_of, plain_targets
from condensery.training.protocol import Protocol
from condensery.training.trainer import Trainer


@pytest.mark.parametrize(
    ("n", "chunk", "full", "sizes"),
    [
        (7, None, 0, [7]),
        (7, 4, 0, [4, 4]),
        (128, 64, 128, [64, 64]),
        (104, 64, 128, [64, 64]),
        (8, 32, 64, [32]),
        (8, None, 64, [64]),
        (100, 41, 256, [37, 37, 37]),
    ],
)
def test_smaller_batches_take_the_shape_of_full_ones(
    n: int, chunk: int | None, full: int, sizes: list[int]
) -> None:
    images = torch.randn(n, 1, 2, 2)
    targets = plain_targets(images, torch.arange(n) % 3)
    pieces = pieces_of(images, targets, chunk, full)
    assert [len(piece) for piece, _ in pieces] == sizes
    assert torch.equal(torch.cat([piece for piece, _ in pieces])[:n], images)
    assert torch.equal(torch.cat([target for _, target in pieces])[:n], targets)
    assert not torch.cat([target for _, target in pieces])[n:].any()


@pytest.mark.parametrize("count", [9, 3])
def test_compiled_training_has_one_shape_and_the_same_result(
    count: int, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the compiler notes every shape that it would compile for."""
    shapes = set()

    def noted(function: Any) -> Any:
        def call(weights: Any, images: Tensor, *rest: Any) -> Any:
            shapes.add(tuple(images.shape))
            return function(weights, images, *rest)

        return call

    monkeypatch.setattr(losses, "compiled", noted)
    train = tiny_data.train
    images = train.normalised(torch.arange(count), dtype=torch.float64)
    data = Tensors(images, train.labels_at(torch.arange(count)))
    protocol = Protocol(name="x", epochs=2, batch=4, drops=[], augmentation="none")
    begun = nets.build("convnet1:width=4", train.shape, train.classes).double()
    found = []
    for plan in (
        exact_plan("cpu", 1, "float64"),
        Plan(compile=True, chunk=2, dtype="float64", real_dtype="float64", update_dtype="float64"),
    ):
        network = copy.deepcopy(begun)
        Trainer(protocol, plan, flip=False, seed=0).train(network, data, 0)
        found.append(torch.cat([weight.flatten() for weight in network.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)
    assert not torch.equal(found[0], torch.cat([w.flatten() for w in begun.parameters()]))
    assert len(shapes) == 1
