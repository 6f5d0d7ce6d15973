"""Pools: training against a plain loop, snapshots on disk, going on, and condensing through one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condensery import CondensedSet, UsageError
from condensery.augment import augment_sequence, cutmix, parse_strategy
from condensery.cli.main import main
from condensery.condensation.configure import configure, notes_of
from condensery.condensation.loop import Condenser
from condensery.config.build import Choices
from condensery.data import Data, load
from condensery.errors import DataError, DivergedError
from condensery.methods.pools.networks import divide
from condensery.methods.pools.store import Pool
from condensery.methods.pools.train import PoolSettings, pool_settings, train_pool
from condensery.nets import build
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from condensery.training.protocol import Protocol
from condensery.training.trainer import Subset
from condensery.utils.checkpoint import Every, load_state, save_state
from condensery.utils.signals import Interrupted
from tests.conftest import tiny
from tests.programs import Program

FLOAT64 = exact_plan("cpu", 1, "float64")
EXACT = exact_plan("cpu", 1)
NET = "convnet1:width=4"


def settings_of(data: Data, **given: Any) -> PoolSettings:
    return pool_settings(data, NET, **{"epochs": 3, "batch": 8, "held_out": 0.25, **given})


def made(data: Data, out: Path, count: int = 2, plan: Plan = EXACT, **given: Any) -> Pool:
    return train_pool(data, settings_of(data, **given), count, out, plan=plan)


def plain_training(
    data: Data, settings: PoolSettings, number: int, steps: int, last: int = 1
) -> tuple[nn.Module, Tensor]:
    """The network after some steps of SGD, and the rows that are held out, in float64."""
    rows, held_out = divide(data.train, settings.held_out, settings.seed)
    with fork_rng(settings.seed, "pool-network", number):
        network = build(settings.net, data.train.shape, data.train.classes).double()
    sgd = torch.optim.SGD(
        network.parameters(),
        lr=settings.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    each = -(-len(rows) // settings.batch)
    for step in range(steps):
        epoch, within = divmod(step, each)
        order = stream(settings.seed, "pool", number, epoch).permutation(len(rows))
        some = rows[torch.from_numpy(order)].split(settings.batch)[within]
        sgd.zero_grad()
        if settings.schedule == "linear":
            sgd.param_groups[0]["lr"] = settings.rate * min(step + 1, 1 - step / last)
        images = data.train.normalised(some, dtype=torch.float64)
        cross_entropy(network(images), data.train.labels[some]).backward()
        sgd.step()
    return network, held_out


def test_networks_are_trained_as_a_plain_loop_does(tiny_data: Data, tmp_path: Path) -> None:
    settings = settings_of(tiny_data, rate=0.1, snapshots=[0, 0.5, 2])
    pool = train_pool(tiny_data, settings, 2, tmp_path / "pool", plan=FLOAT64)
    assert [(one.network, one.epoch) for one in pool.snapshots] == [
        *((0, at) for at in (0, 0.5, 2)),
        *((1, at) for at in (0, 0.5, 2)),
    ]
    rows, held_out = divide(tiny_data.train, 0.25, 0)
    assert (len(rows), len(held_out)) == (28 - 7, 7)
    each = 3  # 21 images in batches of 8
    for one in pool.snapshots:
        network, held_out = plain_training(
            tiny_data, settings, one.network, round(one.epoch * each)
        )
        weights = pool.weights(one)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(weights[name], value, rtol=1e-9, atol=1e-11)
        images = tiny_data.train.normalised(held_out, dtype=torch.float64)
        right = network(images).argmax(1) == tiny_data.train.labels[held_out]
        assert one.accuracy == pytest.approx(100 * float(right.double().mean()), abs=1e-4)


def test_a_linear_rate_rises_and_falls_to_zero(tiny_data: Data) -> None:
    constant = settings_of(tiny_data, rate=0.2)
    assert {constant.rate_at(step, 40) for step in range(40)} == {0.2}
    linear = settings_of(tiny_data, rate=0.2, schedule="linear")
    found = [linear.rate_at(step, 40) for step in range(41)]
    wanted = [0.2 * min((step + 1) / 2, 1 - step / 40) for step in range(41)]
    assert found == pytest.approx(wanted)
    assert found[0] == 0.1
    assert max(found) == found[1] == pytest.approx(0.2 * 39 / 40)
    assert found[40] == 0
    assert linear.rate_at(0, 1) == 0.2, "a single step has the whole rate"


def test_a_linear_rate_is_that_of_a_plain_loop(tiny_data: Data, tmp_path: Path) -> None:
    settings = settings_of(tiny_data, rate=0.3, schedule="linear", snapshots=[1, 2])
    pool = train_pool(tiny_data, settings, 1, tmp_path / "pool", plan=FLOAT64)
    for one in pool.snapshots:
        steps = round(one.epoch * 3)
        network, _ = plain_training(tiny_data, settings, 0, steps, last=6)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(pool.weights(one)[name], value, rtol=1e-9, atol=1e-11)


def test_averages_are_those_of_the_weights_of_every_step(tiny_data: Data, tmp_path: Path) -> None:
    marks = [step / 3 for step in range(10)]
    own = train_pool(
        tiny_data, settings_of(tiny_data, snapshots=marks), 1, tmp_path / "own", plan=FLOAT64
    )
    settings = settings_of(tiny_data, snapshots=marks, average=0.3)
    pool = train_pool(tiny_data, settings, 1, tmp_path / "average", plan=FLOAT64)
    mean = own.weights(own.snapshots[0])
    for step, (one, kept) in enumerate(zip(own.snapshots, pool.snapshots, strict=True)):
        share = min(0.3, step / (step + 9)) if step else 1.0  # of the average itself
        weights = own.weights(one)
        mean = {name: share * mean[name] + (1 - share) * weights[name] for name in mean}
        for name, value in pool.weights(kept).items():
            torch.testing.assert_close(value, mean[name], rtol=1e-9, atol=1e-11)
    images = tiny_data.train.normalised(divide(tiny_data.train, 0.25, 0)[1], dtype=torch.float64)
    network = build(NET, tiny_data.train.shape, 3).double()
    network.load_state_dict(mean)
    right = network(images).argmax(1) == tiny_data.train.labels[divide(tiny_data.train, 0.25, 0)[1]]
    assert pool.snapshots[-1].accuracy == pytest.approx(
        100 * float(right.double().mean()), abs=1e-4
    )


def test_what_came_later_is_not_written_while_it_is_off(tiny_data: Data, tmp_path: Path) -> None:
    made(tiny_data, tmp_path / "pool", 1)
    held = json.loads((tmp_path / "pool" / "pool.json").read_text())["settings"]
    assert not {"schedule", "average"} & set(held)


def test_what_is_held_out_is_never_trained_on(tiny_data: Data) -> None:
    rows, held_out = divide(tiny_data.train, 0.3, 5)
    assert sorted([*rows.tolist(), *held_out.tolist()]) == list(range(len(tiny_data.train)))
    assert tiny_data.train.labels[held_out].bincount().tolist() == [4, 2, 3]
    other = divide(tiny_data.train, 0.3, 6)[1]
    assert set(other.tolist()) != set(held_out.tolist())
    part = Subset(tiny_data.train, held_out, torch.float32)
    images, labels = part.take(torch.tensor([1, 0]))
    assert labels.tolist() == tiny_data.train.labels[held_out[:2].flip(0)].tolist()
    assert torch.equal(images[0], tiny_data.train.normalised(held_out[1:2])[0])
    few = tiny((5, 2, 3))
    assert [len(part) for part in divide(few.train, 0.9, 0)] == [3, 7]
    with pytest.raises(DataError, match="a pool needs at least two"):
        divide(dataclasses.replace(few.train, labels=few.train.labels.clamp(max=0)), 0.5, 0)


def files_of(pool: Path) -> dict[str, bytes]:
    found = {f.name: f.read_bytes() for f in (pool / "networks").iterdir()}
    return {**found, "pool.json": (pool / "pool.json").read_bytes()}


def test_same_seed_same_bytes(tiny_data: Data, tmp_path: Path) -> None:
    made(tiny_data, tmp_path / "a", snapshots=[1, 3], augmentation="batch_op")
    made(tiny_data, tmp_path / "b", snapshots=[3, 1], augmentation="batch_op")
    a, b = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert {n: c for n, c in a.items() if n != "pool.json"} == {
        n: c for n, c in b.items() if n != "pool.json"
    }
    made(tiny_data, tmp_path / "c", snapshots=[1, 3], seed=1)
    assert files_of(tmp_path / "c")["0000-00000003.safetensors"] not in a.values()
    made(tiny_data, tmp_path / "d", snapshots=[1, 3], augmentation="none")
    assert files_of(tmp_path / "d")["0000-00000009.safetensors"] not in a.values()


def test_a_pool_may_grow(tiny_data: Data, tmp_path: Path) -> None:
    whole = made(tiny_data, tmp_path / "whole", 3, momentum=0.5)
    small = made(tiny_data, tmp_path / "grown", 1, momentum=0.5)
    grown = made(tiny_data, tmp_path / "grown", 3, momentum=0.5)
    assert files_of(tmp_path / "grown") == files_of(tmp_path / "whole")
    assert grown.fingerprint(1) == small.fingerprint() != grown.fingerprint() == whole.fingerprint()
    again = made(tiny_data, tmp_path / "grown", 2, momentum=0.5)
    assert len(again.snapshots) == 3, "a pool never shrinks"


class StopError(Exception):
    """Ends a training from within."""


@pytest.mark.parametrize(
    ("net", "more"),
    [(NET, {}), ("convnet1:width=4,norm=batch", {"schedule": "linear", "average": 0.8})],
)
def test_a_stopped_pool_goes_on_to_the_same_bytes(
    net: str,
    more: dict[str, Any],
    tiny_data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from condensery.methods.pools import networks as pooling

    given: dict[str, Any] = {"epochs": 4, "snapshots": [0, 1.5, 2, 4], "batch": 8, **more}
    settings = pool_settings(tiny_data, net, **given)
    train_pool(tiny_data, settings, 2, tmp_path / "whole", plan=EXACT)
    seen: list[Any] = []
    checkpoint = pooling.PoolTraining._checkpoint

    def stopping(self: Any, *arguments: Any) -> None:
        checkpoint(self, *arguments)
        seen.append(arguments[1:3])
        if len(seen) == 5:  # after the second epoch of the second network
            raise StopError

    monkeypatch.setattr(pooling.PoolTraining, "_checkpoint", stopping)
    every = Every.parse("1it")
    with pytest.raises(StopError):
        train_pool(tiny_data, settings, 2, tmp_path / "stopped", plan=EXACT, every=every)
    assert seen[-1] == (1, 2)
    assert len(Pool.read(tmp_path / "stopped").snapshots) == 4
    held = load_state(tmp_path / "stopped" / "checkpoints" / "state.safetensors")
    assert (held["number"], held["epoch"], len(held["snapshots"])) == (1, 2, 3)
    epochs: list[tuple[int, int]] = []
    once = pooling.PoolTraining._epoch

    def counting(self: Any, course: Any, number: int, epoch: int, *rest: Any) -> None:
        epochs.append((number, epoch))
        once(self, course, number, epoch, *rest)

    monkeypatch.setattr(pooling.PoolTraining, "_epoch", counting)
    train_pool(tiny_data, settings, 2, tmp_path / "stopped", plan=EXACT)
    assert epochs == [(1, 2), (1, 3)]
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")
    assert not (tmp_path / "stopped" / "checkpoints" / "state.safetensors").exists()


def test_a_signal_stops_between_steps(
    tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from condensery.methods.pools import networks as pooling

    settings = settings_of(tiny_data, epochs=4)
    train_pool(tiny_data, settings, 1, tmp_path / "whole", plan=EXACT)
    once = pooling.PoolTraining._epoch

    def signalled(self: Any, course: Any, number: int, epoch: int, *rest: Any) -> None:
        if epoch == 2 and not rest[1]:
            os.kill(os.getpid(), signal.SIGTERM)
        once(self, course, number, epoch, *rest)

    monkeypatch.setattr(pooling.PoolTraining, "_epoch", signalled)
    with pytest.raises(Interrupted) as stopped:
        train_pool(tiny_data, settings, 1, tmp_path / "pool", plan=EXACT)
    assert stopped.value.number == signal.SIGTERM
    monkeypatch.setattr(pooling.PoolTraining, "_epoch", once)
    train_pool(tiny_data, settings, 1, tmp_path / "pool", plan=EXACT)
    assert files_of(tmp_path / "pool") == files_of(tmp_path / "whole")


def test_the_test_split_cannot_leak(tiny_data: Data, tmp_path: Path) -> None:
    made(tiny_data, tmp_path / "clean")
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    poisoned = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    made(poisoned, tmp_path / "poisoned")
    assert files_of(tmp_path / "clean") == files_of(tmp_path / "poisoned")


@pytest.mark.slow  # test_compiled_crowds compiles the same step, and test_idc's test narrows it
@pytest.mark.usefixtures("traced_only")
def test_compiled_and_narrow_training_stays_close(tmp_path: Path) -> None:
    data = tiny((60, 60, 60))
    given: dict[str, Any] = {"batch": 40, "rate": 0.05, "epochs": 4}
    plain = made(data, tmp_path / "a", 1, **given)
    fast = Plan(chunk=20, compile=True, channels_last=True, update_dtype="bfloat16")
    quick = made(data, tmp_path / "b", 1, plan=fast, **given)
    a, b = plain.weights(plain.snapshots[0]), quick.weights(quick.snapshots[0])
    start = build_start(data, plain)
    moved = sum(float((a[n] - start[n]).norm()) for n in a)
    apart = sum(float((a[n] - b[n]).norm()) for n in a)
    assert 0 < apart < 0.1 * moved


def build_start(data: Data, pool: Pool) -> dict[str, Tensor]:
    with fork_rng(pool.settings["seed"], "pool-network", 0):
        return build(NET, data.train.shape, data.train.classes).state_dict()


# ----------------------------------------------------------------- condensing through a pool


@pytest.fixture
def pool(tiny_data: Data, tmp_path: Path) -> Pool:
    return made(tiny_data, tmp_path / "pool", 3, rate=0.1, snapshots=[0, 1, 3])


def through(pool: Pool, data: Data, recipe: str, **given: Any) -> Condenser:
    small = {"ipc": 1, "iterations": 6, "real_batch": 5}
    chosen = {"supply.kind": "pool", "supply.path": str(pool.path), **small, **given}
    return Condenser(data, configure(data, recipe, chosen), EXACT)


@pytest.mark.parametrize("recipe", ["dm", "dc", "gm_md", "cafe", "mmd"])
def test_any_objective_through_a_pool(recipe: str, pool: Pool, tiny_data: Data) -> None:
    run = through(pool, tiny_data, recipe)
    start = run.stored.detach().clone()
    made_one = run.run()
    assert not torch.equal(made_one.stored, start)
    assert torch.equal(through(pool, tiny_data, recipe).run().stored, made_one.stored)
    fresh = Condenser(
        tiny_data,
        configure(
            tiny_data,
            recipe,
            {"ipc": 1, "iterations": 6, "real_batch": 5, "supply.kind": "fresh", "supply.net": NET},
        ),
        EXACT,
    )
    assert torch.equal(fresh.run().stored, made_one.stored) == (recipe == "mmd")


def test_networks_are_those_of_the_band(pool: Pool, tiny_data: Data) -> None:
    accuracies = sorted({one.accuracy for one in pool.snapshots if one.accuracy is not None})
    assert len(accuracies) > 1
    low = accuracies[-1]
    supply: Any = through(pool, tiny_data, "dm", **{"supply.above": low}).supply
    held = [one for one in pool.snapshots if (one.accuracy or 0) >= low]
    assert supply._band.snapshots == held
    kept = [pool.weights(one) for one in held]
    drawn = set()
    for iteration in range(40):
        weights = supply.new(iteration).state_dict()
        (which,) = [
            k for k, one in enumerate(kept) if all(torch.equal(one[n], weights[n]) for n in one)
        ]
        drawn.add(which)
    assert drawn == set(range(len(held)))
    report = supply.report()
    assert report["networks"] == 40
    assert report["accuracy"] == pytest.approx(low, abs=0.01)


def test_bands_are_half_open_and_100_belongs_to_the_last() -> None:
    from condensery.methods.pools.store import Snapshot

    few = tuple(Snapshot(n, 1.0, a, "", "") for n, a in enumerate((0.0, 10.0, 19.9, 99.0, 100.0)))
    pool = Pool(Path(), {}, few)
    assert [s.accuracy for s in pool.within(10, 20)] == [10.0, 19.9]
    assert [s.accuracy for s in pool.within(90, 100)] == [99.0, 100.0]
    assert pool.bands() == {"0-10": 1, "10-20": 2, "90-100": 2}


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_run_goes_on_with_the_same_networks(
    steps: int, pool: Pool, tiny_data: Data, tmp_path: Path
) -> None:
    given = {"supply.steps": 3, "iterations": 2}
    whole = through(pool, tiny_data, "dc", **given)
    whole.run()
    first, second = (through(pool, tiny_data, "dc", **given) for _ in range(2))
    for _ in range(steps):
        first.step()
    save_state(first.state(), tmp_path / "state.safetensors")
    second.load_state(load_state(tmp_path / "state.safetensors"))
    assert torch.equal(second.run().stored, whole.result().stored)
    assert second.supply.report() == whole.supply.report()


def test_the_set_knows_its_pool_but_not_its_place(
    pool: Pool, tiny_data: Data, tmp_path: Path
) -> None:
    file = through(pool, tiny_data, "dm").run().save(tmp_path / "set")
    assert str(pool.path).encode() not in file.read_bytes()
    supply = CondensedSet.load(file).about.config["supply"]
    assert supply["fingerprint"] == pool.fingerprint()
    assert "path" not in supply


def test_batch_norm_pools(tiny_data: Data, tmp_path: Path) -> None:
    settings = pool_settings(tiny_data, "convnet1:width=4,norm=batch", epochs=1)
    bn = train_pool(tiny_data, settings, 2, tmp_path / "bn", plan=EXACT)
    frozen = through(bn, tiny_data, "dc").run()
    left = through(bn, tiny_data, "dm", **{"supply.freeze_with": 0}).run()
    assert torch.isfinite(frozen.stored).all()
    assert not torch.equal(left.stored, through(bn, tiny_data, "dm").run().stored)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"supply.path": ""}, "supply.path is missing"),
        ({"supply.path": "nowhere"}, "holds no pool of networks: name the folder of one"),
        ({"supply.above": 100.5}, "supply.above is an accuracy in percent"),
        ({"supply.above": 60, "supply.below": 50}, "must lie below supply.below (50)"),
        ({"supply.above": 0.3, "supply.below": 0.6}, "both are percent"),
        ({"supply.above": 1.0, "supply.below": 1.5}, "no snapshot of"),
        ({"supply.steps": 0}, "supply.steps"),
        ({"supply.net": "mlp"}, "supply.net"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], words: str, pool: Pool, tiny_data: Data) -> None:
    with pytest.raises(UsageError) as refused:
        through(pool, tiny_data, "dm", **settings)
    assert words in str(refused.value)


def test_a_pool_of_other_images_is_refused(pool: Pool) -> None:
    with pytest.raises(UsageError, match="expect images of 1×8×8 and 3 classes"):
        through(pool, tiny(channels=3), "dm")
    with pytest.raises(UsageError, match="these data have 1×8×8 and 2"):
        through(pool, tiny((9, 9)), "dm")


def test_a_pool_that_grew_is_still_the_one_of_its_runs(pool: Pool, tiny_data: Data) -> None:
    run = through(pool, tiny_data, "dm")
    assert "snapshots in" in notes_of(Choices.of(run.config), run.config.ipc)[0]
    before = run.run().stored
    made(tiny_data, pool.path, 4, rate=0.1, snapshots=[0, 1, 3])
    again = Condenser(tiny_data, run.config, EXACT).run().stored
    assert torch.equal(again, before)
    supply: Any = through(pool, tiny_data, "dm").supply
    assert len(supply._band.snapshots) == 12
    first = through(pool, tiny_data, "dm", **{"supply.first": 9})
    assert first.config.supply.settings["fingerprint"] == run.config.supply.settings["fingerprint"]
    with pytest.raises(UsageError, match="give 1 … 12"):
        through(pool, tiny_data, "dm", **{"supply.first": 13})


def test_another_pool_is_noticed(pool: Pool, tiny_data: Data, tmp_path: Path) -> None:
    config = through(pool, tiny_data, "dm").config
    other = made(tiny_data, tmp_path / "other", 3, rate=0.2, snapshots=[0, 1, 3])
    other.path.replace(tmp_path / "moved")
    pool.path.rename(tmp_path / "mine")
    (tmp_path / "moved").rename(pool.path)
    with pytest.raises(DataError, match=r"is not the pool this .* --supply\.path"):
        Condenser(tiny_data, config, EXACT)
    moved = {**config.as_dict(), "supply": {**config.as_dict()["supply"]}}
    moved["supply"]["path"] = str(tmp_path / "mine")
    Condenser(tiny_data, configure(tiny_data, moved), EXACT).run(1)


def test_a_pool_of_other_training_images_is_refused(pool: Pool, tiny_data: Data) -> None:
    train = tiny_data.train
    swapped = load((tiny_data.test.images.clone(), tiny_data.test.labels.clone()), test=(
        train.images[:3].clone(), train.labels[:3].clone()), flip=True)  # fmt: skip
    with pytest.raises(UsageError, match=r"trained on images other .* may include test images"):
        through(pool, swapped, "dm")


class Mine(nn.Module):
    """A network from outside the package, with two names for one parameter."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.one = nn.Linear(64 * channels, 64 * channels)
        self.two = nn.Linear(64 * channels, 64 * channels)
        self.two.weight = self.one.weight
        self.classifier = nn.Linear(64 * channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.two(torch.relu(self.one(images.flatten(1)))))
        return self.classifier(hidden)  # type: ignore[no-any-return]


def test_a_pool_runs_no_code_that_was_not_named(tiny_data: Data, tmp_path: Path) -> None:
    spec = "tests.methods.test_pools:Mine"
    settings = pool_settings(tiny_data, spec, epochs=2)
    often = Every.parse("0.001s")
    mine = train_pool(tiny_data, settings, 1, tmp_path / "mine", plan=EXACT, every=often)
    with pytest.raises(UsageError, match=f"pass --supply.module {spec}"):
        through(mine, tiny_data, "dm")
    through(mine, tiny_data, "dm", **{"supply.module": spec}).run()
    index = mine.path / "pool.json"
    held = json.loads(index.read_text())
    hostile = f"subprocess:getoutput:cmd=touch {tmp_path / 'PWNED'}"
    held["settings"]["net"] = hostile
    index.write_text(json.dumps(held))
    for named in (None, spec):
        with pytest.raises(UsageError, match="code from outside this package"):
            through(mine, tiny_data, "dm", **{"supply.module": named})
        with pytest.raises(UsageError, match="code from outside this package"):
            through(mine, tiny_data, "idc", **{"supply.kind": "trained_on_real"})
    assert not (tmp_path / "PWNED").exists()


def test_snapshots_within_one_step_are_refused(tiny_data: Data, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--snapshots 0\.02 and 0\.05 fall on the same step"):
        made(tiny_data, tmp_path / "pool", snapshots=[0, 0.02, 0.05])
    assert not (tmp_path / "pool").exists(), "found before anything was written"
    one = made(tiny_data, tmp_path / "pool", 1, snapshots=[0, 0.01])
    start, step = (one.weights(s) for s in one.snapshots)
    assert not all(torch.equal(start[n], step[n]) for n in start), "0.01 epochs are a step"


def test_a_beginning_without_networks_does_not_block_a_folder(
    tiny_data: Data, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match="lower --rate"):
        made(tiny_data, tmp_path / "pool", rate=1e30)
    made(tiny_data, tmp_path / "pool", rate=0.1)
    alone = tiny((5, 1))
    with pytest.raises(DataError, match="at least two"):
        made(alone, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_pool_goes_on_by_its_plan_and_says_so(tiny_data: Data, tmp_path: Path) -> None:
    said: list[str] = []
    settings = settings_of(tiny_data)
    train_pool(tiny_data, settings, 1, tmp_path / "pool", plan=EXACT, say=said.append)
    assert any("plan: exact" in line for line in said)
    train_pool(tiny_data, settings, 2, tmp_path / "pool", plan="auto", say=said.append)
    assert any("with its original plan" in line for line in said)
    assert not any("plan: auto" in line for line in said)
    train_pool(tiny_data, settings, 1, tmp_path / "pool", say=said.append)
    assert "has 2 networks already; nothing to do" in said[-1]
    facts = tmp_path / "pool" / "run.json"
    held = json.loads(facts.read_text())
    facts.write_text(json.dumps({**held, "plan": {**held["plan"], "device": "cuda:7"}}))
    with pytest.raises(UsageError, match=r"started with: .*choose another --out"):
        train_pool(tiny_data, settings, 3, tmp_path / "pool")


def test_damaged_pools_are_refused(pool: Pool, tiny_data: Data) -> None:
    run = through(pool, tiny_data, "dm")
    for one in pool.snapshots:
        (pool.path / one.file).write_bytes(b"\x00" * 40)
    with pytest.raises(DataError, match=r"does not match what pool\.json lists"):
        run.run()
    index = pool.path / "pool.json"
    held = json.loads(index.read_text())
    outside = {**held, "snapshots": [{**held["snapshots"][0], "file": "../../etc/passwd"}]}
    index.write_text(json.dumps(outside))
    with pytest.raises(DataError, match="outside the pool"):
        through(pool, tiny_data, "dm").run()
    for content, words in (
        ("{", "is damaged"),
        (json.dumps({**held, "format": 2}), "update condensery"),
        (json.dumps({**held, "snapshots": [{"network": 0}]}), "is damaged"),
        (json.dumps({**held, "settings": {}}), "net, data, fingerprint, classes, shape in it"),
        (
            json.dumps({**held, "snapshots": [{**outside["snapshots"][0], "accuracy": "9"}]}),
            "damag",
        ),
        (json.dumps({**held, "snapshots": [{**outside["snapshots"][0], "file": 3}]}), "is damaged"),
        ("[]", "is damaged"),
    ):
        index.write_text(content)
        with pytest.raises(DataError, match=words):
            Pool.read(pool.path)


# ----------------------------------------------------------------- the command

COMMAND = [
    *("pool", "--net", NET, "--count", "2", "--epochs", "2", "--snapshots", "0", "1.5", "2"),
    *("--plan", "exact", "--threads", "1"),
]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, answer = tmp_path / "pool", tmp_path / "answer.json"
    assert main([*COMMAND, "--out", str(out), "--json", str(answer)]) == 0
    said = capsys.readouterr().out
    assert "training 2 networks convnet1:width=4 for 2 epochs on digits, 10% of each" in said
    assert "epoch     1.5: 2 networks" in said
    assert "6 snapshots: " in said
    found = json.loads(answer.read_text())
    assert len(found["snapshots"]) == sum(found["bands"].values()) == 6
    assert json.loads((out / "run.json").read_text())["plan"]["name"] == "exact"
    assert main([*COMMAND, "--out", str(out)]) == 0
    through_it = ["--supply.kind", "pool", "--supply.path", str(out), "--supply.below", "95"]
    arguments = ["condense", "--ipc", "1", "--iterations", "2", "--plan", "exact", *through_it]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert "snapshots in" in capsys.readouterr().out
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--snapshots", "3"], "--snapshots are epochs from 0 to --epochs 2"),
        (["--count", "0"], "--count must be at least 1"),
        (["--held-out", "1"], "--held-out is a share"),
        (["--rate", "0"], "--rate must be positive"),
        (["--epochs", "0"], "--epochs"),
        (["--net", "convnt3"], "convnet3"),
        (["--snapshot", "1"], "did you mean --snapshots"),
        (["--snapshots", "0,0.5"], "must be a number (several are separated by spaces), got 0,0.5"),
        (["--seed", "7"], "holds another pool (seed there: 0, here: 7)"),
        (["--supply.net", "mlp"], "only condense takes it"),
    ],
)
def test_mistakes_of_the_command(
    more: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pool"
    if "--seed" in more:
        assert main([*COMMAND, "--out", str(out), "--quiet"]) == 0
    try:
        code = main([*COMMAND, "--out", str(out), *more])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert words in capsys.readouterr().err


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    assert main([*COMMAND, "--out", str(tmp_path)]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert main([*COMMAND, "--out", str(tmp_path / "letter.txt")]) == 2
    assert [f.name for f in tmp_path.iterdir()] == ["letter.txt"]


def test_a_rate_that_diverges_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--out", str(tmp_path / "p"), "--rate", "1e30"]) == 1
    assert "lower --rate (it is 1e+30)" in capsys.readouterr().err


@pytest.mark.xdist_group("forked")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    out = tmp_path / "pool"
    long = [*COMMAND[:2], NET, "--count", "1", "--epochs", "100000", "--plan", "exact"]
    process = Program(main, [*long, "--out", str(out)])
    until = time.monotonic() + 60
    while not (out / "run.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"stopped by SIGINT; the same command continues {out}" in said


def test_a_pool_without_anything_held_out_trains_on_everything(
    tiny_data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tiny_data, rate=0.1, held_out=0.0, epochs=1)
    pool = train_pool(tiny_data, settings, 2, tmp_path / "pool", plan=FLOAT64)
    network, held_out = plain_training(tiny_data, settings, 1, 4)  # 28 images in batches of 8
    assert len(held_out) == 0
    for name, value in network.state_dict().items():
        found = pool.weights(pool.snapshots[1])[name]
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-11)
    assert [one.accuracy for one in Pool.read(pool.path).snapshots] == [None, None]
    assert (pool.bands(), len(pool.within(0, 100)), pool.within(10, 100)) == ({}, 2, [])
    given = {"ipc": 1, "iterations": 2, "supply.kind": "pool", "supply.path": str(pool.path)}
    run = Condenser(tiny_data, configure(tiny_data, "dm", given), EXACT)
    run.run()
    assert run.supply.report() == {"networks": 2}
    band = configure(tiny_data, "dm", {**given, "supply.above": 10})
    with pytest.raises(UsageError, match="have no accuracies, because nothing was held out"):
        Condenser(tiny_data, band, EXACT)
    words = ["pool", "--net", NET, "--count", "1", "--epochs", "1", "--held-out", "0"]
    assert main([*words, "--plan", "exact", "--out", str(tmp_path / "more")]) == 0
    said = capsys.readouterr().out
    assert "epoch       1: 1 networks, nothing held out" in said
    assert "1 snapshots: no accuracies" in said


def test_a_pool_is_trained_with_colour_crop_and_cutmix_as_idc_trains(
    tiny_data: Data, tmp_path: Path
) -> None:
    """Appendix C.1 of IDC, for ImageNet-100: every image cropped, coloured, and mixed."""
    how = {"augmentation": "sequence", "cutmix": 1.0, "rate": 0.1, "weight_decay": 1e-4}
    settings = settings_of(tiny_data, **how, held_out=0.0, epochs=1, batch=28)
    assert settings.protocol.strategy == "color_crop"
    assert settings_of(tiny_data).protocol.strategy == Protocol.strategy
    pool = train_pool(tiny_data, settings, 1, tmp_path / "pool", plan=FLOAT64)
    train = tiny_data.train
    with fork_rng(0, "pool-network", 0):
        network = build(NET, train.shape, train.classes).double()
    rng = stream(0, "pool", 0, 0)
    rows = torch.cat(train.index)[torch.from_numpy(rng.permutation(28))]
    images = train.normalised(rows, dtype=torch.float64)
    images = augment_sequence(images, rng, parse_strategy("color_crop"))
    mixed, own, other, share = cutmix(images, train.labels[rows], rng, p=1.0)
    assert 0 <= share < 1
    logits = network(mixed)
    loss = share * cross_entropy(logits, own) + (1 - share) * cross_entropy(logits, other)
    loss.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None
        expected = weight - 0.1 * (weight.grad + 1e-4 * weight)
        found = pool.weights(pool.snapshots[0])[name]
        torch.testing.assert_close(found, expected.detach(), rtol=1e-7, atol=1e-9)


def test_a_pool_of_an_earlier_version_grows(tiny_data: Data, tmp_path: Path) -> None:
    pool = made(tiny_data, tmp_path / "pool", 1)
    index = json.loads((pool.path / "pool.json").read_text("utf-8"))
    for name in ("strategy", "cutmix"):
        del index["settings"][name]
    (pool.path / "pool.json").write_text(json.dumps(index), "utf-8")
    assert len(made(tiny_data, pool.path, 2).snapshots) == 2
    with pytest.raises(UsageError, match=r"another pool \(cutmix there: 0.0, here: 0.5\)"):
        made(tiny_data, pool.path, 2, cutmix=0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"held_out": 1.0}, "--held-out is a share from 0 to below 1"),
        ({"cutmix": 1.5}, "--cutmix is a probability from 0 to 1"),
        ({"strategy": "crp"}, "did you mean 'crop'"),
    ],
)
def test_wrong_settings_of_a_pool(given: dict[str, Any], message: str, tiny_data: Data) -> None:
    with pytest.raises(UsageError, match=message):
        settings_of(tiny_data, **given)
