"""What --methods takes: recipes, selections, YAML files and made sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from condensery import CondensedSet, DataError, UsageError, select_random
from condensery.applications.methods import Running, methods_of
from condensery.data.parts import of_classes
from condensery.runtime.plan import exact_plan
from tests.conftest import tiny

RUNNING = Running(exact_plan("cpu", 1))


def test_names_say_what_was_cut() -> None:
    found = methods_of(["dm", "random", "k-center"], 7, epochs=2)
    assert [one.label for one in found] == ["dm+iterations=7", "random", "k_center+epochs=2"]
    assert [one.label for one in methods_of(["dm", "herding"])] == ["dm", "herding"]


def test_a_made_set_gives_the_classes_of_a_step(tmp_path: Path) -> None:
    data = tiny()
    whole = select_random(data, ipc=2)
    file = str(whole.save(tmp_path / "made.safetensors"))
    (made,) = methods_of([file])
    part = of_classes(data, [2, 0])
    made.check(part, 2)
    found = made.make(part, 2, 0, tmp_path / "unused", RUNNING)
    assert found.about.class_names == ("2", "0")
    assert torch.equal(found.images, torch.cat([whole.images[whole.labels == c] for c in (2, 0)]))
    assert not (tmp_path / "unused").exists()
    with pytest.raises(UsageError, match="has 2 images per class, and 3 are asked for"):
        made.check(part, 3)
    with pytest.raises(DataError, match="holds images of 1×8×8 and arrays of 1×12×12"):
        made.check(tiny(side=12), 2)
    with pytest.raises(DataError, match="has no class '3'"):
        made.check(tiny((5, 5, 5, 5)), 2)


def test_a_recipe_may_be_a_file_and_have_its_own_network(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: dm\nreal_batch: 5\n")
    (mine,) = methods_of([str(file)], 0, net="convnet2:width=4")
    made = mine.make(tiny(), 1, 3, tmp_path / "run", RUNNING)
    assert (made.about.method, made.about.seed) == ("mine", 3)
    held = made.about.config
    assert (held["real_batch"], held["supply"]["net"]) == (5, "convnet2:width=4")
    again = mine.make(tiny(), 1, 3, tmp_path / "run", RUNNING)
    assert isinstance(again, CondensedSet)
    assert torch.equal(again.images, made.images)


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        ([], {}, "name at least one method"),
        (["herdin"], {}, "did you mean 'herding'"),
        (["k-center", "k_center"], {}, "named twice"),
        (["dm"], {"iterations": -1}, "--iterations must be at least 0"),
        (["herding"], {"epochs": 0}, "--select-epochs must be at least 1"),
    ],
)
def test_mistakes_get_one_sentence(names: list[str], given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        methods_of(names, **given)


def test_too_few_images_are_said_before_anything_is_made() -> None:
    """Seven images in the smallest class: one start takes eight, and two of 2×2 crops, too."""
    dm, rded = methods_of(["dm", "rded"], 1)
    dm.check(tiny(), 7)
    rded.check(tiny(), 1)
    with pytest.raises(DataError, match="class '1' has 7 training images, fewer than the 8"):
        dm.check(tiny(), 8)
    with pytest.raises(DataError, match="2 stored images of 2×2 crops take 8"):
        rded.check(tiny(), 2)
