"""What a bar shows beside itself, and when it is one over a time."""

from __future__ import annotations

import pytest

from condensery.utils.progress import Progress


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    held = [0.0]
    monkeypatch.setattr("condensery.utils.progress.time.monotonic", lambda: held[0])
    return held


def test_a_bar_over_the_time_there_is(now: list[float]) -> None:
    bar = Progress(20_000, "iterations", minutes=2)
    for second in range(1, 37):
        now[0] = float(second)
        bar.advance("loss 3")
    assert bar.share() == pytest.approx(36 / 120)
    assert bar.sides(80) == ("36 iterations", "1.4 min left, loss 3")


def test_work_that_ends_sooner_is_a_bar_over_the_work(now: list[float]) -> None:
    bar = Progress(10, "iterations", minutes=2)
    for second in range(1, 6):
        now[0] = float(second)
        bar.advance()
    assert bar.share() == 0.5
    assert bar.sides(80) == ("5/10 iterations", "5.0 s left")


def test_parts_count(now: list[float]) -> None:
    bar = Progress(4, "networks")
    now[0] = 30.0
    bar.within("epoch 30/100", 0.3, "a")
    bar.within("epoch 20/100", 0.2, "b")
    assert bar.share() == pytest.approx(0.125)
    assert bar.left() == pytest.approx(30 * 3.5 / 0.5)
    bar.within("", 0.0, "a")
    bar.advance("71.3 %: set on convnet3", "a")
    assert bar.share() == pytest.approx(1.2 / 4)


def test_a_narrow_terminal_keeps_the_accuracy(now: list[float]) -> None:
    bar = Progress(4, "networks")
    now[0] = 10.0
    bar.advance("71.3 %: runs/a/folder/with/a/long/name on convnet4:width=64 under a protocol")
    before, after = bar.sides(60)
    assert after.startswith("30.0 s left, 71.3 %: runs")
    assert after.endswith("…")
    assert len(before) + len(after) <= 60 - 12
