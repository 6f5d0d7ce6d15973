"""A process that lives as long as the queue and carries out one job after the other.

Jobs come in as lines of JSON on standard input; answers go out on what was standard output when the
process began. What a job prints goes to its log.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: What the command answers when a signal stopped it: SIGINT, SIGTERM.
STOPPED = (130, 143)


def command() -> Callable[[Sequence[str]], int]:
    """The command ``condensery``, wherever its module lies."""
    for name in ("condensery.cli", "condensery.cli.main"):
        try:
            found: Any = getattr(importlib.import_module(name), "main", None)
        except ModuleNotFoundError:
            continue
        if callable(found):
            main: Callable[[Sequence[str]], int] = found
            return main
    raise ImportError("condensery has no command; put src/ on PYTHONPATH")


def about() -> dict[str, Any]:
    """GPU and versions."""
    import torch

    here = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if here else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def carry_out(main: Callable[[Sequence[str]], int], commands: list[list[str]]) -> dict[str, Any]:
    """Run a job's commands until one does not succeed."""
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    began = time.monotonic()
    answer: dict[str, Any] = {"status": "done", "code": 0}
    for argv in commands:
        print(f"$ condensery {' '.join(argv)}", flush=True)
        answer = _one(main, argv)
        if answer["status"] != "done":
            break
    answer["seconds"] = round(time.monotonic() - began, 2)
    answer["peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1) if gpu else None
    return answer


def _one(main: Callable[[Sequence[str]], int], argv: list[str]) -> dict[str, Any]:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main(argv)
    except KeyboardInterrupt:
        code = STOPPED[0]
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        told = traceback.format_exc()
        print(told, file=sys.stderr, flush=True)
        return {"status": "failed", "code": 1, "traceback": told}
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a late one must not end this process
    status = "done" if code == 0 else "stopped" if code in STOPPED else "failed"
    return {"status": status, "code": code}


def _clean() -> None:
    """Leave nothing of a job to the next one: memory, and what was compiled for its shapes."""
    import torch

    if "torch._dynamo" in sys.modules:  # else nothing was compiled, and this imports it for seconds
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _into(log: str) -> None:
    """Let all that is printed go to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def serve() -> None:
    """Answer jobs until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["CONDENSERY_TRACEBACK"] = "1"  # into the job's log, whose end its record has
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _into(sys.argv[1])

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    main = command()
    say(about())
    for line in sys.stdin:
        job = json.loads(line)
        _into(job["log"])
        answer = carry_out(main, job["commands"])
        if "traceback" in answer:
            say(answer)
            return  # a GPU that met an error may answer nothing else
        _clean()
        say(answer)


if __name__ == "__main__":
    serve()
