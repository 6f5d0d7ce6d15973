"""Tables that fit a terminal."""

from __future__ import annotations

import json

import pytest

from condensery.cli.main import main
from condensery.evaluation.result import Result, accuracy_text, result_table, spread
from condensery.utils.screen import columns, fitting_table, flowing, wrapped

PLAN = "auto (cpu, 2 processes, 1 thread, float32, chunks of 32, compiled, channels last)"


def result(name: str, protocol: str, *accuracies: float) -> Result:
    """A result with a long plan."""
    return Result(
        name, "dm", 10, "photos", "convnet4", protocol, (accuracies,), 0, 983_040, 301.5, PLAN
    )


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_result_table_fits_and_loses_no_protocol(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert columns() == width
    long = "runs/a/long/path/to/some/condensed/photographs/of/two/summers"
    rows = [result(long, "dsa+epochs=300", 71.0, 72.0), result("whole", "whole(epochs=30)+dsa", 90)]
    shown = result_table(rows, 5000)
    assert all(len(line) <= width for line in shown.splitlines())
    for needed in ("71.5 ± 0.5", "dsa+epochs=300", "whole(epochs=30)+dsa", "convnet4", "summers"):
        assert needed in shown


def test_without_a_terminal_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert columns() is None
    name = "x" * 300
    assert name in fitting_table({"set": [name], "n": ["1"]})
    assert wrapped(["word " * 100]) == ["word " * 100]


def test_what_is_left_out_is_said() -> None:
    cells = {"set": ["a", "b"], "accuracy %": ["1.0", "1.0"], "time": ["1 s", "2 s"]}
    shown = fitting_table(cells, optional=["time"], width=18)
    assert "time" not in shown.splitlines()[0]
    assert "without time" in shown.replace("\n", " ")
    assert "accuracy %" in shown.splitlines()[0]  # alike, and never moved


def test_small_test_splits_add_the_error_of_drawing_them() -> None:
    one = result("a", "dc", 81.7, 81.7, 81.7)
    # √(0.817 · 0.183 / 60) = 4.99 points, by hand.
    assert spread(one, 60) == pytest.approx(4.992, abs=1e-3)
    assert accuracy_text(one, 60) == "81.7 ± 5.0"
    assert accuracy_text(one, 1000) == "81.7 ± 0.0"
    two = result("a", "dc", 50.0, 56.0)  # std 3, and 100·√(.53·.47/100) = 4.991
    assert spread(two, 100) == pytest.approx((9 + 24.91) ** 0.5, abs=1e-3)
    assert "one is worth 1.7 points" in result_table([one], 60)
    assert "one is worth" not in result_table([one], 1000)


def test_json_on_standard_output_is_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "digits", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 10


def test_lines_flow_and_rows_and_commands_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    prose = "time limit reached after 3 of 30 iterations; continue with more --minutes, or without"
    row = "runs/a      1  convnet3  " + "x" * 40
    command = "next: condensery evaluate " + "x" * 40
    monkeypatch.setenv("COLUMNS", "50")
    assert flowing(row) == [row]
    assert flowing(command) == [command]
    broken = flowing(prose)
    assert len(broken) == 2
    assert all(len(line) <= 50 for line in broken)
    assert " ".join(line.strip() for line in broken) == prose
    assert flowing("short") == ["short"]
    assert flowing("") == [""]
    path = "done: /" + "x" * 60
    assert flowing(path) == ["done:", "  /" + "x" * 60]
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("condensery.utils.screen.sys.stdout", None)
    assert flowing(prose) == [prose]
