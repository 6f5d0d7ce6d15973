"""The notice that threads wait for processors that other work has."""

from __future__ import annotations

from collections.abc import Sequence

from condensery.condensation.stalls import Stalls


def told(steps: Sequence[tuple[float, float]], threads: int = 2) -> list[str]:
    """What is told while steps take so many seconds, and so many of processors' time."""
    now = [0.0, 0.0]
    watch = Stalls(threads, lambda: now[0], lambda: now[1])
    said = []
    for wall, used in [(0.0, 0.0), *steps]:
        now[0] += wall
        now[1] += used
        said.append(watch.step())
    return [text for text in said if text is not None]


QUICK, WAITING, LARGE = (0.1, 0.19), (0.6, 0.6), (0.6, 1.14)


def test_waiting_threads_are_told_once() -> None:
    (text,) = told([QUICK, QUICK, WAITING] * 40)
    assert "between 0.1 and 0.6 s" in text
    assert "2 threads" in text
    assert "--threads 1" in text


def test_steps_with_more_work_are_no_stalls() -> None:
    assert not told([QUICK, QUICK, LARGE] * 40)


def test_even_steps_and_single_threads_are_quiet() -> None:
    assert not told([QUICK] * 100)
    assert not told([WAITING] * 100)  # slow all the time: nothing says what it would be alone
    assert not told([QUICK, QUICK, WAITING] * 40, threads=1)
    assert not told([QUICK] * 23 + [WAITING])
