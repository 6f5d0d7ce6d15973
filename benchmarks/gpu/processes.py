"""Processes that carry jobs out, from outside: started, stopped in time, killed, replaced."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: Seconds until a worker has imported what it needs.
_START = 180.0


class Worker:
    """A process for jobs, started again when it ends."""

    def __init__(self, number: int, work: Path, env: dict[str, str], grace: float) -> None:
        self.number = number
        self.about: dict[str, Any] = {}
        self._log = work / "logs" / f"worker-{number}.log"
        self._env = env
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, ended: Callable[[], bool]) -> bool:
        """Start the process where there is none; whether it answers."""
        if self._process is not None and self._process.poll() is None:
            return True
        self.end()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), str(self._log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._env,
            start_new_session=True,  # a Ctrl-C at the terminal is for the queue
        )
        found = self._answer(time.monotonic() + _START, ended)
        if found is None:
            self.end()
            return False
        self.about = found
        return True

    def carry_out(
        self, commands: list[list[str]], log: Path, until: float, ended: Callable[[], bool]
    ) -> dict[str, Any]:
        """Let it carry a job out; stopped at a time, and killed where it does not stop."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        began = time.monotonic()
        with suppress(BrokenPipeError):
            process.stdin.write(
                json.dumps({"commands": commands, "log": str(log)}).encode() + b"\n"
            )
            process.stdin.flush()
        found = self._answer(until, ended)
        if found is None and process.poll() is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            found = self._answer(time.monotonic() + self._grace, lambda: False)
            if found is None and process.poll() is None:
                self.end()
                found = {"status": "stopped", "code": -signal.SIGKILL, "killed": True}
        if found is None:
            code = process.wait()
            found = {"status": "failed", "code": code, "traceback": f"the process ended: {code}"}
            self.end()
        found.setdefault("seconds", round(time.monotonic() - began, 2))
        return found

    def _answer(self, until: float, ended: Callable[[], bool]) -> dict[str, Any] | None:
        """A line of the worker; none where the time is over, or the process is."""
        assert self._process is not None
        assert self._process.stdout is not None
        held = b""
        while time.monotonic() < until and not ended():
            wait = max(0.0, min(0.2, until - time.monotonic()))
            if not select.select([self._process.stdout], [], [], wait)[0]:
                continue
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            if not more:
                return None
            held += more
            if held.endswith(b"\n"):
                answer: dict[str, Any] = json.loads(held)
                return answer
        return None

    def told(self) -> str:
        """The end of what it printed outside of jobs."""
        return end_of(self._log)

    def end(self) -> None:
        """End the process at once; it holds nothing that is not on disk."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # compilers that it started, too
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def end_of(log: Path) -> str:
    """What a log says last."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-2000:]
    except OSError:
        return ""


def environment(work: Path, workers: int) -> dict[str, str]:
    """What workers are started with: one cache of decoded images, a share of the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    path = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {
        "CONDENSERY_DEVICE_SHARE": f"{0.5 / workers:.3f}",
        "OMP_NUM_THREADS": str(max(1, cores // workers)),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONUNBUFFERED": "1",
        "CONDENSERY_CACHE": str(work / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "compiled" / "inductor"),
        "TRITON_CACHE_DIR": str(work / "compiled" / "triton"),
    }


def warm(data: Sequence[str], env: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """Decode each data set in a process of its own; workers find it in the cache."""
    code = "import sys; from condensery.data import load; load(sys.argv[1])"
    return [
        subprocess.Popen([sys.executable, "-c", code, name], env=env)
        for name in data
        if name != "digits"
    ]
