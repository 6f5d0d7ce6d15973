"""What a run takes of its machine: memory, and energy where it can be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

#: Where Linux counts the energy of processors (RAPL).
POWERCAP = Path("/sys/class/powercap")
#: Where Linux tells of this process.
STATUS = Path("/proc/self/status")
#: Seconds between two looks at the counters, which start again at 0 after some minutes.
_EVERY = 30.0


def peak_memory(device: str, status: Path = STATUS) -> int:
    """The largest memory so far, in bytes; 0 where the system does not tell.

    On a GPU it is what torch held there, elsewhere what this process had resident.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    # Not from getrusage where it can be helped: on Linux that starts from the parent's peak.
    with suppress(OSError, ValueError):
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class _Counter:
    """One counter of microjoules, which starts again at 0 after ``most``."""

    file: Path
    most: int
    last: int

    @classmethod
    def of(cls, zone: Path) -> _Counter:
        file = zone / "energy_uj"
        return cls(file, _whole(zone / "max_energy_range_uj"), _whole(file))

    def since(self) -> int:
        """Microjoules since the last look."""
        now, before = _whole(self.file), self.last
        self.last = now
        return now - before if now >= before else now - before + self.most


class EnergyMeter:
    """Joules that the processors and the memory of this machine take, whatever runs on it.

    Args:
        root: the folder of Linux' power zones.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._joules = 0.0
        self._counters: list[_Counter] = []
        with suppress(OSError, ValueError):  # they are often for the superuser alone
            self._counters = [_Counter.of(zone) for zone in _zones(root)]

    def joules(self) -> float | None:
        """Joules since the meter was made; None where they cannot be read.

        Call it every few minutes: what a counter missed by starting again twice is lost.
        """
        try:
            spent = sum(counter.since() for counter in self._counters)
        except (OSError, ValueError):
            self._counters = []
        if not self._counters:
            return None
        self._joules += spent / 1e6
        return self._joules


class Usage:
    """The memory and energy of a run, over all parts that it was done in.

    Args:
        device: where it runs.
        held: what ``run.json`` says of earlier parts.
        meter: of energy; this machine's by default.
        clock: seconds.
    """

    def __init__(
        self,
        device: str,
        held: Mapping[str, Any],
        meter: EnergyMeter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._memory = int(held.get("peak_memory_bytes") or 0)
        before = held.get("energy_joules")
        # A sum that lacks the energy of an earlier part would be taken for the whole.
        self._known = before is not None or not held.get("seconds")
        self._before = float(before or 0.0)
        self._told = before is not None
        self._meter = EnergyMeter() if meter is None else meter
        self._clock = clock
        self._looked = clock()

    def look(self) -> None:
        """Read the counters, if it is time to."""
        if self._clock() - self._looked >= _EVERY:
            self._looked = self._clock()
            self._meter.joules()

    def facts(self) -> dict[str, Any]:
        """For ``run.json``: the largest memory of any part, the energy of all, and whose they are.

        There is no energy where a part could not read it.
        """
        gpu = self._device.startswith("cuda")
        self._memory = max(self._memory, peak_memory(self._device))
        facts: dict[str, Any] = {}
        if self._memory:
            facts["peak_memory_bytes"] = self._memory
            facts["peak_memory_of"] = f"{self._device}, held by torch" if gpu else "the process"
        joules = self._meter.joules()
        if joules is None or not self._known:
            return {**facts, "energy_joules": None} if self._told else facts
        self._told = True
        facts["energy_joules"] = round(self._before + joules, 1)
        facts["energy_of"] = "the machine's processors" + (", without the GPU" if gpu else "")
        return facts


def _zones(root: Path) -> list[Path]:
    """The power zones that count everything once: packages, and the memory beside them."""
    names = {zone: (zone / "name").read_text().strip() for zone in root.glob("intel-rapl:*")}
    counted = [zone for zone, name in names.items() if name.startswith(("package", "dram"))]
    return sorted(counted)


def _whole(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))
