"""Pictures of sets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from condensery.data import load
from condensery.selection import select_random
from condensery.sets import picture as pictures
from condensery.sets.condensed import CondensedSet
from condensery.sets.picture import bare_picture, picture


def chosen(ipc: int = 2, names: tuple[str, ...] = ("ant", "bee")) -> CondensedSet:
    """Two classes of grey images of 8×8: dark ones, and light ones."""
    images = np.full((8, 8, 8), 30, np.uint8)
    images[4:] = 220
    data = load((images, np.repeat([0, 1], 4)))
    one = select_random(data, ipc=ipc)
    return CondensedSet(one.stored, dataclasses.replace(one.about, class_names=names))


def test_a_sheet_has_names_and_a_title_beside_the_images() -> None:
    one = chosen()
    bare, full = np.asarray(bare_picture(one)), np.asarray(picture(one))
    assert full.shape[0] == bare.shape[0] + 16
    assert full.shape[1] > bare.shape[1]
    width = bare.shape[1]
    places = range(full.shape[1] - width + 1)
    assert any((full[16:, left : left + width] == bare).all() for left in places)
    assert (full[:16] < 128).any()  # letters
    for half in (full[16 : 16 + bare.shape[0] // 2], full[16 + bare.shape[0] // 2 :]):
        assert (half[:, :12] < 128).any()


def test_a_sheet_is_not_larger_than_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 50)
    assert max(bare_picture(chosen()).size) <= 50


def test_names_of_any_letters() -> None:
    assert picture(chosen(names=("猫", "x" * 300))).width < 500


def test_spectrograms_have_colours_and_low_frequencies_below() -> None:
    one = chosen(1)
    about = dataclasses.replace(one.about, config={**one.about.config, "sample_rate": 8000})
    rows = torch.linspace(-1, 1, 8)[None, None, None, :, None].expand(2, 1, 1, 8, 8).clone()
    sheet = np.asarray(bare_picture(CondensedSet(rows, about))).astype(int)
    assert sheet.shape[-1] == 3
    shade = sheet.sum(-1)[2:-2, 10]
    first = shade[: len(shade) // 2 - 1]
    assert (np.diff(first) <= 0).all()  # the last row of numbers, the largest, is on top
    assert (np.diff(pictures._COLOURS.astype(int).sum(-1)) >= 0).all()
