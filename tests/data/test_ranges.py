"""Scales of floating images, and the order of axes, as the user says they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from condensery import DataError, UsageError, condense
from condensery.cli.main import main
from condensery.data import load

LABELS = np.arange(20) % 2


def pixels(seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0, 1, (20, 1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-1, 1, "look like pixels from -1 to 1"), (0, 255, "look like pixels from 0 to 255")],
)
def test_a_range_is_noted_and_brought_to_black_and_white(low: int, high: int, words: str) -> None:
    unit = pixels()
    images = unit * (high - low) + low
    plain = load((images, LABELS))
    (note,) = [one for one in plain.notes if "range" in one]
    assert words in note
    assert "--range LOW,HIGH" in note
    both = [load((images, LABELS), value_range=one) for one in ((low, high), f"{low},{high}")]
    for data in both:
        held = torch.cat([data.train.images, data.test.images]).sort(0).values
        expected = torch.from_numpy(unit).sort(0).values
        torch.testing.assert_close(held, expected, rtol=0, atol=1e-5)
        assert not any("range" in one for one in data.notes)
    assert load((unit, LABELS)).notes == both[0].notes  # pixels from 0 to 1 need no note


def test_normalised_images_are_noted_and_kept() -> None:
    images = (pixels() - 0.5) * np.float32(12**0.5)
    (note,) = [one for one in load((images, LABELS)).notes if "range" in one]
    assert "look normalised already" in note
    data = load((images, LABELS), value_range="normalised")
    assert not any("range" in one for one in data.notes)
    assert float(data.train.images.min()) == pytest.approx(float(images.min()), abs=0.05)


def test_a_range_that_the_values_leave() -> None:
    with pytest.raises(DataError, match=r"training images range from .* not within 0,1; correct"):
        load((pixels() * 255, LABELS), value_range="0,1")
    for wrong in ("1,0", "0", "0,255,3", "inf,3", "white", (1,), 3):
        with pytest.raises(UsageError, match="numbers of black and white, such as 0,255"):
            load((pixels(), LABELS), value_range=wrong)  # type: ignore[arg-type]
    eight = load("digits", value_range="0,255")
    assert "the range applies to sets from elsewhere alone" in eight.notes[-1]
    with pytest.raises(UsageError, match="was loaded with range 0,255; load it again"):
        load(eight, value_range="-1,1")


def test_the_commands_take_layout_and_range_and_keep_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = pixels().reshape(20, 4, 8, 2) * 2 - 1  # either axis may be the channels
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS)
    spec = str(tmp_path / "a.npz")
    assert main(["data", spec]) == 1
    assert "say --layout NCHW or NHWC" in capsys.readouterr().err
    said = ["--layout", "NHWC", "--range", "-1,1"]
    assert main(["data", spec, *said, "--json", str(tmp_path / "d.json")]) == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert (told["channels"], told["layout"], told["range"]) == (2, "NHWC", "-1,1")
    assert "range: -1,1 (black and white), layout: NHWC" in capsys.readouterr().out
    out = str(tmp_path / "run")
    run = ["condense", "--data", spec, *said, "--ipc", "1", "--iterations", "1", "--out", out]
    assert main([*run, "--supply.net", "convnet1:width=4"]) == 0
    held = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (held["layout"], held["value_range"]) == ("NHWC", "-1,1")
    assert main(["resume", out, "--iterations", "2"]) == 0  # read as before
    how = ["--net", "convnet1:width=4", "--nets", "1", "--epochs", "1"]
    assert main(["evaluate", out, *how]) == 0


def test_sets_of_other_data_do_not_mention_them() -> None:
    data = load((pixels(), LABELS))
    made = condense(data, "dm", ipc=1, iterations=0, threads=1)
    assert not {"layout", "value_range"} & set(made.about.config)


@pytest.mark.parametrize(("top", "noted"), [(4095, True), (65535, False)])
def test_twelve_bits_in_sixteen_are_noted(top: int, noted: bool, tmp_path: Path) -> None:
    """4096 of 65536 values are 16 of 256: what is lost is said."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for k in range(5):
            values = np.full((8, 8), top * (k + 1) // 5, np.uint16)
            values[0, 0] = top
            Image.fromarray(values).save(tmp_path / name / f"{k}.png")
    data = load(tmp_path, cache=False)
    assert int(data.train.images.max()) == round(top / 257)
    told = [note for note in data.notes if "of 255: very dark pictures, or 12 bits" in note]
    assert len(told) == noted
