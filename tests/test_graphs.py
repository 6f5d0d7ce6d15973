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
from torch.nn.functional import grid_sample

from condensery import nets, step_blocks, step_graph
from condensery.augment.resample import AffineSample, affine_grid, gathered, reach_of
from condensery.data import load
from condensery.engine import Plan, exact_plan, graphs
from condensery.errors import UsageError
from condensery.loop import Condenser
from condensery.planning import configure
from condensery.protocol import Protocol
from condensery.supply.ahead import RandomNetworks
from condensery.supply.networks import random_network
from condensery.task import Task
from condensery.train import Course, Tensors, Trainer


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
            rng = graphs_stream(number, epoch)
            course.epoch(data, rng, epoch)
    return [{name: w.detach().clone() for name, w in one.state_dict().items()} for one in built]


def graphs_stream(number: int, epoch: int) -> Any:
    from condensery.randomness import stream

    return stream(0, "test", number, epoch)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("recipe", ["dm", "dc", "dsa"])
def test_the_same_seed_gives_the_same_bytes_on_a_gpu(recipe: str) -> None:
    data = load("digits")
    config = configure(data, recipe, {"ipc": 2, "iterations": 3})
    from condensery.engine import choose_plan

    plan = choose_plan("auto", shape=data.train.shape, images=1e5, device="cuda")
    first, second = (Condenser(data, config, plan).run().stored for _ in range(2))
    assert torch.equal(first, second)


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
