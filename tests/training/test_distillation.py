"""Distillation, step-limited training, and networks that are trained on."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from condensery import UsageError, nets
from condensery.nets.widen import widened
from condensery.runtime.plan import exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.datasets import Joined, Split, Tensors
from condensery.training.distillation import Distillation, Teacher
from condensery.training.minibatches import evenly, plain_targets
from condensery.training.protocol import Protocol
from condensery.training.stacked import StackedNetworks
from condensery.training.trainer import Course, Trainer
from tests.conftest import tiny

PLAN = exact_plan("cpu", 1, "float64")
SHAPE = (1, 8, 8)
DATA = tiny()


def network(classes: int = 3, seed: int = 0, spec: str = "convnet2:width=4") -> torch.nn.Module:
    with fork_rng(seed, "test"):
        return nets.build(spec, SHAPE, classes).double()


def test_the_loss_is_the_slow_formula() -> None:
    old, new, how = network(2, 1), network(3, 2), Distillation(weight=0.7, temperature=2.5)
    images, labels = Split(DATA.train, torch.float64).take(torch.arange(5))
    teacher = Teacher(old, how)
    trainer = Trainer(Protocol(name="x", epochs=1), PLAN, flip=False, seed=0)
    function = trainer.losses.of(new, None, distilled=how)
    weights: dict[str, torch.Tensor] = dict(new.named_parameters())
    targets = teacher.beside(images, plain_targets(images, labels))
    found = function(weights, images, targets).detach()

    with torch.no_grad():
        said, ours = old.eval()(images), new(images)
    total = 0.0
    for row in range(5):
        p = [math.exp(float(x) / 2.5) for x in said[row]]
        q = [math.exp(float(x) / 2.5) for x in ours[row, :2]]
        for a, b in zip(p, q, strict=True):
            total += a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) / 5
    wanted = float(cross_entropy(ours, labels)) + 0.7 * 2.5**2 * total
    assert float(found) == pytest.approx(wanted, rel=1e-10)
    # In pieces, whose last one is filled up with rows that have no share.
    pieces = evenly(images, targets, 2)
    assert float(sum(function(weights, *piece).detach() for piece in pieces)) == pytest.approx(
        wanted
    )


def test_a_network_follows_its_teacher_step_by_step() -> None:
    protocol = Protocol(name="x", epochs=2, batch=64, drops=[], momentum=0.0, weight_decay=0.0)
    how = Distillation()
    old, new = network(3, 1), network(3, 2)
    slow = copy.deepcopy(new)
    data = Split(DATA.train, torch.float64)
    Trainer(protocol, PLAN, flip=False, seed=0).train(new, data, 0, teacher=Teacher(old, how))
    images, labels = data.take(torch.arange(len(data)))
    for _ in range(2):
        said = (old.eval()(images) / 2).softmax(1).detach()
        ours = (slow(images) / 2).log_softmax(1)
        apart = (said * (said.log() - ours)).sum(1).mean()
        loss = cross_entropy(slow(images), labels) + 4 * apart
        slopes = torch.autograd.grad(loss, list(slow.parameters()))
        with torch.no_grad():
            for weight, slope in zip(slow.parameters(), slopes, strict=True):
                weight.sub_(0.01 * slope)
    for a, b in zip(new.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_training_is_limited_to_steps() -> None:
    # Two epochs and a half, at the rates of a protocol that drops at half of the steps.
    protocol = Protocol(name="x", epochs=50, batch=14, drops=[0.5], momentum=0.0, weight_decay=0.0)
    data = Split(DATA.train, torch.float64)
    one, slow = network(), network()
    Trainer(protocol, PLAN, flip=False, seed=3, purpose="training").train(one, data, 7, steps=5)
    trainer = Trainer(protocol, PLAN, flip=False, seed=3)
    course, done = Course(trainer, slow), 0
    for epoch in range(3):
        rng = stream(3, "training", 7, epoch, 0)
        order = torch.from_numpy(rng.permutation(len(data)))
        for rows in order.split(14):
            if done < 5:
                rate = 0.01 if done < 2 else 0.001  # round(.5 × 5) = 2
                course.optimizer.param_groups[0]["lr"] = rate
                trainer.step(course, data.take(rows), rng)
                done += 1
    for a, b in zip(one.parameters(), slow.parameters(), strict=True):
        assert torch.equal(a, b)
    together = [network()]
    stacked = StackedNetworks(Trainer(protocol, PLAN, flip=False, seed=3), together)
    stacked.train(data, [7], steps=5)
    for a, b in zip(together[0].parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spec", ["convnet2:width=4", "mlp", "resnet10:norm=batch"])
def test_a_wider_head_keeps_its_rows(spec: str) -> None:
    shape = (3, 32, 32) if spec.startswith("resnet") else SHAPE
    with fork_rng(0, "test"):
        old = nets.build(spec, shape, 3).double()
    with fork_rng(1, "test"):
        wide = widened(old, spec, shape, 5)
    images = torch.randn(4, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, wanted = wide.eval()(images), old.eval()(images)
    assert found.shape == (4, 5)
    torch.testing.assert_close(found[:, :3], wanted)
    with pytest.raises(UsageError, match="cannot be widened to 2"):
        widened(old, spec, shape, 2)


def test_two_sets_are_trained_on_as_one() -> None:
    split = Split(DATA.train, torch.float64)
    more = Tensors(torch.arange(4.0).double().view(4, 1, 1, 1).expand(4, 1, 8, 8), torch.arange(4))
    both = Joined(split, more)
    assert len(both) == len(split) + 4
    rows = torch.tensor([len(split) + 3, 0, len(split), len(split) - 1])
    images, labels = both.take(rows)
    own, names = split.take(torch.tensor([0, len(split) - 1]))
    assert torch.equal(images[[1, 3]], own)
    assert labels.tolist() == [3, int(names[0]), 0, int(names[1])]
    assert images[0].unique().tolist() == [3.0]
    assert images[2].unique().tolist() == [0.0]
