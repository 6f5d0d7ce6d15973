"""Imports run down only, and the check of it works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources and of the contracts."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow  # `make lint` checks it, and the tests below that it notices
def test_imports_run_down(copy: Path) -> None:
    done = checked(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_upward_imports_are_noticed(copy: Path) -> None:
    """Those that run, and those for types alone."""
    lines = {
        "utils/text.py": "from condensery.data import load",
        "methods/task.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from condensery.condensation.loop import Condenser",
    }
    for file, line in lines.items():
        path = copy / "src" / "condensery" / file
        path.write_text(f"{path.read_text('utf-8')}\n{line}\n", "utf-8")
    done = checked(copy)
    assert done.returncode == 1
    assert "Imports run down only BROKEN" in done.stdout
    assert "condensery.utils is not allowed to import condensery.data" in done.stdout
    assert "condensery.methods is not allowed to import condensery.condensation" in done.stdout


def test_a_new_room_has_to_be_placed(copy: Path) -> None:
    room = copy / "src" / "condensery" / "attic"
    room.mkdir()
    (room / "__init__.py").write_text('"""Nobody knows where it stands."""\n')
    assert checked(copy).returncode == 1
