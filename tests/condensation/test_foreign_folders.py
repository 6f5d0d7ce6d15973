"""A run folder from a stranger: nothing outside it is touched, and nothing in it is lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from condensery import UsageError
from condensery.cli.main import main
from condensery.condensation.loop import Condenser
from condensery.utils.files import append_line, remove_leftovers
from condensery.utils.locks import in_use

DM = ["condense", "--data", "digits", "--ipc", "1", "--iterations", "4", "--real-batch", "4"]
DM += ["--supply.net", "convnet1:width=4", "--plan", "exact", "--threads", "1"]


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of the user's, with names that a run uses."""
    folder = tmp_path / "precious"
    folder.mkdir()
    for name in (
        "state.safetensors",
        "mine.safetensors",
        "notes.txt",
        ".lock",
        "000000.safetensors",
    ):
        (folder / name).write_text("precious")
    (folder / ".x-writing-abc").mkdir()
    (folder / ".x-writing-abc" / "thesis.tex").write_text("precious")
    return folder


def _content(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    out = tmp_path / "run"
    assert main([*DM, "--out", str(out), "--checkpoint-every", "1it", "--quiet"]) == 0
    (out / "condensed.safetensors").unlink()  # as if it were unfinished
    return out


def test_linked_checkpoints_are_refused(
    run: Path, precious: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _content(precious)
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").symlink_to(precious)
    assert main(["resume", str(run)]) != 0
    assert main([*DM, "--out", str(run)]) != 0
    assert main(["pool", "--data", "digits", "--epochs", "1", "--out", str(run)]) != 0
    assert "is a link" in capsys.readouterr().err
    assert _content(precious) == before


@pytest.mark.parametrize("name", ["checkpoints/.lock", "checkpoints/.lock.json", "metrics.jsonl"])
@pytest.mark.parametrize("dangling", [True, False])
def test_links_are_not_written_through(
    name: str, dangling: bool, run: Path, tmp_path: Path, precious: Path
) -> None:
    target = tmp_path / "elsewhere" if dangling else precious / "notes.txt"
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(target)
    code = main(["resume", str(run), "--quiet"])
    assert code == (0 if name.endswith(".json") else 1 if name == "metrics.jsonl" else 2)
    assert not (tmp_path / "elsewhere").exists()
    assert (precious / "notes.txt").read_text() == "precious"


def test_giving_up_leaves_what_was_there(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in (run / "checkpoints").glob("state*"):
        state.unlink()  # as is advised where they are damaged
    (run / "checkpoints" / "mine.safetensors").write_text("precious")
    names = sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.name[0] != ".")

    def failing(self: Condenser) -> None:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(Condenser, "step", failing)
    assert main(["resume", str(run)]) == 1
    assert "out of memory in the first step" in capsys.readouterr().err
    assert sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.name[0] != ".") == names


def test_sets_that_are_links_are_refused(
    tmp_path: Path, precious: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "0").symlink_to(precious)
    assert main([*DM, "--sets", "2", "--out", str(tmp_path / "several")]) == 2
    assert "is a link" in capsys.readouterr().err


def test_leftovers_are_only_what_was_being_written(precious: Path, tmp_path: Path) -> None:
    (precious / ".x-writing-abc" / "chapters").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".y-writing-abc").symlink_to(precious)
    before = _content(precious)
    remove_leftovers(precious)
    remove_leftovers(tmp_path / "other")
    assert _content(precious) == before
    assert (tmp_path / "other" / ".y-writing-abc").is_symlink()


def test_lines_are_added_to_files_only(tmp_path: Path) -> None:
    append_line(tmp_path / "a", "1")
    append_line(tmp_path / "a", "2")
    assert (tmp_path / "a").read_text() == "1\n2\n"
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(tmp_path / "b", "3")
    assert (tmp_path / "a").read_text() == "1\n2\n"


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    os.mkfifo(tmp_path / "checkpoints" / ".lock")
    with pytest.raises(UsageError, match="is not a file"), in_use(tmp_path):
        pass
