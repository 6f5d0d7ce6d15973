"""Pictures with a scale."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from condensery.cli.main import main
from condensery.data import load
from condensery.errors import UsageError
from condensery.selection import select_random
from condensery.sets.annotated import annotated, before_and_after, scale_of
from condensery.sets.condensed import CondensedSet
from condensery.sets.picture import bare_picture


def chosen(classes: int, ipc: int = 1, rate: int | None = None) -> CondensedSet:
    """Grey images of 8×8, each class of one shade."""
    labels = np.repeat(np.arange(classes), ipc)
    shades = (40 + labels * 150 // classes).astype(np.uint8)
    images = np.broadcast_to(shades[:, None, None], (len(labels), 8, 8)).copy()
    one = select_random(load((images, labels), test=(images, labels)), ipc=ipc)
    names = tuple(f"class {c}" for c in range(classes))
    config: dict[str, Any] = {**one.about.config, **({"sample_rate": rate} if rate else {})}
    about = dataclasses.replace(one.about, class_names=names, config=config)
    return CondensedSet(one.stored, about)


def test_the_bar_is_as_long_as_an_image_is_wide() -> None:
    one = chosen(2, ipc=3)
    page = np.asarray(annotated(one))
    row = page[page.shape[0] - 9]  # the middle of the last line of words
    dark = np.flatnonzero(row[: 8 + bare_picture(one).width // 3] < 128)
    assert dark[0] == 4
    assert len(dark) - 1 == 56  # eight pixels, each enlarged to seven
    assert (np.diff(dark) == 1).all()


def test_the_start_stands_beside_the_end() -> None:
    one = chosen(3, ipc=2)
    end = CondensedSet(one.stored * 0.5, dataclasses.replace(one.about, iterations=7))
    page = np.asarray(end.picture(before=one))
    start_sheet, end_sheet = (np.asarray(bare_picture(x)) for x in (one, end))
    assert not np.array_equal(start_sheet, end_sheet)
    height, width = end_sheet.shape
    assert np.array_equal(page[-height:, -width:], end_sheet)
    left = np.asarray(one.picture())  # names as wide as in a picture of its own
    first = left.shape[1] - width
    assert np.array_equal(page[-height:, first : first + width], start_sheet)


def test_both_halves_are_kept_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condensery.sets.annotated.LARGEST", 200)
    one = chosen(3, ipc=9)
    page = before_and_after(one, one)
    names = 2 * 60 + 12
    assert page.width <= 200 + names
    assert one.picture().width > 500


def test_a_set_of_something_else_is_no_start() -> None:
    with pytest.raises(UsageError, match="take both from one run"):
        chosen(3).picture(before=chosen(2))


def test_the_command_draws_the_start_that_a_run_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end, run = chosen(3), tmp_path / "run"
    end.save(run)
    asked = ["show", str(run), "--picture", str(tmp_path / "both.png"), "--before"]
    assert main(asked) == 1
    assert "does not hold the start of a run" in capsys.readouterr().err
    start = CondensedSet(end.stored * 0.5, end.about)
    start.save(run / "checkpoints" / "000000.safetensors")
    assert main(asked) == 0
    drawn = np.asarray(Image.open(tmp_path / "both.png"))
    assert np.array_equal(drawn, np.asarray(end.picture(before=start)))
    assert main(["show", str(run), "--before"]) == 2
    assert main([*asked, "--plain"]) == 2


def test_what_a_recording_spans() -> None:
    assert scale_of(chosen(2)) == "8 px"
    told = scale_of(chosen(2, rate=8000))
    assert told == "2.05 s (sound: the first 1 s), bottom to top 0 to 4000 Hz"


def test_many_classes_stand_in_columns_and_none_is_lost() -> None:
    one = chosen(60)
    page = annotated(one)
    assert page.height <= 1.5 * page.width
    bare, found = np.asarray(bare_picture(one)), np.asarray(page)
    shades = set(np.unique(bare)) - {255}
    assert len(shades) == 60
    side = bare.shape[1] - 4
    for shade in shades:
        assert (found == shade).sum() >= side * side
    assert annotated(chosen(3)).height == bare_picture(chosen(3)).height + 32


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = chosen(2)
    one.save(tmp_path / "set")
    file = tmp_path / "a.png"
    assert main(["show", str(tmp_path / "set"), "--picture", str(file)]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(annotated(one)))
    assert main(["show", str(tmp_path / "set"), "--picture", str(file), "--plain"]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(bare_picture(one)))
    assert main(["show", str(tmp_path / "set"), "--plain"]) == 2
    assert "add --picture FILE" in capsys.readouterr().err
