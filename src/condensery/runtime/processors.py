"""How many processors this process may use: affinity, container quotas, and what it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from .torchrun import launched_here

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
#: Where version 1 mounts the controller.
_V1 = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def processors() -> int:
    """How many this process may use: its affinity, and no more than a container's quota."""
    own = hasattr(os, "sched_getaffinity")
    here = len(os.sched_getaffinity(0)) if own else os.cpu_count() or 1
    allowed = quota()
    # Threads beyond a quota are halted together, in the middle of a step: part of one is none.
    return here if allowed is None else max(1, min(here, int(allowed)))


def default_threads() -> int:
    """The threads of a plan that names none.

    No more than torch takes by itself, which knows ``OMP_NUM_THREADS`` and ``set_num_threads``;
    under torchrun, the processors shared among the processes of this machine.
    """
    beside = launched_here()
    if beside == 1:
        return max(1, min(processors(), torch.get_num_threads()))
    share = max(1, processors() // beside)
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    # torchrun itself sets 1 where nothing was set.
    return min(share, int(asked)) if asked.isdecimal() and int(asked) > 1 else share


def quota(own: Path = _OWN, mounted: Path = _CGROUPS) -> float | None:
    """Processors' worth of time that the control groups of this process allow; None: no limit.

    Args:
        own: what names the groups, a line each: ``0::/a/b``, or ``4:cpu,cpuacct:/a/b``.
        mounted: where the groups are, version 2 (``cpu.max``) or 1 (``cpu.cfs_quota_us``).
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found: list[float] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for root in (mounted, mounted / "unified"):
                found += [limit for at in _upward(root, path) if (limit := _v2(at)) is not None]
        elif "cpu" in controllers.split(","):
            for name in _V1:
                places = _upward(mounted / name, path)
                found += [limit for at in places if (limit := _v1(at)) is not None]
    return min(found, default=None)


def _upward(root: Path, path: str) -> Iterator[Path]:
    """A group and those that hold it: each of them limits it."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:depth])


def _v2(folder: Path) -> float | None:
    """``cpu.max`` says ``200000 100000``, or ``max 100000``."""
    limit, _, period = _read(folder / "cpu.max").partition(" ")
    return _share(limit, period)


def _v1(folder: Path) -> float | None:
    """``-1`` is no limit."""
    return _share(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _share(limit: str, period: str) -> float | None:
    if not limit.isdecimal() or not period.isdecimal() or not int(period):
        return None
    return int(limit) / int(period)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
