"""Programs in processes of their own, forked from one that has imported torch already."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

#: The processes' parent: it is started with the first of them, and lives as long as the tests do.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([f"condensery.cli.{name}" for name in ("condense", "evaluate")])


class Program:
    """A function in a process of its own; it is waited for and stopped as a ``subprocess.Popen``.

    The function is found by its name, so it stands at the top of a module. What it returns is the
    exit code.
    """

    def __init__(
        self, does: Callable[..., Any], *given: Any, env: Mapping[str, str] | None = None
    ) -> None:
        self._said = Path(tempfile.mkdtemp(prefix="program-"))
        environment = dict(os.environ if env is None else env)
        self._process = _SERVER.Process(
            target=_within, args=(self._said, environment, does, given), daemon=True
        )
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """The exit code, or the signal below zero; none before the end."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self.poll() is None:
            self._process.kill()
            self._process.join()
        shutil.rmtree(self._said, ignore_errors=True)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it printed, and its errors, once it has ended."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(["a program of a test"], timeout)
        said = [self._said / name for name in ("out", "err")]
        out, err = (file.read_text("utf-8") if file.exists() else "" for file in said)
        shutil.rmtree(self._said, ignore_errors=True)
        return out, err


def _within(
    said: Path, environment: dict[str, str], does: Callable[..., Any], given: tuple[Any, ...]
) -> None:
    """What the child does: the function, as a program that was started with that environment."""
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(said / name, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(does(*given))
