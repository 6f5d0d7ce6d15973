"""The union of condensed sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from condensery import CondensedSet, DataError, UsageError, condense, select_random
from condensery.data.parts import of_classes
from condensery.runtime.plan import exact_plan
from condensery.sets.candidate import Candidate
from tests.conftest import tiny

DATA = tiny((9, 8, 7, 9), channels=3)
HOW: dict[str, Any] = {"ipc": 2, "iterations": 0, "plan": exact_plan("cpu", 1)}
OVER = {"supply.net": "convnet2:width=4"}


def halves(recipe: str = "dm") -> list[CondensedSet]:
    parts = [of_classes(DATA, classes) for classes in ([2, 0], [3, 1])]
    return [condense(part, recipe, overrides=OVER, **HOW) for part in parts]


@pytest.mark.parametrize("recipe", ["dm", "dm_mf"])
def test_classes_follow_each_other_and_pixels_stay(recipe: str) -> None:
    sets = halves(recipe)
    union = CondensedSet.concat(sets)
    assert union.about.class_names == ("2", "0", "3", "1")
    assert (union.about.mean, union.about.std) == (sets[0].about.mean, sets[0].about.std)
    assert sets[0].about.mean != sets[1].about.mean
    wanted = torch.cat([one.pixels() for one in sets])
    torch.testing.assert_close(union.pixels(), wanted, rtol=0, atol=1e-4)
    assert union.about.ipc == 2
    assert union.about.source.images == len(DATA.train)


def test_the_order_of_classes_may_be_given() -> None:
    sets = halves()
    union = CondensedSet.concat(sets, ["0", "1", "2", "3"])
    own = sets[1].pixels()[sets[1].labels == 1]
    torch.testing.assert_close(union.pixels()[union.labels == 1], own, rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="are not the classes of the sets"):
        CondensedSet.concat(sets, ["0", "1"])


def test_classes_of_one_name_become_one_class() -> None:
    sets = [select_random(DATA, ipc=2, seed=seed) for seed in (0, 1)]
    union = CondensedSet.concat(sets)
    assert union.about.ipc == 4
    assert union.stored.shape[:2] == (4, 4)
    for c in range(4):
        wanted = torch.cat([one.images[one.labels == c] for one in sets])
        assert torch.equal(union.images[union.labels == c], wanted)


def test_a_union_is_a_file_like_any_other(tmp_path: Path) -> None:
    union = CondensedSet.concat(halves("dm_mf"))
    again = CondensedSet.load(union.save(tmp_path / "union.safetensors"))
    assert torch.equal(again.images, union.images)
    assert again.about.class_names == union.about.class_names


def test_what_cannot_be_joined_is_refused() -> None:
    whole, packed = halves()[0], halves("dm_mf")[1]
    with pytest.raises(DataError, match="decoded otherwise"):
        CondensedSet.concat([whole, packed])
    with pytest.raises(UsageError, match="no set to join"):
        CondensedSet.concat([])
    more = select_random(of_classes(DATA, [3, 1]), ipc=3)
    fewer = select_random(of_classes(DATA, [2, 0]), ipc=2)
    with pytest.raises(DataError, match="differ in size"):
        CondensedSet.concat([fewer, more])


def test_training_images_of_any_formations_are_joined() -> None:
    whole, packed = halves()[0], halves("dm_mf")[1]
    names = ["0", "1", "2", "3"]
    union = Candidate.union([whole, packed], names, whole.about.mean, whole.about.std)
    assert len(union) == len(whole) + len(packed)
    assert union.labels.tolist() == [2] * 2 + [0] * 2 + [3] * 8 + [1] * 8
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (union.mean, union.std))
    wanted = torch.cat([whole.pixels(), packed.pixels()])
    torch.testing.assert_close(union.images * std + mean, wanted, rtol=0, atol=1e-5)
    assert union.decoded == (4 + 16) / (4 + 4)


def test_the_classes_of_a_part_are_refused_where_they_are_missing() -> None:
    one = halves()[0]
    assert one.of_classes(["0"]).about.class_names == ("0",)
    assert torch.equal(one.of_classes(["0"]).images, one.images[one.labels == 1])
    with pytest.raises(DataError, match="no class '3'"):
        one.of_classes(["3"])
