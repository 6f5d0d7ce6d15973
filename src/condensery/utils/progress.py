"""Progress with an estimate: a bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from .escape import printable
from .output import put_error
from .text import time_text

#: Seconds between plain lines.
_EVERY = 15.0


class Progress:
    """Counts work that is done.

    Args:
        total: how much there is.
        what: what is counted, such as ``iterations``.
        quiet: say nothing.
        done: how much was done before.
        minutes: time after which it ends wherever it is.
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
        self._note = ""
        self._bar = None
        if not quiet and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=f" {what}", dynamic_ncols=True)

    def advance(self, note: str = "") -> None:
        """One more is done; ``note`` stays until the next one."""
        self._done += 1
        if self._counted is None:
            self._counted = time.monotonic(), self._done
        self._note = printable(note) or self._note
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(self._note, refresh=False)
            self._bar.update(1)
        elif not self.quiet and self._due():
            put_error(self.line())

    def within(self, where: str) -> None:
        """Part of the next one is done, such as ``step 7``; for work whose parts take long."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{where} {self._note}".strip(), refresh=True)
        elif not self.quiet and self._due():
            put_error(f"{self.line()}, {where} of the next")

    def line(self) -> str:
        """One plain line: how much, how fast, how long still."""
        began, first = self._began, self._first
        if self._counted is not None and self._done - self._counted[1] > 1:
            began, first = self._counted  # the first one compiles, and is slower than the rest
        spent = time.monotonic() - began
        rate = (self._done - first) / spent if spent > 0 else 0.0
        parts = [f"{self._done}/{self.total} {self.what}"]
        if rate > 0:
            left = (self.total - self._done) / rate
            if self.minutes is not None:
                left = min(left, max(0.0, 60 * self.minutes - (time.monotonic() - self._began)))
            parts.append(f"{rate:.3g}/s, {time_text(left)} left")
        return ", ".join([*parts, self._note] if self._note else parts)

    def say(self, text: str) -> None:
        """A line on standard error that does not disturb the bar; also when quiet."""
        if self._bar is None:
            put_error(text)
        else:
            with tqdm.external_write_mode(file=sys.stderr):
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
