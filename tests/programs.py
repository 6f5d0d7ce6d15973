"""Programs in processes of their own, forked from one that is warm; see ``warm.py``."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

#: The processes' parent: it is started with the first of them, and lives as long as the tests do.
_SERVER = multiprocessing.get_context("forkserver")
_FIRST = ["pytest", "condensery.cli.condense", "condensery.cli.evaluate", "tests.warm"]
_SERVER.set_forkserver_preload(_FIRST)
_ROOT = Path(__file__).parents[1]


@cache
def _start() -> None:
    """Start the programs' parent, which finds this package wherever a test may be."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        multiprocessing.forkserver.ensure_running()


def end() -> None:
    """End the programs' parent and wait for it, so that its time counts as the tests'."""
    vars(multiprocessing.forkserver)["_forkserver"]._stop()


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
        _start()
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


class Forked(Program):
    """``subprocess.Popen`` of ``python SCRIPT`` or ``python -m MODULE``, begun with torch imported.

    For programs that are talked to through pipes. What Python itself does at the start and at the
    end is not what an interpreter of its own does.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        text: bool = False,
        **_: Any,
    ) -> None:
        taken, given = os.pipe()
        heard, said = os.pipe()
        ends = Connection(taken, writable=False), Connection(said, readable=False)
        super().__init__(_python, list(words), *ends, env=env)
        for end in ends:
            end.close()
        mode = "" if text else "b"
        self.stdin: Any = open(given, f"w{mode}")  # noqa: PTH123, SIM115
        self.stdout: Any = open(heard, f"r{mode}")  # noqa: PTH123, SIM115

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.stdin.close()
        with self.stdout:
            told = str(self.stdout.read())
        return told, super().communicate(timeout)[1]

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        if self.returncode is not None:
            shutil.rmtree(self._said, ignore_errors=True)
        return self.returncode


#: In place of ``subprocess``, in a module that starts workers.
FORKING = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)


def _python(words: list[str], taken: Connection, said: Connection) -> None:
    """What an interpreter does with these words, its input and output being pipes."""
    os.setsid()
    for end, number in ((taken, 0), (said, 1)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    rest = [word for word in words[1:] if word != "-P"]
    if rest[0] == "-m":
        sys.argv = rest[1:]
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = rest
        sys.path.insert(0, str(Path(rest[0]).parent))
        runpy.run_path(rest[0], run_name="__main__")


def imported() -> int:
    """Whether the command's packages brought what reads pictures and tables along; the exit code.

    For a child: its parent imported the command and read the recipes, and nothing else.
    """
    assert "tests.warm" in sys.modules
    heavy = {"datasets", "sklearn", "PIL", "pyarrow"} & set(sys.modules)
    print(sorted(heavy))
    return len(heavy)


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
