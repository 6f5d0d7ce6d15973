"""Pools that fit a time: seconds of an epoch, the cache, and what a network knows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

import numpy as np
import pytest

from condensery.config.later import as_written
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.methods.pools import in_time, timing
from condensery.methods.pools.cached import cache_of, length_of, longest
from condensery.methods.pools.in_time import Wanted, training_in_time
from condensery.methods.pools.knowledge import known_of, mirrored_of
from condensery.methods.pools.store import INDEX, Pool
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.runtime.plan import exact_plan
from condensery.training.trainer import Course
from condensery.utils.locks import InUseError, in_use, wait_until_free
from tests.conftest import tiny

PLAN = exact_plan("cpu", 1)
WANTED = Wanted(
    net="convnet1:width=4",
    rate=0.01,
    batch=2,
    schedule="constant",
    average=0.0,
    early=0.0,
    early_steps=0,
    least_epochs=0.3,
    most_epochs=0.4,
    least_steps=0,
    enough=100.0,
    seed=0,
)


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes ten seconds."""
    monkeypatch.setattr(in_time, "seconds_per_epoch", lambda *_: 10.0)


def pool_of(data: Data, seconds: float = 60.0, **changes: Any) -> Pool | None:
    return training_in_time(data, dataclasses.replace(WANTED, **changes), seconds, plan=PLAN).pool()


@pytest.mark.parametrize(("batch", "steps"), [(6, 4), (10, 3), (20, 2), (100, 1)])
def test_an_epoch_takes_its_steps_however_few(
    batch: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a tick of the clock for each of its images; the first takes a thousand more."""
    data = tiny((12, 12))
    settings = pool_settings(data, WANTED.net, batch=batch, held_out=0.0)
    now = [0.0]
    real = Course.steps

    def counted(course: Any, part: Any, rng: Any, epoch: int) -> Iterator[int]:
        for step in real(course, part, rng, epoch):
            now[0] += min(batch, len(part) - step * batch)
            now[0] += 1000 if epoch == step == 0 else 0  # compiling
            yield step

    monkeypatch.setattr(Course, "steps", counted)
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    expected = steps * min(batch, 24)
    assert timing.seconds_per_epoch(data, settings, PLAN) == pytest.approx(expected)


def test_slow_steps_are_measured_once(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = pool_settings(tiny_data, WANTED.net, batch=2)
    now, real, done = [0.0], Course.steps, []

    def slow(course: Any, *given: Any) -> Iterator[int]:
        for step in real(course, *given):
            now[0] += 60.0
            done.append(step)
            yield step

    monkeypatch.setattr(Course, "steps", slow)
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    assert timing.seconds_per_epoch(tiny_data, settings, PLAN) == pytest.approx(13 * 60.0)
    assert done == [0, 1]


@pytest.mark.parametrize("what", ["index", "weights", "missing weights"])
def test_a_damaged_pool_is_trained_anew(what: str, tiny_data: Data, known_speed: None) -> None:
    first = pool_of(tiny_data)
    assert first is not None
    file = first.path / (INDEX if what == "index" else first.snapshots[0].file)
    if what == "index":  # of a pool that was not finished
        (first.path / "checkpoints").mkdir(exist_ok=True)
        (first.path / "checkpoints" / "state.safetensors").write_bytes(b"{")
    if what == "missing weights":
        file.unlink()
    else:
        file.write_bytes(b"{")
    assert longest(first.path.parent, 10.0) is None
    again = pool_of(tiny_data)
    assert again is not None
    assert again.fingerprint() == first.fingerprint()
    assert longest(first.path.parent, 10.0) == again


def test_numbers_and_early_networks_have_caches_of_their_own(tiny_data: Data) -> None:
    settings = pool_settings(tiny_data, WANTED.net)
    narrow = dataclasses.replace(PLAN, update_dtype="bfloat16")
    faster = dataclasses.replace(PLAN, chunk=64)
    auto = dataclasses.replace(PLAN, name="auto")
    assert cache_of(tiny_data, settings, (0.0, 0), auto) == cache_of(
        tiny_data, settings, (0.0, 0), dataclasses.replace(narrow, name="auto")
    ), "a longer pool serves shorter commands"
    own = cache_of(tiny_data, settings, (0.0, 0), PLAN)
    assert cache_of(tiny_data, settings, (0.0, 0), faster) == own
    assert cache_of(tiny_data, dataclasses.replace(settings, epochs=3), (0.0, 0), PLAN) == own
    others = {cache_of(tiny_data, settings, (0.0, 0), narrow)}
    others |= {cache_of(tiny_data, settings, early, PLAN) for early in ((0.5, 0), (0.0, 9))}
    assert len(others | {own}) == 4


def test_networks_of_edited_code_are_trained_anew(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = pool_settings(tiny_data, "tests.methods.test_pools:Mine")
    own = cache_of(tiny_data, settings, (0.0, 0), PLAN)
    assert cache_of(tiny_data, settings, (0.0, 0), PLAN) == own
    monkeypatch.setattr("inspect.getsource", lambda _: "edited")
    assert cache_of(tiny_data, settings, (0.0, 0), PLAN) != own

    def missing(_: Any) -> str:
        raise OSError

    monkeypatch.setattr("inspect.getsource", missing)
    places = {cache_of(tiny_data, settings, (0.0, 0), PLAN) for _ in range(2)}
    assert len(places) == 2, "nothing tells whether it was edited"


def test_a_pool_that_is_too_short_to_be_of_use_is_not_taken(
    tiny_data: Data, known_speed: None
) -> None:
    """It was left by a command that was stopped after it had asked whether the data are easy."""
    settings = pool_settings(tiny_data, WANTED.net, epochs=1, snapshots=[0.1], batch=2, rate=0.01)
    folder = cache_of(tiny_data, settings, (0.0, 0), PLAN)
    short = train_pool(tiny_data, settings, 1, folder / "epochs-0.1", plan=PLAN)
    assert length_of(short) == 0.1
    assert pool_of(tiny_data, 2.0) is None, "time for .17 epochs"
    told = pool_of(tiny_data, 2.0, enough=-1.0)
    assert told == short, "it knows enough"
    longer = pool_of(tiny_data, 60.0)
    assert longer is not None
    assert length_of(longer) == 0.4


def test_a_pool_that_another_command_trains_is_waited_for(
    tiny_data: Data, known_speed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    marks = [0.1, 0.2, 0.3, 0.4]
    settings = pool_settings(
        tiny_data, WANTED.net, batch=2, rate=0.01, epochs=1, snapshots=marks, held_out=0.1
    )
    place = cache_of(tiny_data, settings, (0.0, 0), PLAN) / "epochs-0.4"
    Pool(place, as_written(settings), ()).write()
    held = in_use(place)
    held.__enter__()

    def release() -> None:
        while not said or "another command" not in said[-1]:
            sleep(0.01)
        held.__exit__(None, None, None)

    other = Thread(target=release)
    other.start()
    pool = training_in_time(tiny_data, WANTED, 60.0, plan=PLAN, say=said.append).pool()
    other.join()
    assert pool is not None
    assert pool.path == place

    monkeypatch.setattr(in_time, "_WAITS", 0.0)
    monkeypatch.setattr(in_time, "train_pool", busy)
    monkeypatch.setattr(in_time, "wait_until_free", lambda *_: False)
    with pytest.raises(UsageError, match=r"still training the pool .* give another --seed"):
        pool_of(tiny_data, seed=1)


def busy(*_: Any, **__: Any) -> Pool:
    raise InUseError("in use")


def test_a_folder_may_be_waited_for(tmp_path: Path) -> None:
    assert wait_until_free(tmp_path / "none", 0.0)
    with in_use(tmp_path):
        assert not wait_until_free(tmp_path, 0.0)
    assert wait_until_free(tmp_path, 0.0)


@pytest.mark.parametrize("accuracy", [100.0, 66.6667, 0.0])
def test_what_a_network_knows_is_less_an_error(accuracy: float, tiny_data: Data) -> None:
    """Wilson's bound for 3 held-out images, solved from |p − q| = √(q(1 − q)/n).

    One image of each class is held out, so a third of them are right by chance.
    """
    pool = pool_of(tiny_data, 60.0)
    assert pool is not None
    told = [dataclasses.replace(one, accuracy=50.0) for one in pool.snapshots]
    told[-1] = dataclasses.replace(told[-1], accuracy=accuracy)
    known = known_of(dataclasses.replace(pool, snapshots=tuple(told)), tiny_data) / 100
    right = round(accuracy / 100 * 3) / 3
    found = 1 / 3 + known * 2 / 3
    assert found <= max(right, 1 / 3)
    if known:
        assert right - found == pytest.approx(math.sqrt(found * (1 - found) / 3), abs=1e-3)


@pytest.mark.parametrize(("counts", "easy"), [((970, 30), False), ((500, 500), True)])
def test_naming_the_most_frequent_class_is_to_know_nothing(
    counts: tuple[int, int], easy: bool
) -> None:
    """97 % of images are right: of one class in 33 that says nothing."""
    data = tiny(counts)
    pool = pool_of(data, 60.0)
    assert pool is not None
    told = tuple(dataclasses.replace(one, accuracy=97.0) for one in pool.snapshots)
    known = known_of(dataclasses.replace(pool, snapshots=told), data)
    assert (known > 80) == easy
    assert easy or known == 0


@pytest.mark.parametrize("told_apart", [True, False])
def test_networks_say_whether_mirror_images_are_other_things(told_apart: bool) -> None:
    """Two classes of images, bright on the left or right; or at the top or bottom."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(0.4, 0.1, (400, 8, 8)), np.arange(400) % 2
    for image, label in zip(images, labels, strict=True):
        half = slice(0, 4) if label else slice(4, 8)
        image[(slice(None), half) if told_apart else half] += 0.3
    data = load((images.astype(np.float32), labels), test=(images.astype(np.float32), labels))
    pool = pool_of(data, 600.0, net="mlp:width=16", batch=10, most_epochs=3.0, least_epochs=2.0)
    assert pool is not None
    found = mirrored_of(pool, data)
    assert found.known > 80
    assert found.differ == told_apart
    assert (found.mirrored, found.p < 1e-3) == ((0, True) if told_apart else (found.known, False))


def test_a_pool_that_is_nearly_as_long_is_taken(
    known_speed: None, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """.4 of an epoch is 80 % of .5, and 67 % of .6."""
    changes = {"most_epochs": 1.0, "least_epochs": 0.1}
    monkeypatch.setattr(in_time, "monotonic", lambda: 0.0)
    assert path_of(pool_of(tiny_data, 0.42 * 10 / 0.85, **changes)) == "epochs-0.4"
    assert path_of(pool_of(tiny_data, 0.52 * 10 / 0.85, **changes)) == "epochs-0.4"
    assert path_of(pool_of(tiny_data, 0.76 * 10 / 0.85, **changes)) == "epochs-0.75"


def path_of(pool: Pool | None) -> str:
    assert pool is not None
    return pool.path.name


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_trained(
    known_speed: None, tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(in_time, "train_pool", lambda *_, **__: pytest.fail("trained"))
    assert pool_of(tiny_data, 1.0) is None, "without time for a pool none has to be kept"
    with pytest.raises(UsageError, match="cannot be written; set CONDENSERY_CACHE to a folder"):
        pool_of(tiny_data)


@pytest.mark.parametrize(("within", "steps"), [(999.0, 1), (1001.0, 6), (1e9, 6)])
def test_no_more_is_measured_than_there_is_time_for(
    within: float, steps: int, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step takes a thousand seconds, and the others one each."""
    settings = pool_settings(tiny_data, WANTED.net, batch=2)
    done: list[int] = []
    now, real = [0.0], Course.steps

    def counted(course: Any, part: Any, rng: Any, epoch: int) -> Iterator[int]:
        for step in real(course, part, rng, epoch):
            now[0] += 1 if done else 1000
            done.append(step)
            yield step

    monkeypatch.setattr(Course, "steps", counted)
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    timing.seconds_per_epoch(tiny_data, settings, PLAN, within)
    assert len(done) == steps
