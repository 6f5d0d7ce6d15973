"""Published numbers and ours in a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from condensery.cli.main import main
from condensery.reproduction import picture
from condensery.reproduction.published import find
from condensery.utils.plotting import Point

pytest.importorskip("matplotlib")


def test_each_row_has_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Point] = []

    def watched(axes: Any, rows: Sequence[Point], x: str) -> None:
        drawn.extend(rows)

    monkeypatch.setattr(picture, "points", watched)
    row = find("dc/table1", "mnist/1/dc")
    picture.draw_pairs([(row, 90.0, 2.0)], tmp_path / "a.png")
    assert drawn == [
        Point("mnist/1/dc", 91.7, 0.5, "published"),
        Point("mnist/1/dc", 90.0, 2.0, "ours"),
    ]
    assert (tmp_path / "a.png").exists()


def test_without_results_there_is_no_drawing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none").mkdir()
    words = ["reproduce", "dc/table1", "--status", "--results", str(tmp_path / "none")]
    assert main([*words, "--plot", str(tmp_path / "a.svg")]) == 0
    assert "drawing: none, since no row was run" in capsys.readouterr().out
    assert not (tmp_path / "a.svg").exists()
