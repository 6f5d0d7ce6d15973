"""The current folder is not importable, except for import paths that someone types."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from condensery.utils.search_path import current_folder_last, without_current_folder

#: Modules that the command, its dependencies or its workers import at some point.
PLANTED = ("pynvml", "queue", "sitecustomize", "soundfile", "setproctitle", "sortedcontainers")


def plant(folder: Path) -> None:
    """Modules that write down that they ran."""
    for name in PLANTED:
        mark = f"open({str(folder / 'RAN')!r}, 'a').write('{name} ')\n"
        (folder / f"{name}.py").write_text(mark)


def ran_in(folder: Path) -> str:
    """Which of them ran, without the one that Python runs before any program."""
    file = folder / "RAN"
    return file.read_text().replace("sitecustomize ", "") if file.exists() else ""


def test_the_current_folder_is_out_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(tmp_path)])
    before = list(sys.path)
    with without_current_folder():
        assert sys.path == before[1:-1]
        with current_folder_last():
            assert sys.path == [*before[1:-1], str(tmp_path)]
        assert sys.path == before[1:-1]
    assert sys.path == before


@pytest.mark.slow  # test_printing starts the program in such a folder, test_processes a worker
@pytest.mark.parametrize("safe", [True, False])
def test_a_received_folder_supplies_no_module(safe: bool, tmp_path: Path) -> None:
    plant(tmp_path)
    script = "import sys; from condensery.cli.main import main; sys.exit(main(sys.argv[1:]))"
    how = ["-P", "-c", script] if safe else ["-m", "condensery"]
    flags = ["data", "digits", "--quiet"]
    done = subprocess.run(
        [sys.executable, *how, *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), ""])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ran_in(tmp_path) == ""
