"""Parts of data sets: some classes, some rows, a validation split."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from condensery import DataError, load
from condensery.data.labelled import measure
from condensery.data.parts import of_classes, rows_of_classes, taken, with_validation
from tests.conftest import tiny


def test_some_classes_are_numbered_in_the_order_given() -> None:
    data = tiny((5, 4, 3, 6))
    part = of_classes(data, [3, 1])
    assert part.train.class_names == ("3", "1")
    assert part.train.counts == (6, 4)
    for number, c in enumerate((3, 1)):
        own = part.train.images[part.train.labels == number]
        assert torch.equal(own, data.train.images[data.train.labels == c])
        there = part.test.images[part.test.labels == number]
        assert torch.equal(there, data.test.images[data.test.labels == c])


def test_normalisation_is_the_parts_own() -> None:
    data = tiny((5, 4, 3))
    part = of_classes(data, [2, 0])
    assert (part.train.mean, part.train.std) == measure(part.train.images)
    assert part.test.mean == part.train.mean != data.train.mean
    known = dataclasses.replace(data, published=True)
    assert of_classes(known, [2, 0]).train.mean == data.train.mean


def test_a_class_without_images_is_refused() -> None:
    data = tiny((5, 4, 3))
    hollow = taken(data.train, rows_of_classes(data.train, [0, 2]))
    with pytest.raises(DataError, match="class '1' has no training images"):
        of_classes(dataclasses.replace(data, train=hollow), [0, 1])


def test_rows_keep_every_class_name() -> None:
    data = tiny((5, 4, 3))
    part = taken(data.test, rows_of_classes(data.test, [2]))
    assert part.classes == 3
    assert part.counts == (0, 0, len(part))
    assert part.mean == data.test.mean


def test_validation_is_held_out_of_training() -> None:
    data = load("digits")
    part = with_validation(data)
    assert len(part.train) + len(part.test) == len(data.train)
    held = {image.numpy().tobytes() for image in data.test.images}
    pairs = zip(part.test.counts, data.train.counts, strict=True)
    assert all(count == round(whole / 10) for count, whole in pairs)
    kept = {image.numpy().tobytes() for image in part.train.images}
    there = {image.numpy().tobytes() for image in part.test.images}
    assert not there & (kept | held)
