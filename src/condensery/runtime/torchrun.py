"""What torchrun says about this process, in environment variables; no torch is imported."""

from __future__ import annotations

import os

from condensery.errors import UsageError


def launched() -> int:
    """How many processes this one was launched with: torchrun's ``WORLD_SIZE``, or 1."""
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        return 1
    return number("WORLD_SIZE", 1)


def launched_here() -> int:
    """How many of them run on this machine."""
    return min(launched(), number("LOCAL_WORLD_SIZE", 1)) if launched() > 1 else 1


def number(name: str, default: int) -> int:
    """A number of the environment."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise UsageError(f"the environment variable {name} must be a number, as torchrun sets it")
    return int(text)


def check_alone(command: str) -> None:
    """Raise if several processes were launched for a command that works in one.

    Raises:
        UsageError: naming the command.
    """
    if launched() > 1:
        raise UsageError(
            f"{command} runs in one process, but torchrun started {launched()}; condense, resume, "
            "evaluate, compare, pool and reproduce can be split over processes; run it without "
            "torchrun"
        )


def is_first() -> bool:
    """Whether this process speaks for those that would all say the same."""
    return launched() == 1 or number("RANK", 0) == 0
