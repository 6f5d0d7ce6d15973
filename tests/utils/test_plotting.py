"""Drawings: what stands in them, and what is said where there can be none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from condensery.errors import UsageError
from condensery.utils.plotting import (
    COLOURS,
    Line,
    Point,
    check_drawing,
    curves,
    drawing,
    points,
    pyplot,
)

plot = pytest.importorskip("matplotlib.pyplot")


def test_points_stand_at_their_values_in_the_order_of_the_rows() -> None:
    _, axes = pyplot().subplots()
    rows = [Point("a", 1.0, 0.5, "ours"), Point("b", 2.0, 0.25, "ours"), Point("b", 3, 0, "theirs")]
    points(axes, rows, "accuracy, %", ["a", "b", "c"])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [round(tick) for tick in axes.get_yticks()] == [0, -1, -2]
    ours, theirs = axes.containers
    assert list(ours[0].get_xdata()) == [1.0, 2.0]
    assert [round(y) for y in ours[0].get_ydata()] == [0, -1]
    (bars,) = ours[2]
    assert [(s[0][0], s[1][0]) for s in bars.get_segments()] == [(0.5, 1.5), (1.75, 2.25)]
    assert (ours[0].get_color(), theirs[0].get_color()) == COLOURS[:2]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["ours", "theirs"]
    plot.close("all")


def test_curves_have_bands_of_their_spread_and_are_told_apart_without_colour() -> None:
    _, axes = pyplot().subplots()
    lines = [Line(str(k), (0, 1), (k, k + 1), (0.5, 0.25)) for k in range(8)]
    curves(axes, lines, "outer iterations", "accuracy, %")
    band = axes.collections[2].get_paths()[0].vertices
    assert {(x, y) for x, y in band} >= {(0, 1.5), (0, 2.5), (1, 2.75), (1, 3.25)}
    looks = {(one.get_color(), one.get_linestyle(), one.get_marker()) for one in axes.lines}
    assert len(looks) == 8
    plot.close("all")


def test_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    name = "<b>$x_1$ & " + "long/" * 30
    with drawing(tmp_path / "a.svg", 4, 2) as axes:
        points(axes, [Point(name, 1.0)], "x")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert f"…{name[-39:]}" in text
    with drawing(tmp_path / "b.png", 4, 2) as axes:
        points(axes, [Point("$", 1.0)], "x")
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"


def test_mistakes_are_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_drawing(None, "--plot")
    check_drawing(str(tmp_path / "a.PNG"), "--plot")
    with pytest.raises(UsageError, match=r"--plot must end in \.png, \.svg or \.pdf, got a\.jpg"):
        check_drawing("a.jpg", "--plot")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        check_drawing(str(tmp_path / "file" / "a.png"), "--plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'pip install "condensery\[plots\]"'):
        check_drawing("a.png", "--plot")
