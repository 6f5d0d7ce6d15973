"""Which classes are taken for which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from condensery import Data, evaluate, select_random
from condensery.cli.main import main
from condensery.evaluation.confusion import added, confusion_of
from condensery.training.datasets import Tensors


class Brightness(nn.Module):
    """Takes images for class 0, 1 or 2 by their first pixel, and counts its calls."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.one_hot(images[:, 0, 0, 0].long(), 3).float()


@pytest.mark.parametrize("chunk", [None, 2])
def test_by_hand(chunk: int | None) -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    taken = torch.tensor([0, 2, 0, 1, 1, 2])
    network = Brightness()
    found = confusion_of(network, Tensors(taken.view(6, 1, 1, 1).float(), labels), 3, chunk)
    assert found == ((2, 0, 1), (0, 1, 0), (0, 1, 1))
    assert network.calls == (1 if chunk is None else 3)
    assert added([found, found]) == ((4, 0, 2), (0, 2, 0), (0, 2, 2))


def test_accuracies_are_its_diagonal(tiny_data: Data) -> None:
    sets = {"a": select_random(tiny_data, ipc=2)}
    how = {"network": "convnet1:width=4", "repeats": 2, "epochs": 2, "plan": "exact"}
    (plain,) = evaluate(sets, tiny_data, **how)  # type: ignore[arg-type]
    (found,) = evaluate(sets, tiny_data, confusion=True, **how)  # type: ignore[arg-type]
    assert found.accuracies == pytest.approx(plain.accuracies)
    assert plain.confusion == ()
    assert "confusion" not in plain.as_dict()
    counts = tiny_data.test.labels.bincount().tolist()
    assert [sum(line) for line in found.confusion] == [2 * count for count in counts]
    right = sum(line[c] for c, line in enumerate(found.confusion))
    assert found.mean == pytest.approx(100 * right / (2 * len(tiny_data.test)))


def test_it_is_kept_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--net", "convnet1:width=4", "--nets", "1", "--epochs", "1", "--threads", "1"]
    out = str(tmp_path / "set")
    assert main(["select", "random", "--ipc", "1", "--out", out, "--quiet"]) == 0
    line = ["evaluate", out, *words, "--confusion", "--out", str(tmp_path / "kept")]
    file = tmp_path / "r.json"
    assert main([*line, "--json", str(file)]) == 0
    first = json.loads(file.read_text())
    assert first["class_names"] == list("0123456789")
    assert first["tested_on"] == sum(map(sum, first["results"][0]["confusion"])) == 359
    assert main([*line, "--json", str(file), "--quiet"]) == 0
    assert (
        json.loads(file.read_text())["results"][0]["confusion"]
        == (first["results"][0]["confusion"])
    )
    page = tmp_path / "r.html"
    assert main(["report", str(file), "--out", str(page), "--quiet"]) == 0
    assert "Hardest first" in page.read_text(encoding="utf-8")
