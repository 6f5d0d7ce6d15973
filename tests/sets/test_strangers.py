"""Condensed sets that somebody else made: whatever is in them, one sentence and bounded memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from condensery import CondensedSet, DataError, UsageError, condense
from condensery.data import Data
from condensery.sets.torch_files import is_whole


@pytest.fixture
def made(tmp_path: Path, tiny_data: Data) -> Path:
    """A small set of three classes."""
    return condense(tiny_data, "dm", ipc=1, iterations=0, threads=1).save(tmp_path / "made")


def _with(made: Path, target: Path, tensors: dict[str, Tensor] | None = None, **about: Any) -> Path:
    with safe_open(made, framework="pt") as opened:
        (key,) = opened.metadata()
        said = json.loads(opened.metadata()[key])
        held = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    said.update(about)
    save_file({**held, **(tensors or {})}, target, {key: json.dumps(said, sort_keys=True)})
    return target


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("stored", torch.tensor(1.0)),
        ("stored", torch.zeros(3, 1, 8, 8).to(torch.float8_e4m3fn)),
        ("stored", torch.zeros(3, 1, 8, 8, dtype=torch.uint64)),
        ("stored", torch.zeros(3, 1, 8, 8, dtype=torch.complex64)),
        ("stored", torch.zeros(3, 0, 8, 8)),
        ("labels", torch.tensor(0)),
        ("labels", torch.tensor([0, 1, 2]).to(torch.float8_e5m2)),
        ("labels", torch.tensor([0, 1, 3], dtype=torch.uint64)),
    ],
)
def test_tensors_of_unusual_types_are_one_sentence(
    made: Path, tmp_path: Path, name: str, tensor: Tensor
) -> None:
    file = _with(made, tmp_path / "odd.safetensors", {name: tensor})
    with pytest.raises(DataError, match="is damaged"):
        CondensedSet.load(file)


def test_a_set_that_decodes_out_of_proportion_is_rejected_before_it_does(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formation = {"kind": "multi_formation", "factor": 64, "mode": "multi_scale"}
    stored = {"stored": torch.zeros(3, 1, 128, 128)}
    file = _with(made, tmp_path / "bomb.safetensors", stored, formation=formation)
    with pytest.raises(DataError, match=r"decoded to 268320 images, 17\.6 GB, out of proportion"):
        CondensedSet.load(file)
    with pytest.raises(DataError, match="at most"):  # and before it counts that far
        formation["factor"] = 10**9
        CondensedSet.load(_with(made, tmp_path / "many.safetensors", stored, formation=formation))
    formation["factor"] = 3
    fine = _with(made, tmp_path / "fine.safetensors", stored, formation=formation)
    assert len(CondensedSet.load(fine)) == 3 * 14
    monkeypatch.setattr("condensery.sets.checks.MOST_DECODED", 1000)
    assert len(CondensedSet.load(fine)) == 3 * 14  # fourteen times is in proportion
    monkeypatch.setattr("condensery.sets.checks.MOST_TIMES", 1)
    with pytest.raises(DataError, match="allow more with CONDENSERY_MOST_BYTES"):
        CondensedSet.load(fine)
    monkeypatch.setenv("CONDENSERY_MOST_BYTES", "1G")
    assert len(CondensedSet.load(fine)) == 3 * 14
    monkeypatch.setenv("CONDENSERY_MOST_BYTES", "much")
    with pytest.raises(UsageError, match="must be a size such as 16G"):
        CondensedSet.load(fine)


@pytest.mark.parametrize(
    "about",
    [
        {"ipc": 10**200},
        {"seed": 10**200},
        {"mean": [10**299]},
        {"mean": None},
        {"std": [0]},
        {"source": []},
        {"source": {"name": "x", "fingerprint": "y", "images": 10**30, "bytes": 1}},
        {"formation": 3},
        {"formation": {"kind": ["a"]}},
        {"formation": {"kind": "multi_formation", "factor": "x"}},
        {"config": []},
        {"config": {"size": "big"}},
        {"config": {"sample_rate": [1]}},
        {"config": {"flip": 3}},
        {"class_names": 3},
        {"class_names": [[1]]},
        {"format": "new"},
        {"extra": 1},
    ],
)
def test_metadata_of_wrong_types_is_one_sentence(
    made: Path, tmp_path: Path, about: dict[str, Any]
) -> None:
    with pytest.raises(DataError) as caught:
        CondensedSet.load(_with(made, tmp_path / "odd.safetensors", **about))
    assert "\n" not in str(caught.value)


def test_deep_metadata_and_pipes_are_one_sentence(made: Path, tmp_path: Path) -> None:
    with safe_open(made, framework="pt") as opened:
        (key,) = opened.metadata()
    save_file({"stored": torch.zeros(1)}, tmp_path / "deep.safetensors", {key: "[" * 100_000})
    with pytest.raises(DataError, match="nested too deeply"):
        CondensedSet.load(tmp_path / "deep.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(DataError, match="not a regular file"):
        CondensedSet.load(tmp_path / "pipe.safetensors")


def test_expanded_tensors_are_not_whole() -> None:
    assert is_whole(torch.zeros(2, 3).t())
    assert is_whole(torch.zeros(4)[1:])
    assert not is_whole(torch.zeros(1).expand(10**12))
    assert not is_whole(torch.zeros(2, 3).as_strided((100, 3), (0, 1)))


def test_a_pt_file_whose_tensors_repeat_one_number_is_rejected(
    tmp_path: Path, tiny_data: Data
) -> None:
    from condensery import evaluate

    images, labels = torch.zeros(1).expand(3_000_000, 1, 8, 8), torch.arange(3)
    torch.save({"images": images, "labels": labels}, tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(DataError, match="more numbers than it stores"):
        evaluate(tmp_path / "bomb.pt", tiny_data, repeats=1, epochs=1, threads=1)
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a regular file"):
        evaluate(tmp_path / "zero.pt", tiny_data, repeats=1, epochs=1, threads=1)
