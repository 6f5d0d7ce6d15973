"""What a run will take, told from its steps or from one class of one step."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch import nn

from condensery.condensation import dry_run as dry
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.matcher import Matcher
from condensery.data import Data
from condensery.methods.supply.trained_on_real import TrainedOnReal
from condensery.runtime.plan import exact_plan

#: Seconds of the clock below: to match a class, to train on real images, and to pretrain.
MATCHING, LEARNING, PRETRAINING = 2.0, 5.0, 7.0
FIELDS: dict[str, Any] = {"ipc": 2, "iterations": 10, "supply.pretrain": 1, "supply.steps": 4}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A clock that only work moves on; what was done, in order."""
    done: list[str] = []
    now = [0.0]

    def spends(kind: Any, name: str, seconds: Any) -> None:
        plain = getattr(kind, name)

        def timed(self: Any, *given: Any) -> Any:
            now[0] += seconds(self)
            done.append(name)
            return plain(self, *given)

        monkeypatch.setattr(kind, name, timed)

    spends(Matcher, "gradient", lambda matcher: MATCHING * len(matcher.own))
    spends(TrainedOnReal, "advance", lambda supply: LEARNING)
    spends(TrainedOnReal, "prepare", lambda supply: 0.0 if supply._ready else PRETRAINING)
    monkeypatch.setattr("condensery.condensation.dry_run.time.perf_counter", lambda: now[0])
    return done


def measured(data: Data, recipe: str = "idc", **more: Any) -> dry.DryRun:
    fields = {**FIELDS, "supply.net": "convnet1:width=4", "supply.images": 8, **more}
    return dry.dry_run(data, configure(data, recipe, fields), exact_plan("cpu", 1))


def test_one_class_tells_what_all_of_them_take(
    tiny_data: Data, clock: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry, "_PATIENCE", 1e6)
    by_steps = measured(tiny_data)
    assert by_steps.measured_classes is None
    steps = clock.count("advance")
    clock.clear()
    monkeypatch.setattr(dry, "_PATIENCE", 3 * MATCHING - 1)
    by_class = measured(tiny_data)
    assert by_class.measured_classes == 1
    assert clock == ["gradient", "gradient", "prepare", "prepare", "advance"]
    assert steps > 1
    for one in (by_steps, by_class):
        assert one.steps == 4
        assert one.step_seconds == 3 * MATCHING + LEARNING
        assert one.network_seconds == PRETRAINING
        assert one.start_seconds == 3 * MATCHING + LEARNING + PRETRAINING
        assert one.seconds == 10 * (4 * (3 * MATCHING + LEARNING) + PRETRAINING)


def test_what_ties_classes_is_measured_whole(
    tiny_data: Data, clock: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry, "_PATIENCE", 0.0)
    batch_norm = measured(tiny_data, **{"supply.net": "convnet1:width=4,norm=batch"})
    assert batch_norm.measured_classes is None
    assert batch_norm.start_seconds == 3 * MATCHING + LEARNING + PRETRAINING


@pytest.mark.parametrize(("compiles", "later"), [(True, 1.0), (False, 30.0)])
def test_what_the_first_step_compiles_is_not_taken_for_a_later_one(
    compiles: bool, later: float, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first steps are the slower ones: a dozen tell more than three.
    took = [1.0] * 8 + [1.5] * 4 + [30.0]
    monkeypatch.setattr(dry, "_timed", lambda run: took.pop())
    monkeypatch.setattr(dry, "_by_a_class", lambda *_: pytest.fail("compiled for a class"))
    config = configure(tiny_data, "dm", {"ipc": 1, "supply.net": "convnet1:width=4"})
    plan = dataclasses.replace(exact_plan("cpu", 1), compile=True)
    if compiles:
        found = dry.dry_run(tiny_data, config, plan, planned=450.0)
        assert (found.start_seconds, found.step_seconds) == (30.0, later)
        assert not took
        took[:] = [1.0] * 8 + [1.5] * 4 + [30.0]
        found = dry.dry_run(tiny_data, config, plan, planned=60.0)
        assert (found.step_seconds, len(took)) == (1.5, 9), "no more than four seconds of sixty"
    else:
        run = Condenser(tiny_data, config, plan)
        assert dry._measured(run, 1, compiles, None) == (30.0, later, later)


def test_a_part_of_a_matcher_gives_the_gradient_of_its_classes(tiny_data: Data) -> None:
    config = configure(tiny_data, "idc", {**FIELDS, "supply.net": "convnet1:width=4"})
    run = Condenser(tiny_data, config, exact_plan("cpu", 1))
    network: nn.Module = run.supply.new(0)
    run.supply.prepare(network, run.context())
    stored = run.stored.detach()
    losses, whole = run.matcher.gradient(network, stored, 0, 0)
    parts = [
        run.matcher.of_classes(range(c, c + 1)).gradient(network, stored[c : c + 1], 0, 0)
        for c in range(3)
    ]
    assert sum(float(loss) for loss, _ in parts) == pytest.approx(float(losses), rel=1e-5)
    for c, (_, gradient) in enumerate(parts):
        assert gradient.equal(whole[c : c + 1])
