"""Damaged recipes, sets, pools, arrays, tables, pictures: read or rejected, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.programs import Forked

ROOT = Path(__file__).parents[1]


@pytest.mark.xdist_group("forked")
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are measured in /proc")
def test_damaged_files_of_every_kind_are_read_or_rejected(tmp_path: Path) -> None:
    paths = [str(ROOT / "benchmarks"), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    program = Forked(
        [sys.executable, str(ROOT / "tests" / "fuzz_job.py"), str(tmp_path), "60"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        text=True,
    )
    told, errors = program.communicate(600)
    assert program.returncode == 0, errors[-3000:]
    assert told.endswith("120 files\n")
