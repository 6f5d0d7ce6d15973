"""Sets in 8 bits: what is lost, what is kept, and what is rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from condensery import CondensedSet, DataError, condense
from condensery.cli.export import as_rounded_pixels
from condensery.cli.main import main
from condensery.data import Data
from condensery.selection import select_random
from condensery.sets.eight_bits import EightBits, bytes_in_eight_bits


@pytest.fixture
def made(tiny_data: Data) -> CondensedSet:
    """Real images, some pixels of which overshoot black and white by far."""
    held = select_random(tiny_data, ipc=2)
    held.stored[0, 0, 0, 0, :2] = torch.tensor([-9.0, 11.0])
    return CondensedSet(held.stored, held.about)


def slowly(stored: torch.Tensor) -> torch.Tensor:
    """Each number moved to the nearest of 256 between the ends of its channel, one by one."""
    out = stored.clone()
    for channel in range(stored.shape[2]):
        part = stored[:, :, channel].double()
        levels = torch.linspace(float(part.min()), float(part.max()), 256, dtype=torch.float64)
        nearest = (part.reshape(-1, 1) - levels).abs().argmin(1)
        out[:, :, channel] = levels[nearest].view(part.shape).float()
    return out


def test_eight_bits_move_each_number_by_half_a_step_at_most(
    made: CondensedSet, tmp_path: Path
) -> None:
    eight = CondensedSet.load(made.in_eight_bits().save(tmp_path))
    step = (11.0 + 9.0) / 255
    assert float((eight.stored - made.stored).abs().max()) <= step / 2 * 1.0001
    assert torch.allclose(eight.stored, slowly(made.stored), atol=1e-5)
    # Nothing is clipped, neither at 0 and 1 nor at the ends.
    assert float(eight.stored.min()) == pytest.approx(-9.0)
    assert float(eight.stored.max()) == pytest.approx(11.0)
    assert eight.about == made.about
    assert eight.stored_bytes == made.stored_bytes // 4 + 8
    assert eight.stored_bytes == bytes_in_eight_bits(made.stored)


def test_each_channel_has_a_scale_of_its_own() -> None:
    stored = torch.randn(3, 4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    stored[:, :, 1] *= 1000
    eight = EightBits.of(stored.flatten(0, 1))
    assert torch.allclose(eight.restored().view(stored.shape), slowly(stored), rtol=1e-5, atol=1e-5)
    assert float((eight.restored().view(stored.shape) - stored)[:, :, 0].abs().max()) < 0.02


def test_numbers_that_are_all_equal_stay_exact() -> None:
    stored = torch.full((2, 1, 3, 3), 0.1)
    assert torch.equal(EightBits.of(stored).restored(), stored)


def test_saving_again_gives_the_same_bytes(made: CondensedSet, tmp_path: Path) -> None:
    first = made.in_eight_bits().save(tmp_path / "a")
    again = CondensedSet.load(first).in_eight_bits().save(tmp_path / "b")
    assert first.read_bytes() == again.read_bytes()
    assert load_file(first)["stored"].dtype == torch.uint8


def test_what_a_formation_decodes_is_decoded_from_eight_bits(
    tiny_data: Data, tmp_path: Path
) -> None:
    noise = {"formation.start_from": "noise"}  # none lies halfway between two of 256 numbers
    made = condense(tiny_data, "dm_mf", ipc=1, iterations=0, overrides=noise)
    eight = CondensedSet.load(made.in_eight_bits().save(tmp_path))
    with torch.no_grad():
        expected = made.formation.decode(slowly(made.stored)).flatten(0, 1)
    assert torch.allclose(eight.images, expected, atol=1e-5)
    assert len(eight) == len(made)


def test_rounded_pixels_are_those_of_the_decoded_images(tiny_data: Data) -> None:
    made = condense(tiny_data, "dm_mf", ipc=1, iterations=0)
    expected = (made.pixels().clamp(0, 1) * 255).round() / 255
    assert torch.allclose(as_rounded_pixels(made).pixels(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"stored.low": None},
        {"stored.step": torch.zeros(2)},
        {"stored.step": torch.full((1,), float("inf"))},
        {"stored.low": torch.zeros(1, dtype=torch.float64)},
    ],
)
def test_codes_without_a_valid_scale_are_rejected(
    made: CondensedSet, tmp_path: Path, change: dict[str, Any]
) -> None:
    file = made.in_eight_bits().save(tmp_path)
    tensors = {**load_file(file), **change}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, file, metadata={"condensery": made.about.dump(2)})
    with pytest.raises(DataError, match="8-bit numbers have no valid scale"):
        CondensedSet.load(file)


def test_the_command_writes_a_set_that_commands_read(
    made: CondensedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.save(tmp_path / "run")
    run, out, told = (str(tmp_path / name) for name in ("run", "small", "told.json"))
    assert main(["export", run, "--to", "8bit", "--out", out, "--json", told]) == 0
    said = capsys.readouterr().out
    assert "6 images in 392 bytes in place of 1.5 kB" in said
    assert "nothing is clipped" in said
    off = json.loads(Path(told).read_text())["largest_error"]
    assert off == pytest.approx(
        float((CondensedSet.load(out).pixels() - made.pixels()).abs().max()), abs=1e-6
    )
    assert main(["show", out]) == 0
    assert "392 bytes in 8 bits" in capsys.readouterr().out
    assert main(["show", run]) == 0
    assert f"in 8 bits     392 bytes: condensery export {run} --to 8bit" in " ".join(
        capsys.readouterr().out.split("\n")
    ).replace("                ", "")
    for again in (["--to", "8bit"], ["--to", "8bit", "--factor", "2"]):
        assert main(["export", out, *again, "--out", str(tmp_path / "other")]) == 2
    (tmp_path / "recipe.yaml").write_text("stored_bits: 8\n")
    assert main(["condense", "--config", str(tmp_path / "recipe.yaml")]) == 2
    assert "brought to 8 bits after training" in capsys.readouterr().err
