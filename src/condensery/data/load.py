"""A name, a path or arrays in; a data set out."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from condensery.config import data_sets
from condensery.config.data_sets import Entry
from condensery.errors import DataError, UsageError, unknown_name
from condensery.utils import tar_patterns
from condensery.utils.renamed import old_names

from . import arrays, folders, foreign, hub, idx, memory
from .axes import Layout, checked
from .cache import decoded
from .file_sizes import bytes_of_files
from .labelled import Data, LabelledSet, default_net
from .pictures import NoRecordingsError, Pair, PictureSource, Wanted
from .ranges import RangeLike, ValueRange
from .spectrograms import MOST_RATE
from .tar_files import missing
from .whitening import whitened

DataLike: TypeAlias = "str | Path | Data | LabelledSet | tuple[Any, Any] | Dataset[Any]"
"""What :func:`load` takes."""

#: Images of which no pixel reaches this are noted, and how many are looked at first.
_DARK, _LOOKED_AT = 32, 16
_LOG = logging.getLogger("condensery.data")

#: What only a run folder has.
_RUN = ("recipe.yaml", "condensed.safetensors")
_DIGITS_FLIP = False  # a mirrored digit is another sign, or none

#: Pixels of a side; a hundred such pictures fill the memory of a large machine.
_MOST_SIZE = 16384


def load(
    data: DataLike,
    *,
    test: LabelledSet | tuple[Any, Any] | Dataset[Any] | None = None,
    size: int | None = None,
    channels: int | None = None,
    sample_rate: int | None = None,
    flip: bool | None = None,
    layout: Layout | None = None,
    value_range: RangeLike | None = None,
    zca: bool = False,
    cache: bool = True,
    **renamed: Any,
) -> Data:
    """Read a data set.

    Args:
        data: ``"digits"``; a name of the catalogue or of a folder in ``$CONDENSERY_DATA``;
            ``"hub:owner/name[:config]"``; a path to a folder, an ``.npz``, ``.parquet``,
            ``.arrow`` or ``.tar`` file, or to several, ``"train-{000..003}.tar"``; (images, labels)
            of arrays or tensors; a torch ``Dataset`` of (image, label), which is read once; a
            :class:`LabelledSet`; or a :class:`Data`, which is returned as it is.
        test: the test split, of the same kind as ``data``, where that is not a name or a path.
            Where there is no test split a stratified fifth of the training images is set aside.
        size: side in pixels to bring the images to; spectrograms of recordings have 64.
        channels: 1 (grey) or 3 (colour) to convert to.
        sample_rate: what to resample recordings to; by default that of the first recording, at
            most 16000.
        flip: whether augmentation may flip images horizontally; by default the data set's own rule.
        layout: ``"NCHW"`` or ``"NHWC"``, the order of the axes of arrays with four; it is found
            where the shape leaves no doubt.
        value_range: black and white of floating arrays, ``(0, 255)`` or ``"0,255"``, which become
            0 and 1; ``"normalised"`` for images that are. By default they keep their scale.
        zca: whether images are whitened by the training split (IDC, appendix E.6).
        cache: whether decoded pictures are kept in, and taken from, the user's cache folder.
        **renamed: the old name ``rate`` of ``sample_rate``, which warns.

    Returns:
        Both splits. What was decided or left out is in its ``notes``, and logged as warnings of
        ``condensery.data``.

    Raises:
        DataError: when the data cannot be used; it names the file or class and the remedy.
        UsageError: when the options contradict each other.

    >>> data = load("digits")
    >>> data
    Data('digits': 1438 training and 359 test images of 1×8×8, 10 classes)
    >>> image, label = data.train[0]
    >>> image.shape, data.classes[label]
    (torch.Size([1, 8, 8]), '0')
    """
    old = old_names("load", renamed, {"rate": "sample_rate"})
    rate: int | None = old.get("sample_rate", sample_rate)
    _check(size, channels, rate)
    known = None if value_range is None else ValueRange.parse(value_range)
    wanted = Wanted(
        size=size, channels=channels, rate=rate, layout=checked(layout), value_range=known
    )
    if isinstance(data, Data):
        _check_same(data, wanted)
        if zca and not data.zca:
            return _whitened(_again(data, test, size, channels, rate, flip))
        return _again(data, test, size, channels, rate, flip)
    if isinstance(data, (str, Path)):
        if test is not None:
            raise UsageError(
                "test= applies to arrays, tensors and data sets in memory; put the images of a "
                "folder under train/ and test/ instead"
            )
        made = _named(data, wanted, flip, cache)
    else:
        pair, name = memory.in_memory(data, test, wanted)
        made = _finish(pair, name, _unlisted(name, f"{name} (in memory)"), flip)
    if rate is not None and made.rate is None:
        raise NoRecordingsError(made.name)
    made = _read_so(made, wanted)
    if made.file_bytes is None:
        made = replace(made, file_bytes=bytes_of_files(data))
    for note in made.notes:
        _LOG.warning("%s: %s", made.name, note)
    return _whitened(made) if zca else made


def _dark(images: Tensor) -> list[str]:
    """A note on 8-bit images that use few of their values, as 12 bits in 16-bit files do."""
    if images.dtype != torch.uint8 or not len(images):
        return []
    # A few at first: images may be mapped from a file, and are read when they are used.
    if int(images[:_LOOKED_AT].max()) >= _DARK or (top := int(images.max())) >= _DARK:
        return []
    return [
        f"no pixel is above {top} of 255: very dark pictures, or 12 bits in 16-bit files, whose "
        "finer steps are lost; give such images as float32 arrays with their --range"
    ]


def _read_so(data: Data, wanted: Wanted) -> Data:
    """The data set with what was requested of arrays, and notes where nothing asks for it."""
    notes = list(data.notes)
    if not data.train.images.is_floating_point() and wanted.value_range is not None:
        notes.append("these images have 8 bits; the range applies to sets from elsewhere alone")
    return replace(data, notes=tuple(notes), layout=wanted.layout, value_range=wanted.value_range)


def _check_same(data: Data, wanted: Wanted) -> None:
    """Raise if data that have been loaded are to be read otherwise."""
    for name, flag in (("layout", "layout"), ("value_range", "range")):
        asked, held = getattr(wanted, name), getattr(data, name)
        if asked not in (None, held):
            raise UsageError(
                f"this data set was loaded with {flag} {held or 'unset'}; load it again from its "
                "source to change that"
            )


def _whitened(data: Data) -> Data:
    """A data set whose images are whitened."""
    train, test = whitened(data.train, data.test)
    note = "images were whitened (ZCA) by the mean and covariance of the training split"
    notes = (*data.notes, note)
    return replace(data, train=train, test=test, notes=notes, published=False, zca=True)


def _check(size: int | None, channels: int | None, rate: int | None) -> None:
    if size is not None and size < 4:
        raise UsageError(f"size must be at least 4 pixels, got {size}")
    if size is not None and size > _MOST_SIZE:
        raise UsageError(f"size must be at most {_MOST_SIZE} pixels, got {size}")
    if channels not in (None, 1, 3):
        raise UsageError(f"channels must be 1 or 3, got {channels}")
    if rate is not None and not 1000 <= rate <= MOST_RATE:
        raise UsageError(
            f"the sample rate must be from 1000 to {MOST_RATE} samples per second, got {rate}"
        )


def _finish(
    pair: Pair, name: str, spec: str, flip: bool | None, entry: Entry | None = None
) -> Data:
    """The data set, with what the catalogue knows about it."""
    train, test, notes = pair.train, pair.test, list(pair.notes)
    notes += _dark(train.images)
    channels, height, width = train.shape
    published = False
    flips = pair.rate is None and (entry is None or entry.flip)
    if entry is not None and entry.mean and entry.std and len(entry.mean) == channels:
        train, test = (replace(s, mean=entry.mean, std=entry.std) for s in (train, test))
        published = True
    else:
        still = _constant_channels(train)
        if still:
            notes.append(
                f"channel {', '.join(map(str, still))} is constant in training; its std "
                "was set to 1"
            )
    if min(test.counts) == 0:
        absent = [n for n, count in zip(test.class_names, test.counts, strict=True) if not count]
        shown = ", ".join(f"'{n}'" for n in absent[:5]) + ", …" * (len(absent) > 5)
        notes.append(f"the test split has no images of {shown}")
    decided = flips if flip is None else flip
    net = default_net(height, width)
    return Data(train, test, name, spec, decided, net, tuple(notes), published, pair.rate)


def _constant_channels(train: LabelledSet) -> list[int]:
    if 1.0 not in train.std:  # what a measured std of 0 was replaced by
        return []
    planes = train.images.unbind(1)
    return [c for c, plane in enumerate(planes) if bool(plane.amin() == plane.amax())]


def _again(
    data: Data,
    test: object,
    size: int | None,
    channels: int | None,
    rate: int | None,
    flip: bool | None,
) -> Data:
    """A data set that has been loaded already."""
    c, height, width = data.train.shape
    if test is not None:
        raise UsageError("this data set already has a test split; leave test= out")
    if size not in (None, height) or size not in (None, width) or channels not in (None, c):
        raise UsageError(
            f"this data set was loaded as {c}×{height}×{width}; load it again from its source "
            "to change its size or channels"
        )
    if rate not in (None, data.rate):
        raise UsageError("this data set is already loaded; load it again to change its rate")
    return data if flip in (None, data.flip) else replace(data, flip=bool(flip))


def _named(given: str | Path, wanted: Wanted, flip: bool | None, cache: bool) -> Data:
    """A name or a path."""
    spec = str(given)
    if not spec.strip():
        raise UsageError("the data set has no name; give one, or a path such as ./photos")
    size, channels = wanted.size, wanted.channels
    if isinstance(given, str):
        if spec.startswith("hub:"):
            source = _hub(spec)
            return _finish(decoded(source, wanted, cache=cache), source.name, spec, flip)
        if spec == "digits":
            pair = _digits(size, channels)
            return _finish(pair, spec, spec, _DIGITS_FLIP if flip is None else flip)
        entry = data_sets.entries().get(spec)
        place = data_sets.local(spec) if entry is not None else None
        if entry is not None and place is not None and idx.files_of(place):
            return _finish(_at(place, spec, wanted, cache), spec, spec, flip, entry)
        if entry is not None:
            source, subset = _known(spec, entry)
            wanted = replace(
                wanted,
                size=size or entry.size,
                rate=wanted.rate or entry.rate,
                subset=subset,
                one_of=entry.one_of,
            )
            return _finish(decoded(source, wanted, cache=cache), spec, spec, flip, entry)
        bare = re.fullmatch(r"\w[\w.-]*", spec)
        folder = data_sets.local(spec) if bare else None
        if folder is not None:
            return _finish(_at(folder, spec, wanted, cache), spec, spec, flip)
    try:
        path = Path(given).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, or of no user
        raise _missing(spec) from error
    if not exists and (shards := tar_patterns.named(str(path))):
        source = _shards(spec, shards)
        return _finish(decoded(source, wanted, cache=cache), source.name, spec, flip)
    if not exists:
        raise _missing(spec)
    if not path.is_dir() and not path.is_file():
        raise DataError(f"'{spec}' is a device or a pipe; name a folder or a regular file")
    name = path.resolve().stem if path.is_file() else path.resolve().name
    spec = _unlisted(spec, f".{os.sep}{spec}")
    if path.suffix.lower() == ".npz":
        return _finish(foreign.from_npz(path, wanted), name, spec, flip)
    if path.is_file() and path.suffix.lower() in folders.ARCHIVES:
        raise folders.packed_away(path)
    if path.is_file() and path.suffix.lower() not in (".parquet", ".arrow", tar_patterns.ENDING):
        raise DataError(
            f"'{path.name}' is neither a folder nor an .npz, .parquet, .arrow or .tar file; "
            "convert it to one of these"
        )
    if path.is_dir() and any((path / mark).exists() for mark in _RUN):
        raise UsageError(
            f"'{spec}' is a run folder, not a data set; look at it with condensery show, "
            "and test its set with condensery evaluate"
        )
    return _finish(_at(path, name, wanted, cache), name, spec, flip)


def _unlisted(spec: str, otherwise: str) -> str:
    """What data are recorded as that were not loaded by name, even if they bear one we know."""
    return otherwise if spec in ("digits", *data_sets.entries()) else spec


def _shards(spec: str, files: list[Path]) -> PictureSource:
    """The tar files of a pattern.

    Raises:
        DataError: where one of them is not there.
    """
    if (error := missing(spec, files)) is not None:
        raise error
    root = Path(os.path.commonpath([path.absolute().parent for path in files]))
    return folders.of_files([path.absolute() for path in files], root, root.name)


def _at(path: Path, name: str, wanted: Wanted, cache: bool) -> Pair:
    """What lies at a path: a table, MNIST's own files, or a folder of pictures or tables."""
    files = idx.files_of(path) if path.is_dir() else None
    if files is None:
        return decoded(folders.source(path, name), wanted, cache=cache)
    parts = {part: idx.read(file, 3 if "images" in part else 1) for part, file in files.items()}
    train, test = ((parts.get(f"{s} images"), parts.get(f"{s} labels")) for s in ("train", "test"))
    how = foreign.as_arrays(wanted)
    return arrays.pair(train, None if test[0] is None else test, name, **how)


def _known(name: str, entry: Entry) -> tuple[PictureSource, Mapping[str, str] | None]:
    """Where a data set of the catalogue lies, and which of its classes are meant."""
    folder = data_sets.local(name)
    if folder is not None:
        return folders.source(folder, name), None if entry.part_of else entry.subset
    whole = entry
    if entry.part_of is not None:
        folder, whole = data_sets.local(entry.part_of), data_sets.entries()[entry.part_of]
        if folder is not None:
            return folders.source(folder, name), entry.subset
    if whole.hub is None:
        raise DataError(
            f"'{name}' is not downloaded by this library; put it in $CONDENSERY_DATA/{name} as "
            "parquet files or class folders"
        )
    columns = {"image": whole.image, "label": whole.label}
    splits = {"train": whole.train, "test": whole.test}
    return hub.source(whole.hub, whole.config, name, **columns, **splits), entry.subset


def _hub(spec: str) -> PictureSource:
    match = re.fullmatch(r"hub:([\w.-]+/[\w.-]+)(?::([\w.-]+))?", spec)
    if match is None:
        raise DataError(
            f"'{spec}' is not a hub address; write hub:owner/name or hub:owner/name:config"
        )
    repository, config = match.groups()
    return hub.source(repository, config, repository.split("/")[1])


def _missing(spec: str) -> DataError:
    if re.fullmatch(r"[\w.-]+/[\w.-]+", spec) and not spec.startswith("."):
        return DataError(
            f"'{spec}' does not exist; check the path, or write hub:{spec} for data "
            "of that name on the Hugging Face hub"
        )
    if re.search(r"[/\\~]|\.(npz|parquet|arrow|tar|zip)$", spec):
        return DataError(f"'{spec}' does not exist; check the path")
    asked = unknown_name("data set", spec, data_sets.known_names())
    return DataError(f"{asked}; or give a path to a folder or an .npz file, or hub:owner/name")


@cache
def _digits_table() -> np.ndarray[Any, np.dtype[np.float64]]:
    """A row for each digit: 64 pixels of 0 to 16, and the label.

    Importing scikit-learn takes longer than a short run, so its file is read in its place.
    """
    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    held = load_digits()
    return np.column_stack([held.data, held.target])


def _digits(size: int | None, channels: int | None) -> Pair:
    """scikit-learn's 1797 digits of 8×8 pixels, a fixed fifth of every class for testing."""
    held = _digits_table()
    images = np.rint(held[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    train = (images, held[:, 64].astype(np.int64))
    return arrays.pair(train, None, "digits", size=size, channels=channels, purpose="digits-split")
