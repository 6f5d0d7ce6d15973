"""Networks that one call trains come to what each comes to alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from condensery import CondensedSet, evaluate, nets, select_random
from condensery.data import Data
from condensery.errors import UsageError
from condensery.evaluation.cell import Cell
from condensery.evaluation.evaluator import Evaluator, measure_all
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.protocol import Protocol
from condensery.training.stacked import (
    LARGEST,
    StackedNetworks,
    can_be_together,
    how_many,
    saved_bytes,
)
from tests.conftest import tiny

SHAPE = (1, 8, 8)
SINGLE: dict[str, Any] = {"real_dtype": "float32", "update_dtype": "float32"}
EXACT = dataclasses.replace(exact_plan("cpu", 1, "float64"), name="doubles")


def cell(data: Data, net: str = "convnet1:width=4", plan: Plan = EXACT, **changes: Any) -> Cell:
    """One random set of two images per class, under a short protocol."""
    one = select_random(data, ipc=2)
    found = cell_of(Row.named("x", [one], data), data, net, "dc", EvaluationSettings(1, plan=plan))
    settings: dict[str, Any] = {"epochs": 5, "batch": 4, "rate": 0.05, **changes}
    return dataclasses.replace(found, training=Protocol(name="short", **settings))


def grown(evaluator: Evaluator, numbers: list[int], together: bool) -> list[list[Tensor]]:
    """Weights of the evaluator's networks after training."""
    found = [evaluator._new(0, number) for number in numbers]
    with evaluator.cell.plan.applied():
        if together:
            StackedNetworks(evaluator.trainer, found).train(evaluator._source(0), numbers)
        else:
            for number, network in zip(numbers, found, strict=True):
                evaluator.trainer.train(network, evaluator._source(0), number)
    assert not any(network.training for network in found)
    return [[w.detach() for w in network.parameters()] for network in found]


def assert_alike(
    evaluator: Evaluator, numbers: list[int], rtol: float = 1e-9, atol: float = 1e-11
) -> None:
    """Networks trained in one call have the weights of those trained one after another."""
    before = [[w.detach().clone() for w in evaluator._new(0, k).parameters()] for k in numbers]
    first, second = grown(evaluator, numbers, True), grown(evaluator, numbers, False)
    for start, here, there in zip(before, first, second, strict=True):
        for a, b in zip(here, there, strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=atol)
        assert any(float((a - b).abs().max()) > 1e-3 for a, b in zip(here, start, strict=True))
    # They are not one network five times.
    for other in first[1:]:
        assert not torch.allclose(first[0][0], other[0])


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"augmentation": "batch_op"},
        {"augmentation": "image_op", "strategy": "crop_scale_rotate"},
        {"augmentation": "image_op", "strategy": "crop_noise"},
        {"augmentation": "sequence", "strategy": "color_crop_cutout"},
        {"augmentation": "idc", "cutmix": 0.5},
        {"augmentation": "photos", "cutmix": 1.0},
        {"cutmix": 0.5},
    ],
    ids=lambda training: "+".join(str(v) for v in training.values()) or "plain",
)
def test_every_augmentation(training: dict[str, Any], tiny_data: Data) -> None:
    """Each network has the draws that it has alone, and its own partners in CutMix."""
    assert_alike(Evaluator(cell(tiny_data, **training)), [0, 1, 7])


@pytest.mark.parametrize(
    "net",
    [
        "mlp:width=8",
        "lenet",
        "convnet2:width=4,norm=none",
        "convnet2:width=4,norm=group",
        "convnet2:width=4,norm=layer,pooling=max,activation=sigmoid",
        "alexnet",
    ],
)
def test_every_kind_of_layer(net: str) -> None:
    """On images that it can take."""
    data = tiny(channels=3, side=32 if net == "lenet" else 8)
    found = cell(data, net, epochs=2)
    network = nets.build(net, data.train.shape, data.train.classes)
    assert can_be_together(network, data.train.shape, data.train.classes, EXACT)
    assert_alike(Evaluator(found), [0, 1], rtol=1e-7, atol=1e-9)


def test_without_augmentation_it_is_the_plain_loop(tiny_data: Data) -> None:
    """Written once more: SGD on each network by itself, in its own order."""
    found = cell(tiny_data, epochs=4, batch=4, rate=0.05)
    evaluator, one = Evaluator(found), found.row.sets[0]
    (weights, _) = grown(evaluator, [2, 3], True)
    with fork_rng(0, "evaluation-network", 2):
        network = nets.build(found.net, tiny_data.train.shape, tiny_data.train.classes).double()
    sgd = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(4):
        sgd.param_groups[0]["lr"] = 0.05 if epoch < 2 else 0.005
        order = stream(0, "training", 2, epoch, 0).permutation(len(one))
        for rows in np.split(order, range(4, len(one), 4)):
            sgd.zero_grad()
            logits = network(one.images[rows].double())
            nn.functional.cross_entropy(logits, one.labels[rows]).backward()
            sgd.step()
    for here, there in zip(weights, network.parameters(), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", [1, 4, 5])
def test_pieces_of_a_batch_change_nothing(chunk: int, tiny_data: Data) -> None:
    """A chunk bounds the images of one call, over all networks; it need not divide the batch."""
    plain = cell(tiny_data, augmentation="batch_op", epochs=3, batch=5)
    cut = dataclasses.replace(plain, plan=dataclasses.replace(plain.plan, chunk=chunk))
    sizes: list[int] = []
    evaluator = Evaluator(cut)
    alone = evaluator.trainer.losses.of_several(evaluator._new(0, 0))

    def counting(weights: dict[str, Tensor], images: Tensor, targets: Tensor) -> Any:
        sizes.append(images.shape[0] * images.shape[1])
        return alone(weights, images, targets)

    evaluator.trainer.losses._several = counting
    whole, parts = grown(Evaluator(plain), [0, 1], True), grown(evaluator, [0, 1], True)
    assert max(sizes) == max(2, chunk // 2 * 2)
    for here, there in zip(whole, parts, strict=True):
        for a, b in zip(here, there, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("traced_only")
def test_compiled_crowds(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, as a plan for a GPU has it."""
    plan = Plan(name="compiled", compile=True, networks=2)
    made: list[str] = []

    def compiled(function: Any) -> Any:
        made.append(function.__qualname__.split(".")[0])
        return torch.compile(function, dynamic=False)

    monkeypatch.setattr("condensery.training.losses.compiled", compiled)
    assert_alike(Evaluator(cell(tiny_data, plan=plan, augmentation="batch_op")), [0, 1], 1e-3, 1e-5)
    assert made == ["several", "loss_of"]


def test_narrow_passes(tiny_data: Data) -> None:
    """A plan of one's own that trains in bfloat16 does so together as well."""
    plan = dataclasses.replace(
        EXACT, dtype="float32", real_dtype="float32", update_dtype="bfloat16"
    )
    evaluator = Evaluator(cell(tiny_data, plan=plan))
    full = Evaluator(cell(tiny_data, plan=dataclasses.replace(plan, update_dtype="float32")))
    together, alone = (
        torch.cat([w.flatten() for w in grown(evaluator, [0], t)[0]]) for t in (True, False)
    )
    wide = torch.cat([w.flatten() for w in grown(full, [0], True)[0]])
    # Roundings differ where sums are ordered otherwise, and are far from none.
    assert float((together - alone).norm()) < float((together - wide).norm())
    assert float((together - wide).norm()) > 1e-3


@pytest.mark.parametrize("n", [1, 3, 5])
def test_accuracies_do_not_depend_on_who_is_trained_beside(
    n: int, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crowds of two over several sets, the last one smaller, give the numbers of single ones."""
    sets = [select_random(tiny_data, ipc=2, seed=seed) for seed in range(2)]
    groups: list[int] = []
    train = StackedNetworks.train

    def counted(self: StackedNetworks, *arguments: Any, **settings: Any) -> None:
        groups.append(len(self.networks))
        train(self, *arguments, **settings)

    monkeypatch.setattr(StackedNetworks, "train", counted)

    def accuracies(networks: int) -> Any:
        plan = dataclasses.replace(EXACT, networks=networks)
        how: dict[str, Any] = {"nets": "convnet1:width=4", "protocol": "dsa", "epochs": 6}
        (row,) = evaluate({"row": sets}, tiny_data, repeats=n, plan=plan, **how)
        assert ("up to 2 networks together" in row.plan) == (networks == 2)
        return row.sets

    assert accuracies(2) == accuracies(1)
    assert groups == 2 * [min(2, n - first) for first in range(0, n, 2)]


def test_whole_splits_have_their_own_schedule(tiny_data: Data) -> None:
    """The rate by step, and rows of a split instead of tensors."""
    row = Row.of("whole(epochs=2)", tiny_data)
    found = cell_of(row, tiny_data, "convnet1:width=4", "dsa", EvaluationSettings(1, plan=EXACT))
    assert found.schedule is not None
    together = dataclasses.replace(found, plan=dataclasses.replace(found.plan, networks=3))
    jobs = [(0, k) for k in range(3)]
    wanted = [one.accuracy for _, one in measure_all(found, jobs)]
    assert [one.accuracy for _, one in measure_all(together, jobs)] == wanted


class Forked(nn.Module):
    """Takes a way that depends on its weights, which vmap cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.layer(images.flatten(1))
        return out if float(self.layer.weight.sum()) > 0 else -out


class Running(nn.Module):
    """Keeps a mean in a buffer while it is trained, as batch norm does, and uses it when tested."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)
        self.register_buffer("level", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        flat = images.flatten(1)
        if self.training:
            self.level.mul_(0.9).add_(flat.detach().mean() + 1)  # type: ignore[operator]
        return self.layer(flat) + self.level  # type: ignore[no-any-return]


class Remembering(nn.Module):
    """What comes out depends on how often it was called: not what it is alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 3)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        self.calls += 1
        return self.layer(images.flatten(1)) * self.calls  # type: ignore[no-any-return]


class Foreign(nn.Module):
    """A network of a user's own."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(int(np.prod(shape)), classes)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return torch.relu(self.layer(images.flatten(1))) * self.scale  # type: ignore[operator]


@pytest.mark.parametrize(
    ("network", "possible"),
    [
        (lambda: nets.build("convnet1:width=4", SHAPE, 3), True),
        (lambda: Foreign(SHAPE, 3), True),
        (lambda: nets.build("convnet1:width=4,norm=batch", SHAPE, 3), False),
        (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)), False),
        (Forked, False),
        (Running, False),
        (Remembering, False),
    ],
    ids=["convnet", "foreign", "batch norm", "dropout", "branches", "buffer", "memory"],
)
def test_what_can_be_trained_together(network: Any, possible: bool) -> None:
    """Networks that mix examples, draw, branch, or change in training are trained one by one."""
    one = network()
    before = {name: value.clone() for name, value in one.state_dict().items()}
    assert can_be_together(one, SHAPE, 3, EXACT) is possible
    assert one.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


def test_a_network_with_a_buffer(tiny_data: Data, tmp_path: Path, monkeypatch: Any) -> None:
    """A foreign network is trained together too, with its buffers as they are."""
    (tmp_path / "mine_stacked.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n"
        "    def __init__(self, shape, classes):\n        super().__init__()\n"
        "        self.layer = nn.Linear(shape[0] * shape[1] * shape[2], classes)\n"
        "        self.register_buffer('scale', torch.rand(()) + 1)\n\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1)) * self.scale\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert_alike(Evaluator(cell(tiny_data, "mine_stacked:Net")), [0, 1])


def test_what_cannot_be_together_is_said_to_be_alone(tiny_data: Data) -> None:
    """The plan in the result is what was done, and the numbers are those of one by one."""
    plan = dataclasses.replace(EXACT, networks=4)
    how: dict[str, Any] = {"nets": "convnet1:width=4,norm=batch", "protocol": "gm", "epochs": 3}
    one = select_random(tiny_data, ipc=2)
    (asked,) = evaluate(one, tiny_data, repeats=2, plan=plan, **how)
    (alone,) = evaluate(one, tiny_data, repeats=2, plan=EXACT, **how)
    assert "together" not in asked.plan
    assert asked.sets == alone.sets


def test_the_plan_of_a_gpu(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Automatic plans for a GPU train as many as fit together, in full float32; exact ones one."""
    gpu = Plan(name="auto", compile=True, chunk=8, update_dtype="bfloat16", tf32=True)
    object.__setattr__(gpu, "device", "cuda")  # there need not be one
    monkeypatch.setattr("condensery.evaluation.run.choose_plan", lambda plan, **_: gpu)
    monkeypatch.setattr("condensery.runtime.plan._check_device", lambda device: None)

    def tried(network: nn.Module, shape: Any, classes: int, plan: Plan) -> bool:
        return can_be_together(network, shape, classes, EXACT)

    monkeypatch.setattr("condensery.training.stacked.can_be_together", tried)
    one = Row.named("x", [select_random(tiny_data, ipc=2)], tiny_data)

    def plan(net: str, asked: str = "auto") -> Plan:
        return cell_of(one, tiny_data, net, "dsa", EvaluationSettings(2, plan=asked)).plan

    found = plan("convnet1:width=4")
    assert (found.networks, found.processes, found.tf32) == (LARGEST, 1, False)
    assert found.update_dtype == "float32"
    assert f"up to {LARGEST} networks together" in found.describe()
    assert plan("convnet1:width=4,norm=batch").networks == 1
    assert plan("convnet1:width=4", "exact").networks == 1
    gpu = dataclasses.replace(gpu, memory_gb=1e-6)
    assert plan("convnet1:width=4").networks == 1


def test_how_many_fit() -> None:
    """Counted from what autograd keeps of a call for two; more memory never takes fewer."""
    for net, least in {"convnet3": 1.9e6, "mlp": 1e3, "resnet18:norm=instance": 8e6}.items():
        shape = (3, 32, 32)
        network = nets.build(net, shape, 10)
        weights = 4 * sum(w.numel() for w in network.parameters())
        kept = saved_bytes(network, shape, 10)
        # Maps of 32×32 in float32, by hand: ConvNet-3 keeps three to four of 128 channels.
        assert least < kept < 1.5 * least + 1e5
        one = 4 * weights + 1.5 * 8 * kept
        for count in (1, 2, 7, LARGEST):
            assert how_many(network, shape, 10, 8, count * one * 1.001 / 1e9) == count
        assert how_many(network, shape, 10, 8, 1e-9) == 1
        assert how_many(network, shape, 10, 8, 1e3) == LARGEST


@pytest.mark.parametrize("net", ["convnet2:width=8", "mlp:width=16", "resnet10:norm=instance"])
def test_what_is_kept_of_a_call_is_what_was_reckoned(net: str) -> None:
    """The tensors that autograd holds for five networks of six images, against the reckoning."""
    data = tiny(channels=3, side=16)
    found = cell(data, net, dataclasses.replace(EXACT, dtype="float32", **SINGLE), batch=6)
    evaluator = Evaluator(found)
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    stacked = StackedNetworks(evaluator.trainer, [evaluator._new(0, number) for number in range(5)])
    rows = torch.stack([torch.arange(6)] * 5, 1)
    own = {w.untyped_storage().data_ptr() for w in stacked.weights.values()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        stacked.step(evaluator._source(0), rows, [np.random.default_rng(k) for k in range(5)], 0.01)
    total = sum(size for place, size in held.items() if place not in own)
    reckoned = 30 * saved_bytes(evaluator._new(0, 0), data.train.shape, data.train.classes)
    assert reckoned == pytest.approx(total, rel=0.1)


def test_two_ways_at_once_are_refused() -> None:
    """Processes and groups exclude each other; less than one network is none."""
    with pytest.raises(UsageError, match=r"plan\.processes and plan\.networks"):
        Plan(processes=2, networks=2)
    with pytest.raises(UsageError, match=r"plan\.networks must be at least 1"):
        Plan(networks=0)


def test_from_a_plan_file(tiny_data: Data, tmp_path: Path) -> None:
    """Anyone may ask for it, on any device."""
    file = tmp_path / "crowd.yaml"
    file.write_text("networks: 3\n")
    one: CondensedSet = select_random(tiny_data, ipc=2)
    how: dict[str, Any] = {"nets": "convnet1:width=4", "protocol": "dc", "epochs": 2}
    (row,) = evaluate(one, tiny_data, repeats=3, plan=str(file), **how)
    assert row.n == 3
    assert "3 networks together" in row.plan
