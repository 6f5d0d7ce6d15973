"""Requests to stop: Ctrl-C and SIGTERM, looked at between two steps of work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):  # noqa: N818  (a request, not an error)
    """The run was asked to stop, and did so between two pixel steps."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_requests(*, patient: bool = False) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM fill the list, for the loop to look at; a second one ends at once.

    Args:
        patient: none ends at once: torchrun passes on what a terminal has sent already.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen  # signals are for the main thread
        return

    def asked(number: int, frame: FrameType | None) -> None:
        if seen and not patient:
            raise SystemExit(128 + number)
        seen.append(number)

    before = {s: signal.signal(s, asked) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """SIGTERM ends the block as Ctrl-C does; the list tells which signal it was.

    For work that can stop anywhere, because all that is finished is on disk.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield seen  # signals are for the main thread
        return

    def asked(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, asked)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGTERM, before)
