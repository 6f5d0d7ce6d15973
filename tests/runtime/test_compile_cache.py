"""Compiled code is kept where no other user can put any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from condensery.runtime.compile import CACHE_VARIABLES, _own_folder, use_own_cache


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in CACHE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    _own_folder.cache_clear()
    yield tmp_path / "condensery" / "compiled"
    _own_folder.cache_clear()
    for name in CACHE_VARIABLES:
        os.environ.pop(name, None)


def _places() -> list[Path]:
    return [Path(os.environ[name]) for name in CACHE_VARIABLES]


@pytest.mark.parametrize("there", [True, False])
def test_it_is_in_the_user_s_cache_and_closed_to_others(there: bool, home: Path) -> None:
    if there:
        home.mkdir(parents=True)
        home.chmod(0o777)
    use_own_cache()
    assert _places() == [home / "inductor", home / "triton"]
    for folder in (home, *_places()):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_what_the_user_says_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/mine")
    use_own_cache()
    assert _places() == [Path("/mine"), home / "triton"]


def test_what_another_put_there_is_not_used(home: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    home.parent.mkdir()
    home.symlink_to(tmp_path / "theirs")
    use_own_cache()
    for place in _places():
        assert tmp_path not in place.parents
        assert place.parent.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "theirs").iterdir()) == []
