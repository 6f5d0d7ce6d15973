"""Arrays and tensors of images become two labelled sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from condensery.errors import DataError

from .axes import Layout, layout_of
from .classes import as_labels, hold_out, number
from .labelled import LabelledSet
from .pictures import Pair, drawn_note
from .ranges import ValueRange, note_on

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as for pictures
_CHUNK = 1024


def pair(
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None,
    name: str,
    *,
    class_names: Sequence[str] | None = None,
    size: int | None = None,
    channels: int | None = None,
    purpose: str = "test-split",
    layout: Layout | None = None,
    value_range: ValueRange | None = None,
) -> Pair:
    """Two labelled sets from (images, labels) of arrays or tensors.

    Args:
        train: images N×C×H×W, N×H×W or N×H×W×C, of uint8 or floating type;
            N labels, whole numbers or strings.
        test: the same for testing; ``None`` draws a stratified fifth.
        name: short name.
        class_names: names by label.
        size: side in pixels to bring the images to.
        channels: 1 or 3 to convert to.
        purpose: names the draw of the test split.
        layout: order of the axes of images with four; found by :func:`layout_of` by default.
        value_range: black and white of floating images, which are brought to 0 and 1.
    """
    images, raw, order = _checked(train, "training", layout, value_range)
    wide = images.shape[1] not in (1, 3)
    images = _shaped(images, size, channels)
    test_images = test_raw = None
    if test is not None:
        test_images, test_raw, _ = _checked(test, "test", order or layout, value_range)
    labels = number(raw, test_raw, class_names)
    notes = list(labels.notes)
    if order == "NHWC" and wide and layout is None:
        notes.append(
            f"the last axis was taken for {images.shape[1]} channels; --layout NCHW (layout= of "
            "load) says otherwise"
        )
    if images.is_floating_point() and value_range is None and (scale := note_on(images)):
        notes.append(scale)
    if test_images is None or labels.test is None:
        drawn = hold_out(labels.train, len(labels.names), purpose)
        kept, held = (torch.from_numpy(rows) for rows in drawn)
        y = torch.from_numpy(labels.train)
        test_images, test_y = images[held], y[held]
        images, y = images[kept], y[kept]
        notes.append(drawn_note(len(test_y)))
    else:
        y, test_y = torch.from_numpy(labels.train), torch.from_numpy(labels.test)
        test_images = _shaped(test_images, size, channels)
        if test_images.shape[1:] != images.shape[1:] or test_images.dtype != images.dtype:
            raise DataError(
                f"test images are {tuple(test_images.shape[1:])} of {test_images.dtype} but "
                f"training images {tuple(images.shape[1:])} of {images.dtype}; make them match"
            )
        check_ranges([images, test_images], ["the training images", "the test images"])
    train_set = LabelledSet.of(images, y, labels.names, name)
    test_set = LabelledSet.of(
        test_images, test_y, labels.names, name, mean=train_set.mean, std=train_set.std
    )
    return Pair(train_set, test_set, tuple(notes))


def check_ranges(parts: Sequence[Tensor], names: Sequence[str]) -> None:
    """Raise if floating images of one part range to 1 and those of another to 255.

    Raises:
        DataError: naming both ranges.
    """
    if not all(len(part) and part.is_floating_point() for part in parts):
        return
    bounds = [(float(part.min()), float(part.max())) for part in parts]
    low, high = (choose(range(len(parts)), key=lambda i: bounds[i][1]) for choose in (min, max))
    # Pixels of one scale differ, but not so that all of one part are under 1 of 255.
    if bounds[low][0] >= 0 and 0 < bounds[low][1] <= 1.5 and 16 <= bounds[high][1] <= 65535:
        (a, b), (c, d) = bounds[low], bounds[high]
        raise DataError(
            f"{names[low]} range from {a:.3g} to {b:.3g} but {names[high]} from {c:.3g} to "
            f"{d:.3g}; bring them to one scale"
        )


def _checked(
    split: tuple[Any, Any],
    which: str,
    layout: Layout | None,
    value_range: ValueRange | None = None,
) -> tuple[Tensor, NDArray[Any], Layout | None]:
    """One split's images as uint8 or float32 N×C×H×W, its labels, and the order of its axes."""
    images, labels = (v.detach().cpu() if isinstance(v, Tensor) else v for v in split)
    tensor, order = _layout(_typed(images, which), which, layout)
    numbers = as_labels(labels, which)
    if len(tensor) != len(numbers):
        raise DataError(
            f"the {which} data have {len(tensor)} images but {len(numbers)} labels; one label per "
            "image is needed"
        )
    if not len(tensor):
        raise DataError(f"the {which} split has no images; check the source")
    if tensor.is_floating_point():
        good = torch.cat([part.isfinite().flatten(1).all(dim=1) for part in tensor.split(_CHUNK)])
        if not good.all():
            row = int((~good).nonzero()[0])
            raise DataError(
                f"{which} image {row} holds NaN or an infinite value (as float32); remove or "
                "repair it"
            )
        if value_range is not None:
            tensor = value_range.to_unit(tensor, f"the {which} images")
    return tensor, numbers, order


def _typed(images: Any, which: str) -> Tensor:
    if not isinstance(images, Tensor):
        array = _array(images, which)
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise DataError(_wrong_type(which, array.dtype))
        kind = np.uint8 if array.dtype == np.uint8 else np.float32
        with np.errstate(over="ignore"):  # an overflow is reported as an infinite value, by row
            # A copy, so that what the caller does to the array later cannot change the set.
            return torch.from_numpy(np.array(array, kind, order="C"))
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise DataError(_wrong_type(which, images.dtype))
    return images.clone() if images.dtype == torch.uint8 else images.to(torch.float32, copy=True)


def _array(images: Any, which: str) -> NDArray[Any]:
    """An array of a list of them, which have one shape and one type."""
    if isinstance(images, (list, tuple)) and images and hasattr(images[0], "dtype"):
        held = [v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in images]
        first = held[0]
        for row, one in enumerate(held):
            kind = (getattr(one, "shape", None), getattr(one, "dtype", None))
            if kind != (first.shape, first.dtype):
                raise DataError(
                    f"{which} image {row} is {_kind(one)} but the first is {_kind(first)}; bring "
                    "all images to one size and type"
                )
        return np.stack(held)
    try:
        return np.asarray(images)
    except ValueError as error:
        raise DataError(
            f"the {which} images differ in size; bring them to one, or give pictures and --size"
        ) from error


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return f"{tuple(value.shape)} of {dtype}" if dtype is not None else f"a {type(value).__name__}"


def _wrong_type(which: str, dtype: object) -> str:
    return (
        f"the {which} images are of type {dtype}; uint8 (0 … 255) or a floating type is needed, "
        "so convert them"
    )


def _layout(images: Tensor, which: str, layout: Layout | None) -> tuple[Tensor, Layout | None]:
    """N×C×H×W from any of the three layouts, and which of those with four axes it was."""
    three = images.dim() == 3
    if images.dim() == 3:
        images = images[:, None]
    if images.dim() != 4 or 0 in images.shape[1:]:
        raise DataError(
            f"the {which} images have shape {tuple(images.shape)}; N×C×H×W, N×H×W or N×H×W×C is "
            "needed"
        )
    order = None if three else layout_of(tuple(images.shape), which, layout)
    if order == "NHWC":
        images = images.permute(0, 3, 1, 2)
    return images.contiguous(), order


def _shaped(images: Tensor, size: int | None, channels: int | None) -> Tensor:
    """Brought to a size and a number of channels."""
    if channels is not None and images.shape[1] != channels:
        if {images.shape[1], channels} != {1, 3}:
            raise DataError(
                f"images of {images.shape[1]} channels cannot become {channels}; leave --channels "
                "out"
            )
        if channels == 3:
            images = images.expand(-1, 3, -1, -1).contiguous()
        else:
            weights = torch.tensor(_LUMA)[:, None, None]
            images = _by_chunk(images, lambda x: (x * weights).sum(dim=1, keepdim=True))
    if size is not None and tuple(images.shape[2:]) != (size, size):
        images = _by_chunk(images, lambda x: _resize(x, size, images.dtype))
    return images


def _by_chunk(images: Tensor, work: Callable[[Tensor], Tensor]) -> Tensor:
    """Work on float32 chunks, in the type of the images."""
    done = []
    for chunk in torch.split(images, _CHUNK):
        out = work(chunk.float())
        done.append(out.round().clamp(0, 255).byte() if images.dtype == torch.uint8 else out)
    return torch.cat(done)


def _resize(x: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Shorter side to ``size`` with antialiasing, then the middle square."""
    height, width = x.shape[2:]
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    # Bicubic overshoots, which uint8 clips; measured quantities should gain no new extremes.
    mode = "bicubic" if dtype == torch.uint8 else "bilinear"
    x = F.interpolate(x, target, mode=mode, antialias=True, align_corners=False)
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return x[:, :, top : top + size, left : left + size]
