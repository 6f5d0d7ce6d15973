"""The last net of the command, and counts that no machine has."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from condensery.cli.main import main
from condensery.condensation.run_folder import RunFolder
from condensery.config.build import make
from condensery.config.schema import RunConfig
from condensery.errors import DataError, UsageError
from condensery.runtime.plan import Plan, choose_plan


def _breaks(*_: Any) -> int:
    raise LookupError("one\ntwo")


def test_an_error_that_nobody_foresaw_says_what_to_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("condensery.cli.data.data", _breaks)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["data", "digits"]) == 1
    said = capsys.readouterr().err
    found = re.fullmatch(
        r"condensery: an unexpected error, LookupError \(one two\); please report it with the "
        r"command, the version \S+ and the traceback in (\S+)\n",
        said,
    )
    assert found is not None, said
    saved = Path(found[1])
    assert saved.parent == tmp_path
    assert saved.read_text().rstrip().endswith("LookupError: one\ntwo")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600

    monkeypatch.setenv("CONDENSERY_TRACEBACK", "1")
    assert main(["data", "digits"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback")
    assert said.rstrip().endswith("and the traceback above")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_traceback_that_cannot_be_saved_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("condensery.cli.data.data", _breaks)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert main(["data", "digits"]) == 1
    assert "which CONDENSERY_TRACEBACK=1 shows" in capsys.readouterr().err


def test_absurd_counts_are_rejected() -> None:
    with pytest.raises(UsageError, match="--threads must be at most 1024"):
        choose_plan("auto", shape=(1, 8, 8), images=1, threads=10**30)
    for name in ("threads", "processes", "networks"):
        with pytest.raises(UsageError, match=f"plan.{name} must be at most 1024"):
            make(Plan, {"name": "x", name: 10**9}, "plan")


@pytest.mark.parametrize(
    "facts",
    [
        {"seconds": "long"},
        {"seconds": [1]},
        {"sets": "x"},
        {"begun_ranks": {}},
        {"plan": [1]},
        {"evaluate_at": {"at": 3}},
        {"evaluate_at": {"at": ["x"]}},
        {"loss_at_the_start": ["x"]},
        {"ended": 3},
    ],
)
def test_facts_of_wrong_types_in_a_run_are_one_sentence(
    tmp_path: Path, facts: dict[str, Any]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(facts))
    folder = RunFolder(tmp_path)
    with pytest.raises(DataError, match=rf"run\.json is damaged \({next(iter(facts))} is"):
        folder.facts()
    (tmp_path / "run.json").write_text("[" * 100_000)
    assert folder.facts() == {}
    assert folder.status(RunConfig(recipe="dm", data="digits")) == "new"
