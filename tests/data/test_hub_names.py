"""Names of the hub lead to the hub, and nowhere on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from condensery import DataError, load


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hub's client was asked for."""
    seen: list[str] = []

    def client(repository: str, config: str | None) -> Any:
        seen.append(repository)
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", client)
    return seen


@pytest.mark.parametrize("name", ["../x", "./x", "me/..", "me/.x"])
def test_a_path_is_no_name(name: str, asked: list[str]) -> None:
    with pytest.raises(DataError, match="is no name on the hub"):
        load(f"hub:{name}")
    assert asked == []


def test_a_folder_of_that_name_is_not_read_instead(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is unavailable"):
        load("hub:me/things")
    assert asked == ["me/things"]
    (tmp_path / "me" / "things").mkdir(parents=True)
    with pytest.raises(DataError, match="me/things lies here"):
        load("hub:me/things")
    assert asked == ["me/things"]
