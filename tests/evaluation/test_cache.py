"""Kept numbers: nothing is lost by several writers, and nothing is taken for other code's."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from condensery import UsageError, select_random
from condensery.data import Data
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.cell import Cell, Measured
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.runtime.plan import exact_plan
from condensery.runtime.provenance import CHANGED, code, content_of
from condensery.utils.files import LONG_AGO, remove_leftovers


@pytest.fixture
def cell(tiny_data: Data) -> Cell:
    row = Row.named("x", [select_random(tiny_data, ipc=1)], tiny_data)
    return cell_of(row, tiny_data, "mlp", "dc", EvaluationSettings(1, plan=exact_plan("cpu", 1)))


def test_several_writers_of_one_file_lose_nothing(cell: Cell, tmp_path: Path) -> None:
    writers, each = 4, 12
    together = threading.Barrier(writers)

    def write(first: int) -> None:
        store = KeptCells(tmp_path)
        for network in range(first, writers * each, writers):
            together.wait()
            store.keep(cell, 0, network, Measured(float(network), 1.0))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = KeptCells(tmp_path).known(cell, 0)
    assert found == {k: Measured(float(k), 1.0) for k in range(writers * each)}
    assert len(list(tmp_path.glob("*.json"))) == 1


def test_a_folder_without_locks_keeps_numbers(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems have none."""

    def refused(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("condensery.utils.locks.filelock.FileLock", refused)
    store = KeptCells(tmp_path)
    store.keep(cell, 0, 3, Measured(50.0, 1.0))
    assert list(store.known(cell, 0)) == [3]


def test_numbers_of_changed_code_are_not_found(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeptCells(tmp_path)
    for state in ("one", "other"):
        monkeypatch.setattr(
            "condensery.evaluation.cell.code", lambda state=state: f"abc{CHANGED}.{state}"
        )
        assert store.known(cell, 0) == {}
        store.keep(cell, 0, 0, Measured(10.0, 1.0))
    assert len(list(tmp_path.glob("*.json"))) == 2


@pytest.mark.parametrize("head", ["abc", f"abc{CHANGED}", None])
def test_code_is_named_by_its_content_where_the_commit_does_not(
    head: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condensery.runtime.provenance.commit", lambda: head)
    content = content_of(Path(__file__).parents[2] / "src" / "condensery")
    found = code.__wrapped__()
    assert found == ("abc" if head == "abc" else f"{head or 'no commit'}.{content}")


def test_content_changes_with_any_file_and_name(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "deep" / "b.yaml").write_text("x: 1\n")
    seen = {content_of(tmp_path)}
    (tmp_path / "deep" / "b.yaml").write_text("x: 2\n")
    seen.add(content_of(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    seen.add(content_of(tmp_path))
    (tmp_path / "notes.txt").write_text("nothing that is run")
    assert len(seen) == 3
    assert content_of(tmp_path) in seen


def test_leftovers_of_long_ago_are_removed(cell: Cell, tmp_path: Path) -> None:
    old, new = tmp_path / ".x-writing-1", tmp_path / ".x-writing-2"
    before = time.time() - LONG_AGO - 60
    for folder in (old, new):
        folder.mkdir()
        (folder / "x.json").write_text("{")
        os.utime(folder / "x.json", (before, before))
        os.utime(folder, (before, before))
    (new / "y.json").write_text("{")  # its writer is at work
    KeptCells(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [new.name]
    ahead = time.time() + 3600  # another machine's clock
    os.utime(new, (ahead, ahead))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
    remove_leftovers(tmp_path / "nowhere")


def test_another_user_s_lock_loses_no_number(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", theirs)
    store = KeptCells(tmp_path)
    store.keep(cell, 0, 3, Measured(50.0, 1.0))
    assert list(store.known(cell, 0)) == [3]


def test_a_lock_that_is_a_link_is_left_alone(cell: Cell, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".lock").symlink_to(tmp_path / "precious")
    store = KeptCells(tmp_path / "store")
    store.keep(cell, 0, 3, Measured(50.0, 1.0))
    assert list(store.known(cell, 0)) == [3]
    assert (tmp_path / "precious").read_text() == "precious"


def test_locks_are_for_all_who_may_write(cell: Cell, tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        KeptCells(tmp_path).keep(cell, 0, 3, Measured(50.0, 1.0))
    finally:
        os.umask(before)
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seconds": 1.0', '"seconds": 1.0,'),
        ('"seconds": 1.0', '"seconds": NaN'),
        ('"seconds": 1.0', '"seconds": Infinity'),
        ('"seconds": 1.0', '"seconds": -1.0'),
        ('"accuracy": 50.0', '"accuracy": NaN'),
        ('"accuracy": 50.0', f'"accuracy": {"9" * 5000}'),
        ('"accuracy": 50.0', f'"accuracy": {"9" * 400}'),
        ('"accuracy": 50.0', f'"accuracy": {"[" * 100000}'),
        ('"networks"', '"network"'),
    ],
)
def test_a_damaged_file_is_set_aside(
    old: str, new: str, cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = KeptCells(tmp_path)
    store.keep(cell, 0, 0, Measured(50.0, 1.0))
    (file,) = tmp_path.glob("*.json")
    damaged = file.read_text().replace(old, new)
    for number in (1, 2):
        file.write_text(damaged)
        assert store.known(cell, 0) == {}
        store.keep(cell, 0, 1, Measured(60.0, 2.0))
        assert store.known(cell, 0) == {1: Measured(60.0, 2.0)}
        aside = file.with_suffix(f".damaged-{number}")
        assert aside.read_text() == damaged
        assert f"was damaged, and its numbers are not used; it is now {aside}" in (
            capsys.readouterr().err
        )


def test_a_store_that_cannot_be_written_is_told_of_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeptCells(tmp_path / "new").check()
    monkeypatch.setattr("condensery.evaluation.cache.os.access", lambda *_: False)
    with pytest.raises(UsageError, match="no number would be kept; choose another --out"):
        KeptCells(tmp_path).check()
