"""The scripts that a GPU is measured with, dry, on the CPU: every section runs."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def dry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a script with tiny numbers, in this process, and gives its sections."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), str(SCRIPTS.parent), *sys.path])
    monkeypatch.delenv("CONDENSERY_DATA", raising=False)

    def run(name: str, *words: str) -> dict[str, Any]:
        out = tmp_path / f"{name}.json"
        plain = ["--device", "cpu", "--small", "--seconds", "100000", "--out", str(out)]
        importlib.import_module(name).main([*plain, *words])
        printed = capsys.readouterr().out
        assert "FAILED" not in printed, printed
        sections: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["sections"]
        for section in sections.values():
            pieces = [piece for piece in section.values() if isinstance(piece, dict)]
            assert not any("error" in piece for piece in [section, *pieces])
        return sections

    return run


def test_checks_compare_runs_plans_and_checkpoints(dry: Any) -> None:
    found = dry("checks")
    assert list(found) == [
        "environment",
        "determinism",
        "agreement",
        "resume",
        "evaluation",
        "compiler",
    ]
    assert all(v["same"] for k, v in found["determinism"].items() if k.startswith("noise"))
    assert found["agreement"]["dm"]["float64 here"] < 1e-9
    assert found["agreement"]["dm"]["exact"] < 1e-4 < found["agreement"]["dm"]["another batch"]
    assert found["resume"]["dm"]["same"]
    assert found["resume"]["dm"]["continues_on_cpu"]


def test_steps_are_timed_beside_their_twins(dry: Any, tmp_path: Path) -> None:
    found = dry("steps")
    assert list(found) == ["floors", "steps", "evaluation", "profile", "grouped", "compiled"]
    assert found["steps"]["dm 2 step twin"]["ms"] > 0
    assert found["steps"]["dm 2 step auto"]["ratio"] > 0
    assert "dm 2 floor" in found["steps"]
    assert (tmp_path / "steps.profile.txt").read_text(encoding="utf-8").startswith("=== dm IPC 2")


def test_no_time_is_no_failure(dry: Any) -> None:
    found = dry("steps", "--seconds", "0", "--only", "floors")
    assert list(found) == ["floors"]
    assert "copy_gb_s" not in found["floors"]
