"""Progress with an estimate: a bar on a terminal and in a notebook, plain lines otherwise."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any

from .escape import printable
from .output import put_error
from .text import time_text

#: Seconds between plain lines.
_EVERY = 15.0
#: Columns that a bar keeps for itself.
_BAR = 12


class Progress:
    """Counts work that is done.

    Args:
        total: how much there is.
        what: what is counted, such as ``iterations``.
        quiet: say nothing.
        done: how much was done before.
        minutes: time after which it ends wherever it is; the bar is then one over that time, if
            the work takes longer.
    """

    def __init__(
        self,
        total: int,
        what: str,
        *,
        quiet: bool = False,
        done: int = 0,
        minutes: float | None = None,
    ) -> None:
        self.total, self.what = total, what
        self.minutes = minutes
        self.quiet = quiet
        self._first = self._done = done
        self._began = self._last = time.monotonic()
        self._counted: tuple[float, int] | None = None
        self._parts: dict[object, float] = {}
        self._where = self._note = ""
        self._bar = None if quiet else _new_bar()
        self._draw()

    def advance(self, note: str = "", part: object = None) -> None:
        """One more is done, of which parts may have been; ``note`` stays until the next one.

        Args:
            note: what came of it. Its beginning is what a narrow terminal shows.
            part: what :meth:`within` called it.
        """
        self._done += 1
        self._parts.pop(part, None)
        if self._counted is None:
            self._counted = time.monotonic(), self._done
        self._note, self._where = printable(note) or self._note, ""
        if self._bar is not None:
            self._draw()
        elif not self.quiet and self._due():
            put_error(self.line())

    def within(self, where: str, share: float = 0.0, part: object = None) -> None:
        """Part of the next one is done, such as ``step 7``; for work whose parts take long.

        Args:
            where: how far it is.
            share: of it that is done, from 0 to 1.
            part: which one it is, where several are in progress.
        """
        self._parts[part], self._where = share, where
        if self._bar is not None:
            self._draw()
        elif not self.quiet and self._due():
            put_error(self.line() + (f", {where} of the next" if where else ""))

    @property
    def _reached(self) -> float:
        return self._done + sum(self._parts.values())

    def left(self) -> float | None:
        """Seconds that are left; None while nothing is known."""
        now = time.monotonic()
        began, first = self._began, float(self._first)
        if self._counted is not None and self._reached - self._counted[1] > 1:
            began, first = self._counted  # the first one compiles, and is slower than the rest
        gained = self._reached - first
        known = [(self.total - self._reached) * (now - began) / gained] if gained > 0 else []
        if self.minutes is not None:
            known.append(max(0.0, 60 * self.minutes - (now - self._began)))
        return min(known, default=None)

    def line(self) -> str:
        """One plain line: how much, how fast, how long still."""
        began, first = self._began, self._first
        if self._counted is not None and self._done - self._counted[1] > 1:
            began, first = self._counted
        spent = time.monotonic() - began
        rate = (self._done - first) / spent if spent > 0 else 0.0
        parts = [f"{self._done}/{self.total} {self.what}"]
        left = self.left()
        if rate > 0 and left is not None:
            parts.append(f"{rate:.3g}/s, {time_text(left)} left")
        elif left is not None:
            parts.append(f"{time_text(left)} left")
        return ", ".join([*parts, self._note] if self._note else parts)

    def share(self) -> float:
        """How far it is, from 0 to 1: of the work, or of the time where that ends sooner."""
        work = self._reached / self.total if self.total else 1.0
        return min(1.0, max(work, self._time_share()))

    def _time_share(self) -> float:
        if not self.minutes or self.minutes <= 0:
            return 0.0
        return (time.monotonic() - self._began) / (60 * self.minutes)

    def sides(self, columns: int) -> tuple[str, str]:
        """What stands left and right of the bar, in so many columns."""
        timed = self._time_share() > self._reached / max(1, self.total)
        of = "" if timed else f"/{self.total}"
        before, left = f"{self._done}{of} {self.what}", self.left()
        parts = [time_text(left) + " left"] if left is not None else []
        after = ", ".join(part for part in (*parts, self._note, self._where) if part)
        room = max(10, columns - len(before) - _BAR)
        return before, after if len(after) <= room else after[: room - 1] + "…"

    def _draw(self) -> None:
        if self._bar is None:
            return
        columns = shutil.get_terminal_size().columns
        before, after = (text.replace("{", "{{").replace("}", "}}") for text in self.sides(columns))
        self._bar.bar_format = f"{before} |{{bar}}| {after}"
        self._bar.update(self.share() - self._bar.n)

    def say(self, text: str) -> None:
        """A line on standard error that does not disturb the bar; also when quiet."""
        if self._bar is None:
            put_error(text)
        else:
            with self._bar.external_write_mode(file=sys.stderr):
                put_error(text)

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < _EVERY and self._done != self.total:
            return False
        self._last = now
        return True

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._draw()
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _new_bar() -> Any:
    """A bar from 0 to 1 where one can be drawn; None elsewhere."""
    if not sys.stderr.isatty() and "ipykernel" not in sys.modules:
        return None
    from tqdm.auto import tqdm

    notebook = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)
    if not notebook and not sys.stderr.isatty():
        return None
    return tqdm(total=1.0, dynamic_ncols=True, miniters=0, bar_format=" |{bar}|")
