"""The bytes of the files behind the data, and a set's size beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condensery.cli.main import main
from condensery.data import load
from condensery.data.file_sizes import bytes_of_files


def photos(root: Path) -> int:
    """Two classes of noise, whose files are larger than their pixels; the bytes of all files."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for k in range(6):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{k}.png")
    return sum(file.stat().st_size for file in root.rglob("*.png"))


def test_files_of_folders_names_and_single_files_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = photos(tmp_path / "photos")
    assert bytes_of_files(tmp_path / "photos") == total
    assert load(tmp_path / "photos", cache=False).file_bytes == total
    monkeypatch.setenv("CONDENSERY_DATA", str(tmp_path))
    assert bytes_of_files("photos") == total
    arrays = tmp_path / "a.npz"
    np.savez(arrays, images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    assert bytes_of_files(str(arrays)) == arrays.stat().st_size


def test_what_has_no_files_has_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("digits").file_bytes is None
    assert bytes_of_files(np.zeros(3)) is None
    assert bytes_of_files("hub:owner/name") is None
    photos(tmp_path / "photos")
    monkeypatch.setattr("condensery.data.file_sizes._MOST", 5)
    assert bytes_of_files(tmp_path / "photos") is None


def test_show_compares_with_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    total = photos(tmp_path / "photos")
    out = tmp_path / "run"
    words = ["--data", str(tmp_path / "photos"), "--ipc", "1", "--iterations", "0", "--quiet"]
    assert main(["condense", *words, "--out", str(out)]) == 0
    assert json.loads((out / "run.json").read_text())["source_file_bytes"] == total
    capsys.readouterr()
    assert main(["show", str(out)]) == 0
    stored = 2 * 3 * 8 * 8 * 4
    assert f"; its files, {total / 1000:.1f} kB, {total / stored:.2g} times" in (
        capsys.readouterr().out
    )
