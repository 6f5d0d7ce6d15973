"""``.npz`` files and torch data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from condensery.errors import DataError

from .archives import read_npz
from .arrays import pair
from .classes import as_labels
from .images import Content, UnreadableError, is_picture, pixels
from .pictures import Pair, Pictures, Splits, Wanted, decode

_NPZ_NAMES = (
    ("images", "labels", "images_test", "labels_test"),
    ("x_train", "y_train", "x_test", "y_test"),
)


def from_npz(path: Path, **options: Any) -> Pair:
    """Two labelled sets from an ``.npz`` file; nothing in it is unpickled."""
    known = [name for names in _NPZ_NAMES for name in names]
    held, found = read_npz(path, [*known, "class_names"])
    names = next((n for n in _NPZ_NAMES if {n[0], n[1]} <= set(held)), None)
    if names is None:
        raise DataError(
            f"'{path.name}' holds {', '.join(found) or 'nothing'}; images and labels (or x_train "
            "and y_train) are needed"
        )
    if (names[2] in held) != (names[3] in held):
        raise DataError(
            f"'{path.name}' has one of {names[2]} and {names[3]}; both or neither is needed"
        )
    train = (held[names[0]], held[names[1]])
    test = (held[names[2]], held[names[3]]) if names[2] in held else None
    class_names = [str(n) for n in np.ravel(held["class_names"])] if "class_names" in held else None
    return pair(train, test, path.stem, class_names=class_names, **options)


def from_torch(
    train: Dataset[Any],
    test: Dataset[Any] | None,
    name: str,
    size: int | None,
    channels: int | None,
) -> Pair:
    """Two labelled sets from map-style data sets of (image, label), each read once."""
    first, labels = _read(train, size, "training")
    second, test_labels = _read(test, size, "test") if test is not None else (None, None)
    names = getattr(train, "classes", None)
    names = tuple(str(n) for n in names) if names else None
    if isinstance(first, list):
        if second is not None and not isinstance(second, list):
            raise DataError(
                "training images are pictures but test images are arrays; make them match"
            )
        held = None if second is None else _pictures(second, test_labels, "test")
        splits = Splits(_pictures(first, labels, "training"), held, names)
        return decode(splits, name, Wanted(size=size, channels=channels))
    both = None if second is None else (second, test_labels)
    return pair((first, labels), both, name, class_names=names, size=size, channels=channels)


def _pictures(contents: list[Content], labels: Any, which: str) -> Pictures:
    return Pictures(
        as_labels(labels, which), lambda rows: ((f"{which} image {r}", contents[r]) for r in rows)
    )


def _read(
    dataset: Dataset[Any], size: int | None, which: str
) -> tuple[list[Content] | Tensor, list[Any]]:
    """All of a data set: pictures as a list of pixels, arrays as one tensor; and the labels."""
    if not hasattr(dataset, "__len__") or not len(dataset):
        raise DataError(
            f"the {which} data set has no length; a map-style one with images is needed"
        )
    pictures: list[Content] = []
    arrays: list[Tensor] = []
    labels: list[Any] = []
    for i in range(len(dataset)):
        item = dataset[i]
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise DataError(
                f"{which} item {i} is a {type(item).__name__}; (image, label) is needed"
            )
        image, label = item[0], item[1]
        labels.append(label.item() if isinstance(label, (Tensor, np.generic)) else label)
        if is_picture(image):
            try:
                pictures.append(pixels(image, size))
            except UnreadableError as error:
                pictures.append(error)
        elif isinstance(image, (Tensor, np.ndarray)):
            arrays.append(image if isinstance(image, Tensor) else torch.from_numpy(image))
        else:
            raise DataError(
                f"{which} image {i} is a {type(image).__name__}; a tensor, an array or a PIL image "
                "is needed"
            )
        if arrays and (pictures or arrays[-1].shape != arrays[0].shape):
            raise DataError(
                f"{which} image {i} differs from the first; let the data set's transform "
                "give all images one size and type"
            )
    return (torch.stack(arrays), labels) if arrays else (pictures, labels)
