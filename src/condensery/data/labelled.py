"""What every other room works on: labelled images of one split, and the two splits together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from condensery.config.data_sets import entries
from condensery.errors import DataError
from condensery.runtime.devices import fits, to_device

from .axes import Layout
from .ranges import ValueRange

#: Positions of images.
Rows: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]

_CHUNK = 2**24  # numbers processed together when the pixels are measured


@lru_cache(maxsize=64)
def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Mean and std as C×1×1 tensors; kept, since copying them to a GPU again would wait for it."""
    with torch.inference_mode(False):  # an inference tensor could not be used under autograd later
        both = [torch.tensor(v, dtype=dtype, device=device)[:, None, None] for v in (mean, std)]
    return both[0], both[1]


Parts: TypeAlias = Callable[[int], Iterable[Tensor]]
"""A number of images → all images in order, this many at a time."""


def _each(images: Tensor) -> int:
    """Images that are processed together."""
    return max(1, _CHUNK // images[:1].numel())


def fingerprint_of(
    images: Tensor, labels: Tensor, class_names: Sequence[str], parts: Parts | None = None
) -> str:
    """SHA-256 of the content: type, shape, class names, labels and pixels."""
    digest = hashlib.sha256()
    head = (str(images.dtype), tuple(images.shape), tuple(class_names))
    digest.update(repr(head).encode())
    digest.update(_bytes_of(labels))
    for part in [images] if parts is None else parts(_each(images)):
        digest.update(_bytes_of(part))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8).data


def measure(
    images: Tensor, parts: Parts | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (ddof 0) per channel of N×C×H×W, accumulated in float64.

    uint8 is measured on the 0..1 scale, from counts of its 256 values and so exactly; float32 on
    its own scale. A channel without any variation has std 0.

    Args:
        images: all of them.
        parts: the same in pieces, where they should not be processed together.
    """
    read, each = parts or images.split, _each(images)
    if images.dtype == torch.uint8:
        counts = np.zeros((images.shape[1], 256), dtype=np.int64)
        for chunk in read(each):
            for c in range(images.shape[1]):
                counts[c] += np.bincount(chunk[:, c].cpu().numpy().ravel(), minlength=256)
        weights, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
        means = weights @ values
        variances = (weights * (values - means[:, None]) ** 2).sum(axis=1)
        # One single value gives exactly 0, whatever the rounding of its mean says.
        variances[(counts > 0).sum(axis=1) == 1] = 0
        return tuple(means.tolist()), tuple(np.sqrt(variances).tolist())
    pixels = images.shape[0] * images.shape[2] * images.shape[3]
    mean = torch.stack([x.double().sum(dim=(0, 2, 3)) for x in read(each)]).sum(dim=0) / pixels
    deviations, low, high = [], [], []
    for x in read(each):
        deviations.append((x.double() - mean[:, None, None]).square().sum(dim=(0, 2, 3)))
        low.append(x.amin(dim=(0, 2, 3)))
        high.append(x.amax(dim=(0, 2, 3)))
    std = (torch.stack(deviations).sum(dim=0) / pixels).sqrt()
    constant = torch.stack(low).amin(dim=0) == torch.stack(high).amax(dim=0)
    return tuple(mean.tolist()), tuple(std.masked_fill(constant, 0).tolist())


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """One split: images with labels, on one device; images may stay on the host, and in a file.

    Take images with :meth:`normalised` and labels with :meth:`labels_at`: whether ``images`` are
    in memory, on the device or mapped from a file is their business.
    """

    images: Tensor
    """N×C×H×W, uint8 or float32, contiguous; perhaps mapped, so that a row is read when it is
    used."""
    labels: Tensor
    """N, int64, 0 … classes−1."""
    class_names: tuple[str, ...]
    """One name per class, in the order of the labels."""
    mean: tuple[float, ...]
    """Per channel, on the 0..1 scale; of a float32 set on its own scale."""
    std: tuple[float, ...]
    """Per channel, on the scale of ``mean``; positive."""
    name: str
    """Short name, such as ``"mnist"``."""
    fingerprint: str
    """SHA-256 (hex) of images, labels and class names; independent of path and time."""
    on_host: bool = False
    """Whether images stay on the host while labels are on the device; rows
    are then copied to it as they are taken."""

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or self.images.dtype not in (torch.uint8, torch.float32):
            raise DataError(
                f"images must be N×C×H×W of uint8 or float32, got {tuple(self.images.shape)} of "
                f"{self.images.dtype}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels must be {len(self.images)} int64 numbers, one per image, got "
                f"{tuple(self.labels.shape)} of {self.labels.dtype}"
            )
        if not len(self.mean) == len(self.std) == self.images.shape[1] or min(self.std) <= 0:
            raise DataError(
                f"mean and std must have one number for each of {self.images.shape[1]} channels, "
                f"std positive; got mean {self.mean}, std {self.std}"
            )

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        class_names: Sequence[str],
        name: str,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        parts: Parts | None = None,
    ) -> LabelledSet:
        """A set with its fingerprint computed, and normalisation measured where none is given.

        A channel without any variation gets std 1. ``parts`` gives the images in pieces, where
        they should not be processed together.
        """
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_names):
            raise DataError(
                f"labels must lie in 0 … {len(class_names) - 1}, got {int(labels.min())} … "
                f"{int(labels.max())}"
            )
        images = images.contiguous()
        if mean is None or std is None:
            mean, measured = measure(images, parts)
            std = tuple(s if s > 0 else 1.0 for s in measured)
        names, print_ = tuple(class_names), fingerprint_of(images, labels, class_names, parts)
        return cls(images, labels, names, tuple(mean), tuple(std), name, print_)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One normalised image (C×H×W) and its label.

        Raises:
            IndexError: for a position that does not exist.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} images, and none at {index}")
        rows = torch.tensor([index % len(self)], device=self.index_device)
        return self.normalised(rows)[0], int(self.labels_at(rows)[0])

    def __repr__(self) -> str:
        """One line: how many images, of which size and classes."""
        shape = "×".join(map(str, self.shape))
        return f"LabelledSet({self.name!r}: {len(self)} images of {shape}, {self.classes} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def device(self) -> torch.device:
        """Where labels are, and normalised images come out."""
        return self.labels.device

    @property
    def index_device(self) -> torch.device:
        """Where positions are wanted: beside the images, so that the host never asks a GPU."""
        return self.images.device

    @cached_property
    def index(self) -> tuple[Tensor, ...]:
        """Positions of every class's images, int64 and ascending, on :attr:`index_device`."""
        return tuple(torch.from_numpy(one).to(self.index_device) for one in self.host_index)

    @cached_property
    def host_index(self) -> tuple[Rows, ...]:
        """The same positions on the host, where batches are drawn."""
        labels = self.labels.cpu()
        order = torch.argsort(labels, stable=True).numpy()
        ends = torch.bincount(labels, minlength=self.classes).cumsum(0).numpy()
        return tuple(np.split(order, ends[:-1]))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of images of every class."""
        return tuple(len(rows) for rows in self.index)

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return self.images.nbytes

    def normalised(self, rows: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Images as networks see them, n×C×H×W.

        Args:
            rows: positions, int64, on :attr:`index_device` (then a GPU is not waited for); all
                images by default.
            dtype: a floating type.

        Returns:
            (x/255 − mean)/std of uint8 images, (x − mean)/std of float32 images.
        """
        chosen = self._taken(rows)
        # Half precision only in the end: /255 and −mean would lose the last of its digits.
        exact = dtype if dtype == torch.float64 else torch.float32
        if self.images.dtype == torch.float32:
            return self.normalise(chosen.to(exact)).to(dtype)
        mean, std = _constants(self.mean, self.std, chosen.device, exact)
        return chosen.to(exact).div_(255).sub_(mean).div_(std).to(dtype)

    def labels_at(self, rows: Tensor) -> Tensor:
        """Labels at some positions, which are on :attr:`index_device`; on the set's device."""
        return self.labels[to_device(rows, self.device)]

    def _taken(self, rows: Tensor | None) -> Tensor:
        """Images as they are kept, on the set's device."""
        if not self.on_host:
            return self.images if rows is None else self.images[rows]
        if rows is None:
            return self.images.to(self.device)
        rows = rows.to(self.index_device)
        pinned = self.device.type == "cuda"  # the copy then runs beside the host
        out = torch.empty((len(rows), *self.shape), dtype=self.images.dtype, pin_memory=pinned)
        torch.index_select(self.images, 0, rows, out=out)
        return out.to(self.device, non_blocking=pinned)

    def normalise(self, images01: Tensor) -> Tensor:
        """(x − mean)/std of …×C×H×W floating images, on the scale of ``mean``."""
        mean, std = _constants(self.mean, self.std, images01.device, images01.dtype)
        return (images01 - mean) / std

    def unnormalise(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`normalise`; not clamped."""
        mean, std = _constants(self.mean, self.std, x.device, x.dtype)
        return x * std + mean

    def to(self, device: torch.device | str, share: float | None = None) -> LabelledSet:
        """The same set on another device; itself when it is already there.

        Args:
            device: where to.
            share: of the device's free memory that images may take; beyond it they stay on the
                host. ``$CONDENSERY_DEVICE_SHARE``, or a half, by default.
        """
        stay = self.stays_on_host(device, share)
        images = self.images if stay else self.images.to(device)
        labels = self.labels.to(device)
        if images is self.images and labels is self.labels and stay == self.on_host:
            return self
        moved = replace(self, images=images, labels=labels, on_host=stay)
        if stay:
            vars(moved)["host_index"] = self.host_index  # drawing rows asks the device for nothing
        return moved

    def stays_on_host(self, device: torch.device | str, share: float | None = None) -> bool:
        """Whether :meth:`to` would leave the images where they are, for lack of memory there."""
        if self.images.device.type != "cpu":
            return False
        return not fits(self.nbytes, torch.device(device), share)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: what is condensed, what it is tested on, and what was decided about it."""

    train: LabelledSet
    test: LabelledSet
    name: str
    """Short name."""
    spec: str
    """What the user requested, as it was written."""
    flip: bool
    """Whether augmentation may flip images horizontally."""
    net: str
    """Default network."""
    notes: tuple[str, ...] = ()
    """Sentences on what was decided or left out while reading."""
    published: bool = False
    """Whether mean and std are published constants; otherwise they are measured on ``train``."""
    rate: int | None = None
    """Sample rate of the recordings behind the spectrograms; None for pictures."""
    zca: bool = False
    """Whether the images are whitened."""
    layout: Layout | None = None
    """The order of the axes that was requested."""
    value_range: ValueRange | None = None
    """The range that was requested; float images of sets from elsewhere are read with it, too."""
    file_bytes: int | None = None
    """Bytes of the files that it was read from, all splits together; None where none are known."""

    def __repr__(self) -> str:
        """One line: how many images, of which size and classes."""
        train, test, shape = self.train, self.test, "×".join(map(str, self.train.shape))
        return (
            f"Data({self.name!r}: {len(train)} training and {len(test)} test images of {shape}, "
            f"{train.classes} classes)"
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in the order of the labels."""
        return self.train.class_names

    @property
    def sample_rate(self) -> int | None:
        """Samples per second of the recordings behind the spectrograms; None for pictures."""
        return self.rate

    @property
    def known_as(self) -> str:
        """The name under which recipes and protocols have special cases; empty for own data."""
        named = self.spec == self.name and self.name in ("digits", *entries())
        return self.name if named else ""

    @property
    def source_bytes(self) -> int:
        """Bytes of the training images."""
        return self.train.nbytes


def default_net(height: int, width: int) -> str:
    """The network that suits an image size, by its longer side.

    >>> default_net(28, 28), default_net(64, 64), default_net(224, 224), default_net(5, 90)
    ('convnet3', 'convnet4', 'resnetap10', 'convnet2')
    """
    if max(height, width) > 128 and min(height, width) >= 32:
        return "resnetap10"  # it shrinks both sides 32 times
    depth = 3 + sum(max(height, width) > limit for limit in (32, 64, 128))
    # A side can be halved only so often.
    return f"convnet{max(1, min(depth, min(height, width).bit_length() - 1))}"


def require_per_class(train: LabelledSet, ipc: int, *, noise: bool = True) -> None:
    """Raise if some class has too few real images for a budget.

    Args:
        train: the training split.
        ipc: images per class.
        noise: whether a start from noise would be a remedy.

    Raises:
        DataError: naming the first class with fewer than ``ipc`` images, and the remedy.
    """
    for name, count in zip(train.class_names, train.counts, strict=True):
        if count < ipc:
            raise DataError(
                f"class '{name}' has {count} training image{'s' if count != 1 else ''}, fewer than "
                f"the {ipc} requested; use --ipc {count} or less"
                + (", or --formation.start_from noise" if noise else "")
                if count
                else f"class '{name}' has no training images; add some or leave the class out"
            )
