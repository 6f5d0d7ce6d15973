"""Evaluation: the protocol to the constant, and the fast trainer against a plain loop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from condensery import CondensedSet, DataError, UsageError, evaluate, select_random
from condensery.augment import augment_idc, parse_strategy
from condensery.augment.draws import sample
from condensery.augment.ops import apply
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data, load
from condensery.evaluation.result import Result
from condensery.evaluation.rows import Row
from condensery.nets import build
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.augmenter import Augmenter
from condensery.training.protocol import Protocol, protocol, protocol_names
from condensery.training.trainer import Course, Split, Tensors, Trainer
from condensery.training.whole_split import whole_schedule
from tests.conftest import tiny

FACTS: dict[str, Any] = {
    "data": "cifar10",
    "ipc": 10,
    "size": 32,
    "classes": 10,
    "audio": False,
    "net": "convnet",
    "norm": "other",
    "decoded": 1,
}
EXACT = exact_plan("cpu", 1)
NET = "convnet2:width=8"


def test_protocols_have_the_papers_constants() -> None:
    assert set(protocol_names()) == {"dc", "dsa", "gm", "idc", "idc_steps"}
    dc = protocol("dc", FACTS)
    assert (dc.epochs, dc.batch, dc.rate, dc.momentum, dc.weight_decay) == (
        300,
        256,
        0.01,
        0.9,
        5e-4,
    )
    assert (dc.augmentation, dc.nets, dc.sets) == ("none", 20, 5)
    assert dc.rate_at(149) == pytest.approx(0.01)
    assert dc.rate_at(150) == pytest.approx(0.001)
    digits = protocol("dc", {**FACTS, "data": "mnist"})
    assert (digits.epochs, digits.augmentation, digits.rotate) == (1000, "image_op", 45.0)
    assert digits.strategy == "crop_scale_rotate"
    normed = protocol("dc", {**FACTS, "norm": "batch"})
    assert (normed.epochs, normed.strategy) == (1000, "crop_noise")
    assert protocol("dc", {**FACTS, "norm": "batch", "net": "vgg"}).augmentation == "none"
    dsa = protocol("dsa", FACTS)
    assert (dsa.epochs, dsa.augmentation, dsa.rate_at(499)) == (1000, "batch_op", 0.01)
    gm = protocol("gm", {**FACTS, "data": "mnist"})
    assert (gm.epochs, gm.nets, gm.sets) == (300, 50, 2)
    idc = protocol("idc", FACTS)
    assert (idc.epochs, idc.batch, idc.cutmix, idc.augmentation) == (1000, 64, 0.5, "idc")
    rates = [idc.rate_at(e) for e in (0, 665, 667, 832, 834, 999)]
    assert rates == pytest.approx([0.01, 0.01, 0.002, 0.002, 0.0004, 0.0004])


def test_a_changed_protocol_says_so() -> None:
    dsa = protocol("dsa", FACTS)
    assert dsa.changed(epochs=300).name == "dsa+epochs=300"
    assert dsa.changed(epochs=None) is dsa
    assert dsa.changed(epochs=1000).name == "dsa"
    with pytest.raises(UsageError, match="epoch"):
        dsa.changed(epochs=0)


def test_unknown_protocols_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'dsa'"):
        protocol("dsaa", FACTS)


@pytest.mark.parametrize(
    ("asked", "name", "changed"),
    [
        ("dsa+epochs=300", "dsa+epochs=300", {"epochs": 300}),
        ("dsa+epochs=1000", "dsa", {}),
        ("dsa+augmentation=none+epochs=7", "dsa+epochs=7+augmentation=none", None),
        ("dsa+epochs=7+augmentation=none", "dsa+epochs=7+augmentation=none", None),
        ("dsa+epochs=9+epochs=7", "dsa+epochs=7", {"epochs": 7}),
        ("idc+drops=[0.25,0.5]", "idc+drops=[0.25, 0.5]", {"drops": [0.25, 0.5]}),
        ("dc+rate=1e-3", "dc+rate=0.001", {"rate": 0.001}),
        ("dsa+strategy=flip_crop", "dsa+strategy=flip_crop", {"strategy": "flip_crop"}),
        # Epochs that are typed are meant as they are.
        (
            "idc_steps+epochs=60",
            "idc_steps+epochs=60",
            {"epochs": 60, "fixed_steps": False},
        ),
    ],
)
def test_a_constant_can_be_changed_in_the_name(
    asked: str, name: str, changed: dict[str, Any] | None
) -> None:
    """The name of a changed protocol asks for it, whatever the order of the changes."""
    found, base = protocol(asked, FACTS), protocol(asked.split("+")[0], FACTS)
    wanted = {"epochs": 7, "augmentation": "none"} if changed is None else changed
    assert found == dataclasses.replace(base, name=name, **wanted)
    again = protocol(name, FACTS)
    assert again == found
    if "epochs" in wanted:
        assert found.settled(4.0).epochs == wanted["epochs"]
    assert found.changed(epochs=5).name.count("epochs=") == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("dc+", "write an override as"),
        ("dc+epochs", "write an override as"),
        ("dc+epochs=", "write an override as"),
        ("dc+epoch=3", "did you mean 'epochs'"),
        ("dc+nets=3", "unknown constant of a protocol 'nets'"),
        ("dc+epochs=many", r"protocol\.epochs must be a whole number"),
        ("dc+epochs=0", "at least 1 epoch"),
        ("dc+batch=0", "batch must be at least 1"),
        ("dc+rate=0", "rate must be positive"),
        ("dc+rate=.nan", "rate must be positive"),
        ("dc+momentum=1", "momentum must be at least 0 and below 1"),
        ("dc+weight_decay=-1", "weight_decay must be finite and not negative"),
        ("dc+drops=[1.5]", "drops must be between 0 and 1"),
        ("dc+drop_factor=2", "drop_factor must be above 0"),
        ("dc+rotate=200", "rotate must be from 0 to 180"),
        ("dc+cutmix=2", "cutmix must be from 0 to 1"),
        ("dc+drops=[", "is not a value of drops"),
        ("dc+augmentation=image", "augmentation must be"),
        ("dc+strategy=crp", "did you mean 'crop'"),
        ("dcc+epochs=3", "did you mean 'dc'"),
    ],
)
def test_wrong_changes_are_refused(asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        protocol(asked, FACTS)


def test_changed_protocols_through_the_evaluation(tiny_data: Data) -> None:
    """Without augmentation the name alone says it; whole splits keep a schedule of their own."""
    how: dict[str, Any] = {"network": NET, "repeats": 1, "plan": EXACT}
    asked = "dsa+augmentation=none+epochs=3"
    sets = {"one": select_random(tiny_data, ipc=2), "whole": "whole(epochs=1)"}
    one, whole = evaluate(sets, tiny_data, protocol=asked, **how)
    assert one.protocol == "dsa+epochs=3+augmentation=none"
    assert whole.protocol == "whole(epochs=1)+dsa+augmentation=none"
    (same,) = evaluate(sets["one"], tiny_data, protocol="gm", epochs=3, **how)
    assert same.accuracies == one.accuracies  # gm has no augmentation, and the same constants
    (shorter,) = evaluate(sets["one"], tiny_data, protocol=asked, epochs=2, **how)
    assert shorter.protocol == "dsa+epochs=2+augmentation=none"


@pytest.mark.parametrize(
    ("ipc", "classes", "epochs"),
    [
        *((1, 10, 2000), (10, 10, 2000), (20, 10, 1500), (50, 10, 1500), (51, 10, 1000)),
        *((500, 10, 500), (501, 10, 300), (10, 100, 2000), (20, 100, 1500), (501, 100, 300)),
    ],
)
def test_larger_photographs_have_their_own_protocol(ipc: int, classes: int, epochs: int) -> None:
    facts = {**FACTS, "data": "", "size": 224, "ipc": ipc, "classes": classes}
    one = protocol("idc", facts)
    assert (one.epochs, one.augmentation, one.cutmix, one.batch) == (epochs, "photos", 1.0, 64)
    assert protocol("idc", {**facts, "size": 64}).epochs == 1000
    for name in ("idc", "dsa"):
        spoken = protocol(name, {**FACTS, "size": 64, "audio": True})
        assert (spoken.augmentation, spoken.cutmix, spoken.epochs) == ("none", 0.0, 1000)


@pytest.mark.parametrize("name", ["idc", "idc_steps"])
@pytest.mark.parametrize(
    ("data", "ipc", "decoded", "expected"),
    [
        ("mnist", 10, 1, ("idc", 0.5)),
        ("mnist", 10, 4, ("idc", 0.0)),
        ("fashion_mnist", 10, 4, ("idc", 0.5)),
        ("svhn", 1, 1, ("idc_cutout", 0.0)),
        ("svhn", 1, 4, ("idc", 0.5)),
        ("svhn", 10, 1, ("idc", 0.5)),
        ("cifar10", 1, 1, ("idc", 0.5)),
    ],
)
def test_idc_mixes_no_digits_in_tiles_and_cuts_single_ones(
    name: str, data: str, ipc: int, decoded: float, expected: tuple[str, float]
) -> None:
    one = protocol(name, {**FACTS, "data": data, "ipc": ipc, "decoded": decoded})
    assert (one.augmentation, one.cutmix) == expected
    assert one.settled(decoded).epochs == (1000 if name == "idc" else 1000 // decoded)


def test_a_set_says_how_many_images_it_decodes_to() -> None:
    from condensery.evaluation import run as evaluation

    data = dataclasses.replace(load("digits"), name="mnist", spec="mnist")
    how = evaluation.EvaluationSettings(1, plan=EXACT)
    mixed = {}
    for factor in (1, 2):
        given = {"ipc": 1, "iterations": 0, "supply.net": NET, "formation.factor": factor}
        made = Condenser(data, configure(data, "idc", given), EXACT).run()
        cell = evaluation.cell_of(Row.of(made, data), data, NET, "idc", how)
        mixed[factor] = cell.training.cutmix
    assert mixed == {1: 0.5, 2: 0.0}


def test_idc_with_cutout_is_idc_and_then_cutout() -> None:
    torch.manual_seed(0)
    images = torch.randn(6, 3, 32, 32)
    protocol_ = Protocol(name="x", epochs=1, batch=6, augmentation="idc_cutout")
    augmenter = Augmenter(protocol_, True, (0.5,) * 3, (0.25,) * 3)
    found, _ = augmenter(images, torch.zeros(6, dtype=torch.long), [np.random.default_rng(5)])
    rng = np.random.default_rng(5)
    before = augment_idc(images, rng, True)
    square = sample(rng, "cutout", 6)
    expected = apply(before, square, parse_strategy("cutout"))
    torch.testing.assert_close(found, expected)
    assert ((found == 0) & (before != 0)).flatten(1).any(1).all(), "a square of each is empty"


def test_as_many_steps_for_every_set(tiny_data: Data) -> None:
    one = protocol("idc_steps", FACTS)
    assert protocol("idc", FACTS).settled(4.0).epochs == 1000
    assert (one.settled(4.0).epochs, one.settled(1.0).epochs) == (250, 1000)
    given = {"ipc": 1, "iterations": 0, "supply.net": NET}
    made = [
        Condenser(tiny_data, configure(tiny_data, recipe, given), EXACT).run()
        for recipe in ("idc", "idc_i")
    ]
    short = evaluate(
        made[0], tiny_data, protocol="idc_steps", epochs=2, network=NET, repeats=1, plan=EXACT
    )
    assert short[0].protocol == "idc_steps+epochs=2"
    from condensery.evaluation import run as evaluation

    how = evaluation.EvaluationSettings(1, plan=EXACT)
    rows = [Row.of(one, tiny_data) for one in made]
    epochs = [
        evaluation.cell_of(row, tiny_data, NET, "idc_steps", how).training.epochs for row in rows
    ]
    assert epochs == [250, 1000]
    named = [
        evaluation.cell_of(
            rows[0], tiny_data, NET, "idc_steps", dataclasses.replace(how, epochs=n)
        ).training
        for n in (250, 1000)
    ]
    assert [(p.name, p.epochs) for p in named] == [
        ("idc_steps", 250),
        ("idc_steps+epochs=1000", 1000),
    ]


def plain_training(data: Tensors, one: Protocol, number: int, shape: Any, classes: int) -> Tensor:
    """The protocol as a textbook loop: cross entropy, SGD, whole batches; no augmentation."""
    with fork_rng(0, "init", number):
        network = build(NET, shape, classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=one.rate, momentum=0.9, weight_decay=5e-4)
    for epoch in range(one.epochs):
        order = torch.from_numpy(stream(0, "training", number, epoch).permutation(len(data)))
        for rows in order.split(one.batch):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 if epoch < one.epochs / 2 else 0.001
            loss = torch.nn.functional.cross_entropy(network(data.images[rows]), data.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        out: Tensor = network(data.images)
    return out


@pytest.mark.parametrize(
    "plan",
    [EXACT, Plan(chunk=4), Plan(chunk=5, channels_last=True)],
    ids=["exact", "pieces", "channels-last"],
)
def test_the_trainer_is_the_plain_loop(plan: Plan, tiny_data: Data) -> None:
    one = Protocol(name="x", epochs=6, batch=13)
    images = tiny_data.train.normalised()
    data = Tensors(images, tiny_data.train.labels)
    trainer = Trainer(one, plan, flip=True, seed=0)
    for number in (0, 1):
        with fork_rng(0, "init", number):
            network = build(NET, tiny_data.train.shape, 3)
        with torch.no_grad():
            found = trainer.train(network, data, number)(images)
        expected = plain_training(data, one, number, tiny_data.train.shape, 3)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_batch_norm_networks_see_whole_batches_each_with_own_statistics(tiny_data: Data) -> None:
    images = tiny_data.train.normalised()
    data = Tensors(images, tiny_data.train.labels)
    outs = []
    for plan in (EXACT, Plan(chunk=4)):
        trainer = Trainer(Protocol(name="x", epochs=3), plan, flip=True, seed=0)
        for number in (0, 1):
            with fork_rng(0, "init", number):
                network = build(f"{NET},norm=batch", tiny_data.train.shape, 3)
            trainer.train(network, data, number)
            assert not network.training
        outs.append(network(images).detach())
    torch.testing.assert_close(*outs)


@pytest.mark.parametrize("augmentation", ["none", "batch_op", "image_op", "idc"])
def test_training_depends_on_the_networks_number_alone(augmentation: str, tiny_data: Data) -> None:
    one = Protocol(name="x", epochs=2, batch=8, augmentation=augmentation, cutmix=0.5)  # type: ignore[arg-type]
    data = Split(tiny_data.train)
    outs: dict[tuple[int, int], Tensor] = {}
    for order in ((0, 1), (1, 0)):
        trainer = Trainer(one, EXACT, flip=False, seed=0)
        for number in order:
            with fork_rng(0, "init", 7):
                network = build(NET, tiny_data.train.shape, 3)
            trainer.train(network, data, number)
            out = network(tiny_data.train.normalised()).detach()
            if (number, 0) in outs:
                assert torch.equal(out, outs[number, 0])
            outs[number, 0] = out
    assert not torch.equal(outs[0, 0], outs[1, 0])


def test_accuracy_counts_every_test_image(tiny_data: Data) -> None:
    class Bright(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((1, 2, 3))
            cuts = torch.tensor([-0.6, 0.6])
            return torch.nn.functional.one_hot(torch.bucketize(mean, cuts), 3).float()

    network = Bright()
    test = tiny_data.test
    with torch.no_grad():
        right = (network(test.normalised()).argmax(1) == test.labels).double().mean()
    for plan in (EXACT, Plan(chunk=3)):
        trainer = Trainer(protocol("dc", FACTS), plan, flip=False, seed=0)
        found = Course(trainer, network).accuracy(Split(test, torch.float32))
        assert found == pytest.approx(float(right))


def test_results_carry_what_a_number_needs(tiny_data: Data, tmp_path: Path) -> None:
    for seed in (0, 1):
        select_random(tiny_data, ipc=2, seed=seed).save(tmp_path / "r" / str(seed))
    seen: list[float] = []
    results = evaluate(
        [tmp_path / "r", tmp_path / "r" / "0", "whole(epochs=2)"],
        tiny_data,
        network=[NET, "mlp"],
        repeats=2,
        epochs=3,
        plan=EXACT,
        on_network=lambda what, found: seen.append(found),
    )
    assert [(r.set.split("/")[-1], r.net, r.n) for r in results] == [
        ("r", NET, 4), ("r", "mlp", 4), ("0", NET, 2), ("0", "mlp", 2),
        ("whole", NET, 2), ("whole", "mlp", 2),
    ]  # fmt: skip
    assert seen == [a for r in results for a in r.accuracies]
    held = json.loads(json.dumps(results[0].as_dict()))
    assert set(held) == {
        "set", "recipe", "ipc", "data", "net", "protocol", "n", "mean", "std", "accuracies",
        "sets", "seed", "stored_bytes", "seconds", "plan", "version", "commit",
    }  # fmt: skip
    assert held["protocol"] == "dsa+epochs=3"
    assert results[4].protocol == "whole(epochs=2)+dsa"
    assert held["mean"] == pytest.approx(np.mean(held["accuracies"]))
    assert held["std"] == pytest.approx(np.std(held["accuracies"], ddof=0))
    assert [len(one) for one in held["sets"]] == [2, 2]
    assert results[2].accuracies == results[0].sets[0], "a set does not depend on its neighbours"


def test_the_last_epoch_counts(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    check = Course.accuracy

    def counted(self: Course, data: Any) -> float:
        calls.append(len(data))
        return check(self, data)

    monkeypatch.setattr(Course, "accuracy", counted)
    evaluate(
        select_random(tiny_data, ipc=2), tiny_data, network=NET, repeats=3, epochs=5, plan=EXACT
    )
    assert calls == [len(tiny_data.test)] * 3, "the test split is looked at once a network"


def test_whole_is_cached_by_data_network_and_schedule(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"network": NET, "plan": EXACT}
    (first,) = evaluate("whole(epochs=2)", tiny_data, repeats=2, **arguments)
    trained: list[int] = []
    original = Trainer.train

    def counted(self: Trainer, *args: Any, **kwargs: Any) -> torch.nn.Module:
        trained.append(1)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "train", counted)
    (again,) = evaluate("whole(epochs=2)", tiny_data, repeats=2, **arguments)
    assert (again.accuracies, trained) == (first.accuracies, [])
    (more,) = evaluate("whole(epochs=2)", tiny_data, repeats=3, **arguments)
    assert (more.accuracies[:2], len(trained)) == (first.accuracies, 1)
    evaluate("whole(epochs=3)", tiny_data, repeats=1, **arguments)
    evaluate("whole(epochs=2)", tiny(channels=3), repeats=1, **arguments)
    evaluate("whole(epochs=2)", tiny_data, repeats=1, seed=1, **arguments)
    assert len(trained) == 4


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_batch_norm_networks_are_tested_in_the_type_they_are_trained_in(
    norm: str, tiny_data: Data
) -> None:
    trainer = Trainer(
        Protocol(name="x", epochs=1),
        Plan(update_dtype="bfloat16"),
        flip=False,
        seed=0,
        dtype=torch.bfloat16,
    )
    seen: list[torch.dtype] = []
    with fork_rng(0, "x"):
        network = build(f"{NET},norm={norm}", tiny_data.train.shape, 3)
    course = Course(trainer, network)
    layer = next(m for m in network.modules() if isinstance(m, torch.nn.Linear))
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    course.accuracy(Split(tiny_data.test))
    assert set(seen) == {torch.float32 if norm == "batch" else torch.bfloat16}


def test_the_whole_schedule_rises_and_falls() -> None:
    schedule = whole_schedule(protocol("dsa", FACTS), 1000, 4)
    rates = [schedule(step) for step in range(schedule.steps)]
    assert schedule.steps == 32
    assert max(rates) == pytest.approx(0.05, rel=0.1)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0)
    assert whole_schedule(protocol("dsa", FACTS), 60_000).protocol.epochs == 5
    assert whole_schedule(protocol("dsa", FACTS), 1438).protocol.epochs == 30
    assert whole_schedule(protocol("dsa", FACTS), 100).protocol.epochs == 350


def test_the_whole_splits_schedule_is_typed_as_a_protocol(tiny_data: Data) -> None:
    """The papers' long training: SGD whose rate drops."""
    spec = "whole+epochs=4+rate=0.1+batch=8+drops=[0.5, 0.75]+drop_factor=0.2"
    (found,) = evaluate(spec, tiny_data, protocol="dc", network=NET, repeats=1, plan=EXACT)
    assert found.protocol == (
        "whole(epochs=4,batch=8,drop_factor=0.2,drops=[0.5, 0.75],rate=0.1)+dc"
    )
    base = protocol("dc", FACTS)
    given = {"rate": 0.1, "batch": 8, "drops": [0.5, 0.75], "drop_factor": 0.2}
    schedule = whole_schedule(base, 28, 4, given)
    assert schedule.steps == 16
    rates = [schedule(step) for step in range(16)]
    assert rates == pytest.approx([0.1] * 8 + [0.02] * 4 + [0.004] * 4)
    assert whole_schedule(base, 28, 4).protocol.name == "whole(epochs=4)+dc"


@pytest.mark.parametrize(
    ("spec", "asked", "message"),
    [
        ("whole", "dc+rate=0.1", "rate=0.1 of protocol dc.rate=0.1 does not apply to the whole"),
        ("whole+rate=0.1", "dc+rate=0.1+batch=8", r"batch=8 .* write whole\+batch=8"),
        ("whole", "dc+drops=[0.5]", "does not apply"),
        ("whole+augmentation=none", "dc", r"protocol dc\+augmentation=none"),
        ("whole+epoch=3", "dc", "did you mean 'epochs'"),
        ("whole+epochs=0", "dc", "at least 1 epoch"),
        ("whole+rate=-1", "dc", "rate must be positive"),
        ("whole+drop_factor=0.1", "dc", "drop_factor needs drops"),
        ("whole+epochs", "dc", "write an override as"),
    ],
)
def test_what_does_not_apply_to_the_whole_split_is_refused(
    spec: str, asked: str, message: str, tiny_data: Data
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(spec, tiny_data, protocol=asked, network=NET, repeats=1, plan=EXACT)


def test_the_whole_split_takes_a_typed_rate_where_it_is_typed_for_it(tiny_data: Data) -> None:
    sets = {"a": select_random(tiny_data, ipc=2), "whole": "whole+epochs=1+rate=0.2"}
    one, full = evaluate(
        sets, tiny_data, protocol="dc+rate=0.2", network=NET, repeats=1, epochs=2, plan=EXACT
    )
    assert one.protocol == "dc+epochs=2+rate=0.2"
    assert full.protocol == "whole(epochs=1,rate=0.2)+dc"


def test_sets_that_do_not_fit_the_data_are_refused(tiny_data: Data) -> None:
    condensed = select_random(tiny_data, ipc=1)
    with pytest.raises(DataError, match="size and channels"):
        evaluate(condensed, tiny(side=12), repeats=1)
    other = dataclasses.replace(condensed.about, class_names=("a", "b", "c"))
    with pytest.raises(DataError, match="classes"):
        evaluate(CondensedSet(condensed.stored, other), tiny_data, repeats=1)
    with pytest.raises(UsageError, match="repeats"):
        evaluate(condensed, tiny_data, repeats=0)
    with pytest.raises(UsageError, match="at least one set"):
        evaluate([], tiny_data)


def test_a_folder_of_unlike_sets_is_no_row(tiny_data: Data, tmp_path: Path) -> None:
    select_random(tiny_data, ipc=1).save(tmp_path / "0")
    select_random(tiny_data, ipc=2).save(tmp_path / "1")
    with pytest.raises(DataError, match=r"differ in ipc \(1 and 2\).*separately"):
        evaluate(tmp_path, tiny_data, repeats=1)


def _made(data: Data, done: int = 100, /, **config: Any) -> CondensedSet:
    """A set that says of itself how it was made."""
    condensed = select_random(data, ipc=1)
    held = {"until": "iterations", "iterations": 100, "optimizer": {"rate": 1.0}, "seed": 0}
    about = dataclasses.replace(condensed.about, iterations=done, config={**held, **config})
    return CondensedSet(condensed.stored, about)


def test_sets_of_a_row_were_made_alike(tiny_data: Data, tmp_path: Path) -> None:
    """Finished runs in a folder; and sets in a list, which may be out of a run."""

    def folder(*sets: CondensedSet) -> Path:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        for number, one in enumerate(sets):
            one.save(place / str(number))
        return place

    base = _made(tiny_data)
    alike = {
        "seed": _made(tiny_data, seed=1, data="elsewhere", train_accuracy=50.0),
        "a newer version": _made(tiny_data, later=3),
        "grown to the same": _made(tiny_data, iterations=50),
    }
    for one in alike.values():
        assert Row.of(str(folder(base, one)), tiny_data).count == 2
        assert Row.named("x", [base, one], tiny_data).count == 2
    unlike = {
        r"iterations \(100 and 50\)": _made(tiny_data, 50, iterations=50),
        r"optimizer.rate \(1.0 and 5.0\)": _made(tiny_data, optimizer={"rate": 5.0}),
        r"until \(iterations and converged\)": _made(tiny_data, 80, until="converged"),
    }
    for message, one in unlike.items():
        for item in (folder(base, one), [base, one]):
            with pytest.raises(DataError, match=f"{message}.*separately"):
                Row.named("x", item, tiny_data)
    settled = [_made(tiny_data, done, until="converged") for done in (70, 90)]
    assert Row.named("x", settled, tiny_data).count == 2
    # By --minutes a run ends early; a list may hold a state that was not its run's end.
    early = [base, _made(tiny_data, 60)]
    assert Row.of(str(folder(*early)), tiny_data).count == 2
    with pytest.raises(DataError, match=r"iterations \(100 and 60\)"):
        Row.named("x", early, tiny_data)


def test_own_data_that_changed_since_is_refused(tiny_data: Data) -> None:
    train = tiny_data.train
    changed = load(
        ((255 - train.images).contiguous(), train.labels.clone()),
        test=(tiny_data.test.images, tiny_data.test.labels),
    )
    with pytest.raises(DataError, match="training images other"):
        evaluate(select_random(tiny_data, ipc=1), changed, repeats=1)


def test_all_rows_share_one_flip_rule(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    original = Trainer.__init__

    def watched(self: Trainer, *args: Any, flip: bool, **rest: Any) -> None:
        seen.append(flip)
        original(self, *args, flip=flip, **rest)

    monkeypatch.setattr(Trainer, "__init__", watched)
    condensed = select_random(tiny_data, ipc=1)
    unflipped = dataclasses.replace(tiny_data, flip=False)
    sets = [condensed, "whole(epochs=1)"]
    evaluate(sets, unflipped, network=NET, repeats=1, epochs=1, plan=EXACT)
    assert seen == [False, False]


def test_batch_norm_never_sees_one_image_alone(tiny_data: Data) -> None:
    with fork_rng(0, "init", 0):
        network = build("convnet3:width=4,norm=batch", tiny_data.train.shape, 3)
    one = Protocol(name="x", epochs=2, batch=9)
    # 28 images: batches of 9, 9 and 10.
    Trainer(one, EXACT, flip=False, seed=0).train(network, Split(tiny_data.train), 0)
    assert all(bool(torch.isfinite(p).all()) for p in network.parameters())


class Dropping(torch.nn.Module):
    """A foreign network whose passes are random."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5))
        self.linear = torch.nn.Linear(64, classes)
        # Constructors that compute must work, too.
        self.rates = [x.item() for x in torch.linspace(0, 1, 3)]

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.linear(self.inner(images))
        return out


def test_networks_with_dropout_repeat(tiny_data: Data) -> None:
    from condensery import condense

    spec = f"{__name__}:Dropping"
    made = [
        condense(tiny_data, ipc=2, iterations=3, plan=plan, overrides={"supply.net": spec}).stored
        for plan in (EXACT, EXACT, Plan(chunk=2))
    ]
    assert torch.equal(made[0], made[1])
    torch.testing.assert_close(made[0], made[2], rtol=1e-4, atol=1e-5)
    condensed = select_random(tiny_data, ipc=2)
    generator = torch.get_rng_state()
    rows = [
        evaluate(condensed, tiny_data, network=spec, repeats=2, epochs=4, plan=EXACT)[0]
        for _ in range(2)
    ]
    assert rows[0].accuracies == rows[1].accuracies
    assert torch.equal(torch.get_rng_state(), generator)


class Wrong(torch.nn.Module):
    """A foreign network that forgets the classes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.linear(images.flatten(1))
        return out


def test_a_network_that_does_not_fit_is_refused_in_words(tiny_data: Data) -> None:
    with pytest.raises(UsageError, match="Wrong"):
        evaluate(select_random(tiny_data, ipc=1), tiny_data, network=f"{__name__}:Wrong", repeats=1)


def test_everything_is_checked_before_anything_is_trained(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    monkeypatch.setattr(Trainer, "train", lambda *args, **kwargs: trained.append(1))
    with pytest.raises(UsageError, match="convnet"):
        evaluate(select_random(tiny_data, ipc=1), tiny_data, network=[NET, "convnt3"], repeats=1)
    assert trained == []


def test_result_statistics() -> None:
    result = Result("a", "dm", 1, "d", "n", "p", ((1.0, 3.0), (5.0, 7.0)), 0, 4, 1.0, "plan")
    assert (result.n, result.mean) == (4, 4.0)
    assert result.std == pytest.approx(np.sqrt(5))
