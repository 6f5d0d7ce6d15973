"""Images that are shrunk afterwards: IDC's post-downsampling (table 6)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.nn import functional as F

from condensery import CondensedSet, UsageError, condense
from condensery.cli.main import main
from condensery.data import Data
from condensery.selection import select_random


def by_hand(images: torch.Tensor, factor: int, along: str) -> torch.Tensor:
    """Each image shrunk by means over areas and resized back, one by one."""
    height, width = images.shape[-2:]
    down = 1 if along == "time" else factor
    out = []
    for image in images:
        small = torch.zeros(len(image), height // down, width // factor)
        for y in range(height // down):
            for x in range(width // factor):
                area = image[:, y * down : (y + 1) * down, x * factor : (x + 1) * factor]
                small[:, y, x] = area.mean((1, 2))
        out.append(F.interpolate(small[None], (height, width), mode="bilinear")[0])
    return torch.stack(out)


@pytest.mark.parametrize(("factor", "ipc"), [(2, 4), (2, 8), (4, 16)])
def test_packing_afterwards_is_a_resize_of_each_image(factor: int, ipc: int) -> None:
    made = select_random("digits", ipc=ipc)
    packed = made.packed(factor)
    assert packed.images.shape == made.images.shape
    assert torch.equal(packed.labels, made.labels)
    assert torch.allclose(packed.images, by_hand(made.images, factor, "area"), atol=1e-5)
    assert packed.stored_bytes * factor**2 == made.stored_bytes
    assert (packed.about.ipc, packed.about.method) == (ipc // factor**2, "random_post")
    assert packed.about.source == made.about.source


def test_packing_colours_afterwards_keeps_them(tmp_path: Path, tiny_data: Data) -> None:
    overrides = {"formation.factor": 1, "supply.net": "convnet1:width=8", "supply.steps": 1}
    how: dict[str, Any] = {"ipc": 4, "iterations": 1, "plan": "exact", "overrides": overrides}
    made = condense(tiny_data, "idc_i", **how)
    packed = CondensedSet.load(made.packed(2).save(tmp_path))
    assert packed.about.method == "idc_i_post"
    assert packed.about.formation.settings["space"] == "unit"
    assert float(packed.stored.min()) >= 0
    assert float(packed.stored.max()) <= 1
    assert torch.allclose(packed.images, by_hand(made.images, 2, "area"), atol=1e-5)
    with pytest.raises(UsageError, match="already packed"):
        packed.packed(2)
    with pytest.raises(UsageError, match="packs 9 images into one, and 4 images per class"):
        made.packed(3)
    with pytest.raises(UsageError, match="factor must be at least 2"):
        made.packed(1)


def test_spectrograms_are_packed_along_time() -> None:
    made = select_random("digits", ipc=4)
    config = {**made.about.config, "sample_rate": 8000}
    packed = CondensedSet(made.stored, replace(made.about, config=config)).packed(2)
    assert packed.stored.shape[1] == 2
    assert torch.allclose(packed.images, by_hand(made.images, 2, "time"), atol=1e-5)


def test_the_command_packs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, post = str(tmp_path / "run"), str(tmp_path / "post")
    assert main(["select", "random", "--data", "digits", "--ipc", "4", "--out", run]) == 0
    assert main(["export", run, "--to", "packed", "--out", post]) == 0  # a factor of 2
    found = CondensedSet.load(post)
    assert torch.equal(found.images, CondensedSet.load(run).packed(2).images)
    assert main(["show", post]) == 0
    assert "40 training images" in capsys.readouterr().out
    how = ["--nets", "1", "--epochs", "1", "--net", "convnet1:width=8", "--plan", "exact"]
    assert main(["evaluate", post, *how]) == 0
    for wrong, words in (
        (["--to", "packed", "--out", post], "is not empty"),
        (["--to", "packed", "--factor", "3"], "packs 9 images into one"),
        (["--to", "packed", "--verify"], "no other export flags"),
        (["--to", "npz", "--factor", "2"], "--factor needs --to packed"),
        (["--to", "pack"], "did you mean 'packed'?"),
        (["--to", "wav", "--verify"], "leave it out with --to wav"),
    ):
        out = [] if "--out" in wrong else ["--out", str(tmp_path / "new")]
        assert main(["export", run, *wrong, *out]) == 2
        assert words in capsys.readouterr().err
    config = yaml.safe_load((Path(post) / "recipe.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items()
                                                          if k != "select"}))  # fmt: skip
    assert main(["condense", "--config", str(tmp_path / "config.yaml")]) == 2
    assert "packed after training" in capsys.readouterr().err
