"""Memory and energy of a run, from files as Linux writes them."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from condensery.runtime.usage import EnergyMeter, Usage, peak_memory

MOST = 1000_000_000


def zone(root: Path, place: str, name: str, microjoules: int = 0) -> Path:
    folder = root / place
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{MOST}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_energy_of_packages_and_memory_through_a_wrap(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", MOST - 1_000_000)
    other = zone(tmp_path, "intel-rapl:1", "package-1", 500)
    memory = zone(tmp_path, "intel-rapl:0:2", "dram")
    # Parts of the package and of the whole platform, and a second way to the same counter.
    again = [
        zone(tmp_path, "intel-rapl:0:0", "core"),
        zone(tmp_path, "intel-rapl:2", "psys"),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0"),
    ]
    meter = EnergyMeter(tmp_path)
    for file in again:
        file.write_text("900000000\n")
    package.write_text("2000000\n")  # 1 J up to the wrap, and 2 J after it
    other.write_text("4000500\n")
    memory.write_text("500000\n")
    assert meter.joules() == pytest.approx(3 + 4 + 0.5)
    other.write_text("5000500\n")
    assert meter.joules() == pytest.approx(3 + 5 + 0.5)


@pytest.mark.parametrize("broken", ["missing", "a folder", "no number"])
def test_energy_that_cannot_be_read_is_absent(tmp_path: Path, broken: str) -> None:
    assert EnergyMeter(tmp_path / "none").joules() is None
    file = zone(tmp_path, "intel-rapl:0", "package-0")
    zone(tmp_path, "intel-rapl:1", "package-1")
    late = EnergyMeter(tmp_path)
    assert late.joules() == 0
    file.unlink()
    if broken == "a folder":
        file.mkdir()  # refused, also for the superuser
    elif broken == "no number":
        file.write_text("\n")
    assert EnergyMeter(tmp_path).joules() is None
    assert late.joules() is None
    assert late.joules() is None  # and not the other package's alone


def test_a_resumed_run_adds_its_energy_and_keeps_its_largest_memory(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0")

    def part(held: dict[str, float]) -> dict[str, object]:
        file.write_text("0\n")
        usage = Usage("cpu", held, EnergyMeter(tmp_path))
        file.write_text("2500000\n")
        return usage.facts()

    assert part({"seconds": 0.0})["energy_joules"] == 2.5
    later = part({"seconds": 9.0, "energy_joules": 40.0, "peak_memory_bytes": 10**15})
    assert later["energy_joules"] == 42.5
    assert later["peak_memory_bytes"] == 10**15
    assert later["peak_memory_of"] == "the process"
    # An earlier part whose energy is unknown leaves that of the run unknown.
    assert "energy_joules" not in part({"seconds": 9.0})
    unknown = Usage("cpu", {"seconds": 9.0, "energy_joules": 40.0}, EnergyMeter(tmp_path / "none"))
    assert unknown.facts()["energy_joules"] is None


def test_the_counters_are_looked_at_before_they_wrap_twice(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0")
    now = [0.0]
    usage = Usage("cpu", {}, EnergyMeter(tmp_path), lambda: now[0])
    for _ in range(4):  # 0.6 of the range in each 40 seconds
        now[0] += 40
        file.write_text(str((int(file.read_text()) + 6 * MOST // 10) % MOST))
        usage.look()
    assert usage.facts()["energy_joules"] == pytest.approx(4 * 600)


def test_peak_memory(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmPeak:\t 9999 kB\nVmHWM:\t   12 kB\n")
    assert peak_memory("cpu", status) == 12 * 1024
    usual = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    assert peak_memory("cpu", tmp_path / "none") >= usual * unit > 10**6
