"""``.npz`` files and torch data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from condensery.errors import DataError

from .archives import read_npz
from .arrays import check_ranges, pair
from .axes import Layout
from .classes import as_labels, text_of
from .images import Content, UnreadableError, is_picture, pixels
from .pictures import Pair, Pictures, Splits, Wanted, decode

#: Images and labels of the training, test and validation split.
_NPZ_NAMES = (
    ("images", "labels", "images_test", "labels_test", "images_val", "labels_val"),
    ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val"),
    # MedMNIST's
    ("train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels"),
)


def from_npz(path: Path, wanted: Wanted) -> Pair:
    """Two labelled sets from an ``.npz`` file; nothing in it is unpickled."""
    more = ("class_names", "layout", "mean", "std")
    held, found = read_npz(path, [*(name for names in _NPZ_NAMES for name in names), *more])
    names = next((n for n in _NPZ_NAMES if {n[0], n[1]} <= set(held)), None)
    if names is None:
        raise DataError(
            f"'{path.name}' holds {', '.join(found) or 'nothing'}; images and labels (or x_train "
            "and y_train) are needed"
        )
    for one, other in (names[2:4], names[4:6]):
        if (one in held) != (other in held):
            raise DataError(
                f"'{path.name}' has one of {one} and {other}; both or neither is needed"
            )
    used = names[2:4] if names[2] in held else names[4:6]
    left = sorted(set(found) - {*names[:2], *used, *more})
    train = (held[names[0]], held[names[1]])
    test = (held[used[0]], held[used[1]]) if used[0] in held else None
    classes = None
    if "class_names" in held:
        classes = [text_of(n) for n in held["class_names"].ravel().tolist()]
    layout = cast("Layout | None", str(held["layout"]) if "layout" in held else None)
    how = {**as_arrays(wanted), "layout": wanted.layout or layout}
    made = pair(train, test, path.stem, class_names=classes, **how)
    notes = (f"left out: {', '.join(left)}",) if left else ()
    return replace(made, notes=(*made.notes, *notes))


def as_arrays(wanted: Wanted) -> dict[str, Any]:
    """What :func:`.arrays.pair` is asked for."""
    names = ("size", "channels", "layout", "value_range")
    return {name: getattr(wanted, name) for name in names}


def from_torch(train: Dataset[Any], test: Dataset[Any] | None, name: str, wanted: Wanted) -> Pair:
    """Two labelled sets from map-style data sets of (image, label), each read once."""
    first, labels = _read(train, wanted.size, "training")
    second, test_labels = _read(test, wanted.size, "test") if test is not None else (None, None)
    names = _class_names(train)
    if isinstance(first, list):
        if second is not None and not isinstance(second, list):
            raise DataError(
                "training images are pictures but test images are arrays; make them match"
            )
        held = None if second is None else _pictures(second, test_labels, "test")
        splits = Splits(_pictures(first, labels, "training"), held, names)
        return decode(splits, name, wanted)
    both = None if second is None else (second, test_labels)
    return pair((first, labels), both, name, class_names=names, **as_arrays(wanted))


def from_pictures(
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None,
    name: str,
    wanted: Wanted,
) -> Pair:
    """Two labelled sets from lists of PIL images, which the reader of pictures decodes."""
    parts = [
        _pictures(_decoded(images, wanted.size, which), labels, which)
        for which, (images, labels) in zip(
            ("training", "test"), [train, test] if test is not None else [train], strict=False
        )
    ]
    held = parts[1] if len(parts) > 1 else None
    return decode(Splits(parts[0], held, None), name, wanted)


def holds_pictures(images: Any) -> bool:
    """Whether it is a list, or an array of objects, of which any is a PIL image."""
    listed = isinstance(images, (list, tuple)) or (
        # An array of no dimension cannot be iterated.
        getattr(getattr(images, "dtype", None), "kind", "") == "O" and np.ndim(images) > 0
    )
    return listed and any(is_picture(one) for one in images)


def _decoded(images: Sequence[Any], size: int | None, which: str) -> list[Content]:
    found: list[Content] = []
    for row, one in enumerate(images):
        if not is_picture(one):
            raise DataError(
                f"{which} image {row} is a {type(one).__name__} among PIL images; give all images "
                "in one form"
            )
        found.append(_picture(one, size))
    return found


def _picture(image: Any, size: int | None) -> Content:
    try:
        return pixels(image, size)
    except UnreadableError as error:
        return error


def _class_names(dataset: Any) -> tuple[str, ...] | None:
    """The names a data set gives its classes; of the one beneath a ``Subset`` or the like."""
    for _ in range(8):
        names = getattr(dataset, "classes", None)
        if names is not None and len(names):
            return tuple(text_of(n) for n in names)
        parts = getattr(dataset, "datasets", None)
        dataset = parts[0] if parts else getattr(dataset, "dataset", None)
    return None


def _pictures(contents: list[Content], labels: Any, which: str) -> Pictures:
    numbers = as_labels(labels, which)
    if len(numbers) != len(contents):
        raise DataError(
            f"the {which} data have {len(contents)} images but {len(numbers)} labels; one label "
            "per image is needed"
        )
    return Pictures(numbers, lambda rows: ((f"{which} image {r}", contents[r]) for r in rows))


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
        labels.append(_label(label, f"{which} item {i}"))
        if is_picture(image):
            pictures.append(_picture(image, size))
        elif isinstance(image, (Tensor, np.ndarray)):
            arrays.append(image if isinstance(image, Tensor) else torch.from_numpy(image.copy()))
        else:
            raise DataError(
                f"{which} image {i} is a {type(image).__name__}; a tensor, an array or a PIL image "
                "is needed"
            )
        if arrays and (
            pictures or (arrays[-1].shape, arrays[-1].dtype) != (arrays[0].shape, arrays[0].dtype)
        ):
            raise DataError(
                f"{which} image {i} differs from the first; let the data set's transform "
                "give all images one size and type"
            )
    if not arrays:
        return pictures, labels
    stacked = torch.stack(arrays)
    ends = getattr(dataset, "cumulative_sizes", None)
    if ends:  # a ConcatDataset
        parts = [stacked[a:b] for a, b in zip([0, *ends], ends, strict=False) if b > a]
        check_ranges(parts, [f"images of part {n} of the {which} data" for n in range(len(parts))])
    return stacked, labels


def _label(label: Any, where: str) -> Any:
    """A label as a plain value."""
    if isinstance(label, (Tensor, np.ndarray, np.generic)):
        if label.size != 1 if not isinstance(label, Tensor) else label.numel() != 1:
            raise DataError(
                f"the label of {where} has shape {tuple(label.shape)}; one label per image is "
                "needed (take the argmax of one-hot labels)"
            )
        return label.item()
    return label
