"""Folders that version 0.1.0 wrote still open, and what was unfinished resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from condensery import CondensedSet, load_sets
from condensery.cli.main import main
from condensery.methods.pools.store import Pool

WRITTEN = Path(__file__).parents[1] / "fixtures" / "written_by_0.1.0"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, which commands are run in."""
    shutil.copytree(WRITTEN, tmp_path / "written")
    monkeypatch.chdir(tmp_path / "written")
    return tmp_path / "written"


def test_a_set_opens(here: Path) -> None:
    (one,) = load_sets(here / "set")
    assert (one.about.method, one.about.ipc, one.about.iterations) == ("dsa", 1, 12)
    assert one.images.shape == (10, 1, 8, 8)
    assert main(["show", "set", "--quiet"]) == 0
    words = ["--net", "convnet1:width=4", "--nets", "1", "--epochs", "1", "--json", "e.json"]
    assert main(["evaluate", "set", "--plan", "exact", "--quiet", *words]) == 0
    (found,) = json.loads((here / "e.json").read_text("utf-8"))["results"]
    assert (found["recipe"], found["n"], found["stored_bytes"]) == ("dsa", 1, 2560)


def test_a_finished_run_is_recognised(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / "set" / "condensed.safetensors").read_bytes()
    assert main(["resume", "set"]) == 0
    assert "is finished" in capsys.readouterr().out
    assert (here / "set" / "condensed.safetensors").read_bytes() == before


def test_an_unfinished_run_resumes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After nine iterations of sixty; here it is done after twelve."""
    recipe = here / "unfinished" / "recipe.yaml"
    written = recipe.read_text("utf-8")
    recipe.write_text(written.replace("iterations: 60", "iterations: 12"), "utf-8")
    assert main(["resume", "unfinished"]) == 0
    assert "continuing unfinished" in capsys.readouterr().out
    words = ["--config", str(recipe), "--plan", "exact", "--threads", "1", "--out", "anew"]
    assert main(["condense", *words, "--quiet"]) == 0
    resumed, anew = (CondensedSet.load(here / name) for name in ("unfinished", "anew"))
    assert resumed.about == anew.about
    # Its first steps were taken on another machine.
    torch.testing.assert_close(resumed.stored, anew.stored, rtol=1e-3, atol=1e-3)


def test_a_pool_opens(here: Path) -> None:
    pool = Pool.read(here / "pool")
    assert len(pool.snapshots) == 4
    words = ["--supply.kind", "pool", "--supply.path", "pool", "--ipc", "1", "--iterations", "2"]
    assert main(["condense", *words, "--plan", "exact", "--out", "through", "--quiet"]) == 0


def test_a_pool_grows(here: Path) -> None:
    words = ["--net", "convnet1:width=4", "--epochs", "1", "--snapshots", "0", "1"]
    plan = ["--plan", "exact", "--threads", "1", "--quiet"]
    assert main(["pool", *words, "--count", "3", "--out", "pool", *plan]) == 0
    assert len(Pool.read(here / "pool").snapshots) == 6
