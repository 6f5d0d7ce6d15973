"""Damaged recipes, sets, pools, arrays, tables, pictures: read or rejected, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are measured in /proc")
def test_damaged_files_of_every_kind_are_read_or_rejected(tmp_path: Path) -> None:
    paths = [str(ROOT / "benchmarks"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    found = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "fuzz_job.py"), str(tmp_path), "60"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.endswith("120 files\n")
