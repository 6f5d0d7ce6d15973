"""A memory for other people's loops."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from condensery import DataError, UsageError
from condensery.applications import Memory
from condensery.runtime.plan import exact_plan

HOW: dict[str, Any] = {"iterations": 2, "plan": exact_plan("cpu", 1)}


def images(labels: list[int], each: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor(labels).repeat_interleave(each)
    shown = torch.randint(0, 256, (len(numbers), 3, 8, 8), generator=generator)
    return shown.to(torch.uint8), numbers


@pytest.mark.parametrize("method", ["random", "dm", "dm_mf"])
def test_a_resumed_memory_is_the_one_that_was_not(method: str) -> None:
    whole, first, later = (Memory(2, method, **HOW) for _ in range(3))
    whole.add(*images([7, 3]))
    first.add(*images([7, 3]))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    later.load_state_dict(torch.load(file, weights_only=True))
    for memory in (whole, later):
        memory.add(*images([5, 1], seed=1))
    assert later.classes == whole.classes == [3, 7, 1, 5]
    assert torch.equal(later.dataset().images, whole.dataset().images)
    assert torch.equal(later.dataset().labels, whole.dataset().labels)


def test_labels_and_the_scale_of_pixels_are_those_given() -> None:
    memory = Memory(2, "random", **HOW)
    shown, labels = images([9, 4])
    memory.add(shown, labels)
    held = memory.dataset()
    assert len(held) == 4
    assert held.targets == [4, 4, 9, 9]
    for image, label in (held[k] for k in range(len(held))):
        own = shown[labels == label].float() / 255
        assert float((own - image).abs().amax((1, 2, 3)).min()) < 1e-5


def test_earlier_images_are_not_seen_again() -> None:
    found = []
    for seed in (0, 1):
        memory = Memory(1, "dm", **HOW)
        memory.add(*images([0, 1], seed=seed))
        found.append(memory.add(*images([2, 3], seed=5)).images)
    assert torch.equal(*found)


def test_what_cannot_be_added_is_refused() -> None:
    memory = Memory(2, "random", **HOW)
    assert len(memory.dataset()) == 0
    memory.add(*images([0, 1]))
    with pytest.raises(DataError, match="class 1 is in the memory already"):
        memory.add(*images([1, 2]))
    with pytest.raises(DataError, match="fewer than the 2 requested"):
        memory.add(*images([4, 5], each=1))
    assert memory.classes == [0, 1]
    with pytest.raises(UsageError, match="did you mean 'dm'"):
        Memory(1, "dmm")
    with pytest.raises(UsageError, match="has ipc 1, and the state 2"):
        Memory(1, "random", **HOW).load_state_dict(memory.state_dict())


def test_it_has_the_shape_of_an_exemplar_buffer() -> None:
    memory = Memory(1, "random", **HOW)
    shown, labels = images([0, 1, 2])
    dataset = [(image, int(label), 0) for image, label in zip(shown, labels, strict=True)]
    memory.update(SimpleNamespace(experience=SimpleNamespace(dataset=dataset)))
    assert memory.classes == [0, 1, 2]
    memory.update(SimpleNamespace(experience=SimpleNamespace(dataset=dataset)))
    assert len(memory.buffer) == 3
    memory.resize(None, 3)
    with pytest.raises(UsageError, match="cannot be resized"):
        memory.resize(None, 6)
