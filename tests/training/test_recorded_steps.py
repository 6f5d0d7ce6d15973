"""Recorded calls and training steps: the logic around CUDA graphs, with a recorder for CPUs.

The stand-in runs a part again in place of replaying it, and writes into the same tensors. Tests of
real graphs are skipped without a GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from condensery import nets
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import load
from condensery.errors import UsageError
from condensery.methods.pools.average import Average
from condensery.runtime import graphs
from condensery.runtime.plan import Plan, choose_plan, exact_plan
from condensery.runtime.randomness import stream
from condensery.training import step_blocks, step_graph
from condensery.training.datasets import Tensors
from condensery.training.protocol import Protocol
from condensery.training.trainer import Course, Trainer


def run_again(*works: Callable[[], Any]) -> tuple[list[Callable[[], None]], list[Any]]:
    """What :func:`graphs.record` promises, without a graph."""
    results = [work() for work in works]

    def replay(place: int) -> None:
        held, found = results[place], works[place]()
        if isinstance(held, Tensor):
            held, found = (held,), (found,)
        with torch.no_grad():
            for into, value in zip(held or (), found or (), strict=True):
                into.copy_(value)

    return [partial(replay, place) for place in range(len(works))], results


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "record", run_again)
    monkeypatch.setattr(step_graph, "record", run_again)


def graphed(plan: Plan, **changes: Any) -> Plan:
    """A plan with graphs on a CPU, which plans refuse."""
    plan = dataclasses.replace(plan)
    for name, value in {**changes, "graphs": True}.items():
        object.__setattr__(plan, name, value)
    return plan


def test_graphs_need_a_gpu() -> None:
    with pytest.raises(UsageError, match=r"plan\.graphs needs a CUDA device"):
        Plan(graphs=True)


def test_several_forward_passes_before_a_backward_pass(recorder: None) -> None:
    """What a graph remembers is the last forward pass; an earlier one is done again."""
    weights = {"w": torch.randn(4, 6, dtype=torch.float64)}

    def call(weights: Any, images: Tensor, labels: Tensor, share: Tensor) -> Tensor:
        return share @ torch.tanh(images @ weights["w"].T).square()

    call_again = graphs.Graphed(call)
    labels, share = torch.zeros(5, dtype=torch.int64), torch.rand(2, 5, dtype=torch.float64)
    one, two = (torch.randn(5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    slope = torch.randn(2, 4, dtype=torch.float64)
    first, second = (call_again(weights, images, labels, share) for images in (one, two))
    assert torch.equal(first, call(weights, one, labels, share))
    second.backward(slope)
    first.backward(slope)
    for images in (one, two):
        (wanted,) = torch.autograd.grad(call(weights, images, labels, share), images, slope)
        assert torch.equal(images.grad, wanted)  # type: ignore[arg-type]
    with torch.no_grad():
        before = call_again(weights, one, labels, share)
        held = before.clone()
        call_again(weights, two, labels, share)
    assert torch.equal(before, held)  # results are not overwritten by the next call


def test_code_that_cannot_be_recorded_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*works: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", refuse)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    call = graphs.Graphed(lambda weights, images, labels, share: share @ images * weights["w"])
    share = torch.ones(1, 3)
    found = call({"w": torch.tensor(2.0)}, torch.ones(3, 2), torch.zeros(3), share)
    assert found.tolist() == [[6.0, 6.0]]


@pytest.mark.parametrize("recipe", ["dm", "dc", "gm_mda", "idc", "cafe"])
def test_a_step_with_recorded_calls_is_the_exact_step(recorder: None, recipe: str) -> None:
    data = load("digits")
    small = {"real_batch": 12, "supply.net": "convnet2:width=8"}
    config = configure(data, recipe, {"ipc": 2, "iterations": 1, **small})
    exact = exact_plan("cpu", 1, "float64")
    plain = Condenser(data, config, exact)
    fast = Condenser(data, config, graphed(exact, chunk=8192, together=True))
    for step in range(2):  # the second one replays
        network = plain.supply.new(step)
        slopes = [
            run.matcher.gradient(network, run.stored.detach(), step, 0)[1] for run in (plain, fast)
        ]
        assert (slopes[0] - slopes[1]).norm() <= 1e-9 * slopes[0].norm()


def _trained(plan: Plan, momentum: float, count: int) -> list[dict[str, Tensor]]:
    """Weights of networks whose epochs take turns."""
    # Rates that float32, in which graphs hold them, has exactly.
    protocol = Protocol(
        name="x",
        epochs=3,
        batch=8,
        rate=0.0625,
        drops=[0.5],
        drop_factor=0.5,
        momentum=momentum,
        weight_decay=1e-3,
    )
    trainer = Trainer(protocol, plan, flip=False, seed=0)
    images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    data = Tensors(images, torch.arange(20) % 4)
    torch.manual_seed(1)
    built = [nets.build("convnet2:width=8", (1, 8, 8), 4).double() for _ in range(count)]
    courses = [Course(trainer, network) for network in built]
    for epoch in range(3):
        for number, course in enumerate(courses):
            rng = stream(0, "test", number, epoch)
            course.epoch(data, rng, epoch)
    return [{name: w.detach().clone() for name, w in one.state_dict().items()} for one in built]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("count", [1, 2])
def test_recorded_training_is_plain_training(recorder: None, momentum: float, count: int) -> None:
    """Networks that take turns move in and out of the graph's places, momenta and all."""
    exact = exact_plan("cpu", 1, "float64")
    wanted = _trained(exact, momentum, count)
    found = _trained(graphed(exact), momentum, count)
    for one, other in zip(wanted, found, strict=True):
        for name, value in one.items():
            assert torch.allclose(value, other[name], rtol=1e-10, atol=1e-12), name


def test_averages_follow_recorded_training(recorder: None) -> None:
    """A graph holds the weights elsewhere, and the average reads and replaces them there."""
    protocol = Protocol(name="x", epochs=2, batch=8, rate=0.0625, momentum=0.9)
    images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    data = Tensors(images, torch.arange(20) % 4)
    exact, found = exact_plan("cpu", 1, "float64"), []
    for plan in (exact, graphed(exact)):
        torch.manual_seed(1)
        network = nets.build("convnet2:width=8", (1, 8, 8), 4).double()
        course = Course(Trainer(protocol, plan, flip=False, seed=0), network)
        average = Average(network, 0.5)
        for epoch in range(2):
            for _ in course.steps(data, stream(0, "test", epoch), epoch):
                average.step()
        own = [w.detach().clone() for w in network.parameters()]
        with average.in_place():
            found.append([w.detach().clone() for w in network.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(own, network.parameters(), strict=True))
        assert not all(torch.allclose(a, b) for a, b in zip(own, found[-1], strict=True))
    for plain, recorded in zip(*found, strict=True):
        assert torch.allclose(plain, recorded, rtol=1e-8, atol=1e-9)


_AUGMENTED: dict[str, dict[str, Any]] = {
    "plain": {},
    "one op a batch": {"augmentation": "batch_op", "strategy": "color_crop_cutout_scale_rotate"},
    "one op an image": {"augmentation": "image_op", "strategy": "crop_scale_rotate"},
    "idc with cutmix": {"augmentation": "idc", "cutmix": 0.5},
    "sequence with cutmix": {"augmentation": "sequence", "strategy": "color_crop", "cutmix": 1.0},
}


@pytest.mark.parametrize("case", _AUGMENTED)
def test_batches_augmented_together_are_those_augmented_alone(
    recorder: None, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Epochs, parts of a split, and sets: the same draws, whatever stands beside them."""
    monkeypatch.setattr(step_blocks, "_TOGETHER", 64 * 25)
    rates: dict[str, Any] = {"rate": 0.0625, "drop_factor": 0.5, "momentum": 0.5}
    protocol = Protocol(name="x", epochs=4, batch=8, **rates, **_AUGMENTED[case])
    exact = exact_plan("cpu", 1, "float64")
    images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(20) % 4
    found = []
    for plan in (exact, graphed(exact)):
        torch.manual_seed(1)
        network = nets.build("convnet2:width=8", (1, 8, 8), 4).double()
        trainer = Trainer(protocol, plan, flip=False, seed=0)
        trainer.train(network, Tensors(images, labels), 0)
        course = Course(trainer, network)
        course.some(Tensors(images, labels), 13, (1, 2))
        course.epochs(images, labels, range(2), (3, 4))
        course.real_epochs(Tensors(images, labels), range(2), (5, 6))
        found.append([w.detach().clone() for w in network.parameters()])
    for plain, together in zip(*found, strict=True):
        assert torch.allclose(plain, together, rtol=1e-9, atol=1e-12)


def test_trained_networks_own_their_weights(recorder: None) -> None:
    plan = graphed(exact_plan("cpu", 1, "float64"))
    protocol = Protocol(name="x", epochs=1, batch=8, rate=0.05, momentum=0.9)
    trainer = Trainer(protocol, plan, flip=False, seed=0)
    data = Tensors(torch.randn(8, 1, 8, 8).double(), torch.arange(8) % 4)
    first, second = (nets.build("convnet2:width=8", (1, 8, 8), 4).double() for _ in range(2))
    trainer.train(first, data, 0)
    held = [w.detach().clone() for w in first.parameters()]
    trainer.train(second, data, 1)
    assert all(torch.equal(a, b) for a, b in zip(held, first.parameters(), strict=True))
    places = {w.data_ptr() for w in first.parameters()}
    assert places.isdisjoint(w.data_ptr() for w in second.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("recipe", ["dm", "dc", "dsa"])
def test_the_same_seed_gives_the_same_bytes_on_a_gpu(recipe: str) -> None:
    data = load("digits")
    config = configure(data, recipe, {"ipc": 2, "iterations": 3})
    plan = choose_plan("auto", shape=data.train.shape, images=1e5, device="cuda")
    first, second = (Condenser(data, config, plan).run().stored for _ in range(2))
    assert torch.equal(first, second)
