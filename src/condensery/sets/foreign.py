"""Sets from elsewhere: ``.npz`` files, folders of pictures, and what the authors' programs save.

They become :class:`Candidate` objects, rows of a table beside our own. What training images they
were made from cannot be known, so that is not checked; everything else is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from condensery.data import Data
from condensery.data.archives import read_npz
from condensery.data.classes import as_labels, text_of
from condensery.data.folders import picture_folders
from condensery.data.images import Content, PixelArray, UnreadableError, as_channels, pixels
from condensery.data.tables import file_table, splits_of
from condensery.errors import DataError
from condensery.utils.files import safe_names
from condensery.utils.text import shape_text

from . import scales, torch_sets
from .candidate import Candidate
from .places import FILE
from .raw import Raw

_TORCH = (".pt", ".pth")
#: Files that each hold a third-party set.
_FILES = (".npz", ".parquet", *_TORCH)


def is_foreign(path: Path) -> bool:
    """Whether a set at this path was not made here, by what the file or folder looks like."""
    if not path.is_dir():
        return path.suffix.lower() in _FILES
    return not _ours(path) and bool(_several(path) or picture_folders(path))


def open_foreign(path: Path, data: Data) -> list[Candidate]:
    """The set at a path, or all sets of a file or folder that holds several.

    Args:
        path: an ``.npz`` file with ``images`` and ``labels`` (and ``class_names``, ``mean`` and
            ``std``, as our export writes them); a ``.pt`` file as the published programs of DC,
            DSA, DM and CAFE save it, or with images and labels alone; a pair of ``images_….pt`` and
            ``labels_….pt``; a folder of these; or a
            folder with a folder of pictures for each class.
        data: what networks are tested on; it fixes shape, classes and normalisation.

    Raises:
        DataError: when it cannot be read, or does not fit the data.
    """
    halves = torch_sets.halves(path)
    if halves is not None:
        return [_candidate(torch_sets.of_halves(*halves), data, path, "pt")]
    if path.is_dir():
        files = _several(path)
        if not files:
            return [_candidate(_folder(path, data), data, path, "pictures")]
        return [one for file in files for one in open_foreign(file, data)]
    if not path.exists():
        raise DataError(f"{path} does not exist; name a set's folder or file")
    if path.suffix.lower() == ".npz":
        return [_candidate(_npz(path), data, path, "npz")]
    if path.suffix.lower() == ".parquet":
        return [_candidate(_parquet(path), data, path, "parquet")]
    return [_candidate(raw, data, path, "pt") for raw in torch_sets.experiments(path)]


def pair_of(value: Any) -> tuple[Any, Any] | None:
    """Images and labels of a pair, a ``TensorDataset`` or a dictionary of them, if it is one."""
    if isinstance(value, Mapping):
        return (value["images"], value["labels"]) if {"images", "labels"} == set(value) else None
    pair = value.tensors if isinstance(value, TensorDataset) else value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return None
    plain = all(isinstance(one, Tensor | np.ndarray | list) for one in pair)
    return (pair[0], pair[1]) if plain and getattr(pair[0], "ndim", 0) > 1 else None


def open_arrays(pair: tuple[Any, Any], data: Data) -> Candidate:
    """A set of arrays or tensors in memory: 8 bits, or black 0 and white 1.

    Raises:
        DataError: when it does not fit the data.
    """
    images, labels = pair
    return _candidate(Raw(images, labels), data, Path("of arrays"), "arrays")


def _ours(folder: Path) -> bool:
    """A run, finished or not, or a folder of runs: these hold pictures, too."""
    inner = [p for p in folder.iterdir() if p.is_dir()]
    marks = (FILE, "recipe.yaml")
    return any((place / mark).exists() for place in (folder, *inner) for mark in marks)


def _several(folder: Path) -> list[Path]:
    """The sets of a folder that holds nothing but such files."""
    files = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    return files if files and all(p.suffix.lower() in _FILES for p in files) else []


def _npz(path: Path) -> Raw:
    held, found = read_npz(path, ("images", "labels", "class_names", "mean", "std"))
    if not {"images", "labels"} <= set(held):
        stored = "stored tensors, not training images; export it without --stored"
        other = f"{', '.join(found) or 'nothing'}; images and labels are needed"
        raise DataError(f"{path} holds {stored if 'stored' in found else other}")
    if ("mean" in held) != ("std" in held):
        raise DataError(f"{path} has one of mean and std; both or neither is needed")
    names = held.get("class_names")
    classes = None if names is None else tuple(text_of(name) for name in np.ravel(names).tolist())
    return Raw(held["images"], held["labels"], classes, held.get("mean"), held.get("std"))


def _folder(path: Path, data: Data) -> Raw:
    """One folder per class, pictures in it, in the order of their names."""
    folders, files = picture_folders(path) or ((), [])
    classes = data.train.class_names
    as_folders = dict(zip(safe_names(classes), classes, strict=True))
    names = tuple(as_folders.get(name, name) for name in folders)
    images = _stacked([file for file, _ in files], path)
    size = images.nbytes  # the pictures' pixels, however they are compressed
    if images.shape[1] == 1 and data.train.shape[0] == 3:
        images = np.repeat(images, 3, axis=1)  # grey pictures of colour classes
    return Raw(images, np.array([label for _, label in files]), names, stored_bytes=size)


def _parquet(path: Path) -> Raw:
    """Pictures and labels of a parquet file, as our export writes it."""
    table = splits_of(file_table([path], str(path)), None)
    labels = table.train.labels
    items = [content for _, content in table.train.pick(np.arange(len(labels)))]
    images = _stacked(items, path)
    return Raw(images, labels, table.class_names, stored_bytes=images.nbytes)


def _stacked(files: Sequence[Content], path: Path) -> NDArray[np.uint8]:
    """Pictures of one size, N×C×H×W; grey where all of them are."""
    found: list[PixelArray] = []
    for file in files:
        try:
            found.append(pixels(file, None))
        except UnreadableError as error:
            named = file if isinstance(file, Path) else f"{len(found)} of {path}"
            raise DataError(f"picture {named} cannot be read; repair or remove it") from error
        if found[-1].shape[:2] != found[0].shape[:2]:
            raise DataError(f"the pictures of {path} differ in size; bring them to one")
    channels = 3 if any(one.ndim == 3 for one in found) else 1
    return np.stack([as_channels(one, channels) for one in found])


def _candidate(raw: Raw, data: Data, path: Path, kind: str) -> Candidate:
    """Checked, and normalised."""
    images = _images(raw.images, path, data.train.shape)
    if tuple(images.shape[1:]) != data.train.shape:
        raise DataError(
            f"set {path} holds images of {shape_text(images.shape[1:])}, but {data.name} has "
            f"{shape_text(data.train.shape)}; use the --size and --channels it was made with"
        )
    labels = _labels(raw, data, path, len(images))
    mean, std = _normalisation(raw, data, path)
    return Candidate(
        images=scales.normalised(images, raw, data, path, (mean, std)),
        labels=labels,
        mean=mean,
        std=std,
        method=f"elsewhere ({kind})",
        ipc=math.ceil(len(labels) / data.train.classes),
        stored_bytes=raw.images.nbytes if raw.stored_bytes is None else raw.stored_bytes,
    )


def _images(images: Any, path: Path, shape: tuple[int, int, int]) -> Tensor:
    """N×C×H×W, uint8 or float32, all of it finite."""
    array = _array(images, path)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"images of {path} are of type {array.dtype}; uint8 or float32 is needed")
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or 0 in array.shape:
        raise DataError(f"images of {path} have shape {array.shape}; N×C×H×W is needed")
    if array.shape[1:] != shape and (array.shape[3], *array.shape[1:3]) == shape:
        array = np.moveaxis(array, 3, 1)
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # an overflow is found below
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise DataError(f"images of {path} hold NaN or infinite values; repair them")
    return torch.from_numpy(np.array(array, order="C"))


def _array(values: Any, path: Path) -> NDArray[Any]:
    """Any numbers as numpy has them; it knows no bfloat16."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    try:
        tensor = values.detach()
        return np.asarray((tensor.float() if tensor.is_floating_point() else tensor).numpy())
    except (TypeError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{path} holds tensors that are not plain arrays; save dense ones"
        ) from error


def _labels(raw: Raw, data: Data, path: Path, images: int) -> Tensor:
    """Positions among the data's classes; each of them must occur."""
    try:
        labels = as_labels(_array(raw.labels, path), "set's")
    except DataError as error:
        raise DataError(f"set {path}: {error}") from error
    if len(labels) != images:
        raise DataError(f"set {path} has {images} images but {len(labels)} labels")
    classes = data.train.class_names
    if labels.dtype.kind == "U":
        raw, labels = _by_name(raw, labels)
    if raw.names is not None:
        labels = _renumbered(labels, raw.names, classes, data, path)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise DataError(
            f"labels of {path} range from {labels.min()} to {labels.max()}, but {data.name} has "
            f"the classes 0 … {len(classes) - 1}"
        )
    missing = np.setdiff1d(np.arange(len(classes)), labels)
    if len(missing):
        raise DataError(
            f"set {path} has no image of class '{classes[missing[0]]}' of {data.name}; it may "
            "belong to another data set"
        )
    return torch.from_numpy(labels.astype(np.int64))


def _by_name(raw: Raw, labels: NDArray[Any]) -> tuple[Raw, NDArray[Any]]:
    """Labels that are class names, as numbers."""
    names, numbers = np.unique(labels, return_inverse=True)
    return dataclasses.replace(raw, names=tuple(names.tolist())), numbers


def _renumbered(
    labels: NDArray[Any], names: Sequence[str], classes: Sequence[str], data: Data, path: Path
) -> NDArray[Any]:
    """Labels of a set that names its classes, in the data's order."""
    if sorted(names) != sorted(classes):
        odd = sorted(set(names) - set(classes)) or sorted(set(classes) - set(names))
        raise DataError(
            f"the classes of set {path} are not those of {data.name}: '{odd[0] if odd else ''}' "
            "is in only one of them"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise DataError(f"labels of {path} lie outside its {len(names)} class names")
    place = np.array([list(classes).index(name) for name in names])
    return np.asarray(place[labels])


def _normalisation(raw: Raw, data: Data, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std that networks see the images under: the set's own, or the data's."""
    if raw.mean is None:
        return data.train.mean, data.train.std
    out = []
    for values in (raw.mean, raw.std):
        array = np.asarray(values)
        if array.shape != (data.train.shape[0],) or array.dtype.kind not in "fiu":
            raise DataError(
                f"mean and std of {path} must have one number per channel, {data.train.shape[0]} "
                "in all"
            )
        out.append(tuple(float(v) for v in array))
    mean, std = out
    if not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        raise DataError(f"mean and std of {path} must be finite, and std positive")
    return mean, std
