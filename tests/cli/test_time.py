"""What the command says of time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from condensery.cli.main import main
from condensery.condensation.dry_run import DryRun
from condensery.errors import UsageError

QUICK = ["condense", "--ipc", "1", "--supply.net", "convnet1:width=4", "--plan", "exact"]


def test_a_rehearsal_tells_the_iterations_of_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made = DryRun(1.0, 2.0, 0.0, 1, 6000.0, 10**9, 2560, 10)
    monkeypatch.setattr("condensery.cli.estimate.dry_run", lambda *_: made)
    for more, told in (
        ([], "--minutes 10 gives about 300 of 3000 iterations"),
        (["--minutes", "5"], "--minutes 5 gives about 150 of 3000 iterations"),
    ):
        assert main([*QUICK, "--iterations", "3000", "--dry-run", *more]) == 0
        assert told in capsys.readouterr().out


def test_a_run_with_a_time_says_so_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = [*QUICK, "--iterations", "100000", "--minutes", "0.01", "--out", "r"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "for 0.01 minutes (at most 100000 iterations)" in out
    assert "time limit reached after" in out
    assert "continue with: condensery resume r --minutes N" in out
    assert out.splitlines()[-1] == "next: condensery evaluate r random whole --minutes 5"


def test_notes_on_data_are_told_once_for_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8)
    np.savez("own.npz", images=images, labels=np.repeat([0, 1], 10))
    line: list[Any] = [*QUICK, "--iterations", "1", "--data", "own.npz", "--out", "r"]
    for times in (1, 0):
        assert main(line) == 0
        assert capsys.readouterr().out.count("note: no test split was given") == times


def test_notes_on_data_come_before_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    def planning(*_: object) -> None:
        raise UsageError("planning")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("condensery.cli.condense.found_out", planning)
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8)
    np.savez("own.npz", images=images, labels=np.repeat([0, 1], 10))
    line = ["condense", "--recipe", "best", "--minutes", "1", "--ipc", "1", "--data", "own.npz"]
    assert main(line) == 2
    told = capsys.readouterr()
    assert "note: no test split was given" in told.out
    assert "planning" in told.err
