"""The scripts of examples/ run as they are, with fewer steps."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from condensery import export, load, select_random

EXAMPLES = Path(__file__).parent.parent / "examples"
FEW = ["--iterations", "2", "--epochs", "2"]


def run(
    name: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    script = EXAMPLES / name
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(script), run_name="__main__")
    return capsys.readouterr().out


def test_every_example_is_run() -> None:
    tested = {"own_pictures.py", "own_objective.py", "train_on_export.py", "first_steps.ipynb"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {*tested, "README.md"}


@pytest.mark.filterwarnings("ignore")
def test_own_pictures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = run("own_pictures.py", FEW, monkeypatch, capsys)
    assert "10 classes, 1438 training images" in told
    assert re.search(r"condensed +10 images +\d+\.\d ± \d+\.\d % \(n=3\)", told)


def test_own_objective(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told = run("own_objective.py", FEW, monkeypatch, capsys)
    assert re.search(r"mean and spread +\d+\.\d ± \d+\.\d % \(n=3, dsa\+epochs=2\)", told)
    import torch
    from torch import nn

    import own_objective

    class Flat(nn.Module):
        def embed(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    images, weights = torch.randn(4, 1, 2, 2), torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    found = own_objective.MeanAndSpread(spread=4.0).statistic(
        Flat(), images, torch.zeros(4), weights
    )
    flat = images.flatten(1)
    for c, rows in enumerate(([0, 1], [2, 3])):
        wanted = torch.cat([flat[rows].mean(0), 2 * (flat[rows] ** 2).mean(0)])
        torch.testing.assert_close(found[c], wanted)


def test_train_on_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "set.npz"
    export(select_random(load("digits"), ipc=1), "npz", file)
    told = run("train_on_export.py", [str(file), "--epochs", "3"], monkeypatch, capsys)
    assert told.startswith("10 images of 10 classes: ")
    source = (EXAMPLES / "train_on_export.py").read_text(encoding="utf-8")
    assert not re.search(r"^(import|from) condensery", source, re.M)


def test_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """The notebook's cells, with fewer steps; `make test-all` runs it in Jupyter as it is."""
    notebook = json.loads((EXAMPLES / "first_steps.ipynb").read_text("utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    short = "\n".join("".join(cell["source"]) for cell in cells)
    for long, less in (("iterations=10", "iterations=2"), ("epochs=50", "epochs=2")):
        assert long in short
        short = short.replace(long, less)
    exec(compile(short, "first_steps", "exec"), {"__name__": "__main__"})
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["1438 training images of 10 classes", "10 images, 2560 bytes"]
    for line, name in zip(told[2:], ("random", "condensed"), strict=True):
        assert re.fullmatch(rf"{name} +\d+\.\d ± \d+\.\d % \(n=2, dsa\+epochs=2\)", line)
