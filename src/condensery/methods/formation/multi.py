"""Multi-formation: more training images from the same storage (IDC)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from condensery.config.later import LATER
from condensery.data import LabelledSet
from condensery.errors import DataError, UsageError
from condensery.methods.guide import Guide
from condensery.methods.task import Task
from condensery.runtime.randomness import stream

from .base import some_of
from .chroma import pack_subsampled, subsampled, unpack_subsampled
from .grid import tiles
from .pixels import noise
from .resize import Shrink, shrink, upsample

#: Images that are looked through together.
_ROWS = 1024
#: Training images that tell what tiles keep of them.
_LOOKED_AT = 500
#: Numbers of all of them together, at most.
_NUMBERS = 2**26


def pack(
    images: Tensor, shape: tuple[int, int, int], factor: int, along: str, how: Shrink = "area"
) -> Tensor:
    """Images shrunk into the tiles of stored ones, s·n×C×H×W → s×C×H×W for n tiles."""
    grid = tiles(shape[1], shape[2], factor, along)
    groups = images.unflatten(0, (-1, len(grid)))
    out = images.new_empty(len(groups), *shape)
    for number, (rows, columns) in enumerate(grid):
        size = rows.stop - rows.start, columns.stop - columns.start
        out[:, :, rows, columns] = shrink(groups[:, number], *size, how)
    return out


def unpack(stored: Tensor, factor: int, along: str, rows: Tensor | None = None) -> Tensor:
    """The tiles of stored images at full size, k×s×C×H×W → k×s·n×C×H×W, image by image.

    ``rows``, k×m, picks some of each class.
    """
    height, width = stored.shape[-2:]
    grid = tiles(height, width, factor, along)
    if len(grid) == 1:
        return some_of(stored, rows)
    if height % factor in (0, height) and width % factor == 0:  # one product for all of them
        down = factor if along == "area" else 1
        parts = stored.unflatten(4, (factor, -1)).unflatten(3, (down, -1))
        # k×s×C×rows×h×columns×w → k×s×rows×columns×C×h×w
        parts = parts.permute(0, 1, 3, 5, 2, 4, 6).flatten(1, 3)
        return upsample(some_of(parts, rows), height, width)
    made = [upsample(stored[..., high, wide], height, width) for high, wide in grid]
    return some_of(torch.stack(made, 2).flatten(1, 2), rows)


def least_of(train: LabelledSet) -> Tensor:
    """The least normalised value of each channel over the training split, C×1×1."""
    parts = torch.arange(len(train), device=train.index_device).split(_ROWS)
    return torch.stack([train.normalised(rows).amin((0, 2, 3)) for rows in parts]).amin(0)[
        :, None, None
    ]


@dataclass(kw_only=True)
class MultiFormation:
    """Stored images are cut into tiles, and each tile is a training image (IDC, section 3.2).

    With a factor f there are f² training images to a stored one, upsampled bilinearly; along time
    f. A factor of 1 is the pixels themselves.
    """

    factor: int = 2
    """Tiles along an axis (f)."""
    mode: Literal["uniform", "multi_scale", "bounded", "partitioned"] = "uniform"
    """``uniform``: the tiles; ``multi_scale``: those of all factors 1 … f together (appendix D);
    ``partitioned``: the first stored images in f×f tiles, the next in (f−1)×(f−1), the last ones
    whole, as many of each as ``bound`` allows (the authors' program); ``bounded``, which is not
    IDC's: whole images, and as many tiles of the same ones as ``bound`` allows."""
    bound: int = 128
    """Most training images per class, for ``bounded`` and ``partitioned``."""
    along: Literal["area", "time"] = "area"
    """Whether both axes are cut, or the last one alone, as for spectrograms."""
    space: Literal["unit", "normalised"] = "normalised"
    """``normalised``: pixels are stored as networks see them, and free; ``unit``: with black 0 and
    white 1, and kept there, which a pixel rate has to be meant for."""
    floor: Literal["none", "training"] = "none"
    """``training``: no stored pixel falls below the least training pixel of its channel, as IDC
    keeps spectrograms; ``none``."""
    start_from: Literal["real", "noise", "kmeans"] = "real"
    """``real``: random training images of the class, packed into the tiles; ``noise``;
    ``kmeans``: those nearest to the centroids of k-means on the class (DREAM), packed."""
    shrink: Shrink = "area"
    """How images are shrunk into the tiles: by means over areas, by some of the pixels, or so that
    their enlargement comes nearest to them (``fitted``, by least squares; not IDC's)."""
    chroma: Literal["full", "half"] = field(default="full", metadata=LATER)
    """``half``: the tiles hold luma, and chroma at half their resolution, as in JPEG's 4:2:0, so
    that there are 2·f² training images to a stored one, of RGB data; not IDC's. ``full``."""
    _mean: tuple[float, ...] = field(init=False, repr=False, default=())
    _std: tuple[float, ...] = field(init=False, repr=False, default=())
    _clamps: bool = field(init=False, repr=False, default=False)
    _least: Tensor | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise UsageError(f"formation.factor must be at least 1, got {self.factor}")
        if self.bound < 1:
            raise UsageError(f"formation.bound must be at least 1, got {self.bound}")
        others = (self.mode, self.along, self.floor)
        if self.chroma == "half" and others != ("uniform", "area", "none"):
            raise UsageError(
                "formation.chroma half goes with formation.mode uniform, formation.along area and "
                f"formation.floor none, not {', '.join(others)}; leave formation.chroma at full"
            )

    def for_data(self, mean: Sequence[float], std: Sequence[float]) -> MultiFormation:
        """A copy that knows the normalisation."""
        out = replace(self)
        out._mean, out._std, out._clamps = tuple(mean), tuple(std), self._clamps
        out._least = self._least
        return out

    def decoded(self, stored: int) -> int:
        """How many training images this many stored ones make."""
        if self.mode in ("uniform", "partitioned"):
            return sum(count * self._tiles(factor) for factor, count in self.parts(stored))
        every = stored * sum(self._tiles(f) for f in range(1, self.factor + 1))
        if self.mode == "multi_scale":
            return every
        cut = self._tiles(self.factor) if self.factor > 1 else 0
        return max(stored, min(self.bound, stored * (1 + cut)))

    def parts(self, stored: int) -> list[tuple[int, int]]:
        """How many of this many stored images are cut by which factor, in their order.

        >>> MultiFormation(factor=3, mode="partitioned", bound=40).parts(20)
        [(3, 2), (2, 1), (1, 17)]
        """
        if self.mode != "partitioned":
            return [(self.factor, stored)]
        out, left, room = list[tuple[int, int]](), stored, self.bound
        for factor in range(self.factor, 0, -1):
            tiles_each = self._tiles(factor)
            # What is left over takes a place each, at least.
            most = max(0, room - left) // tiles_each if factor > 1 else left
            count = min(most, left)
            out += [(factor, count)] if count else []
            left, room = left - count, room - count * tiles_each
        return out

    def _tiles(self, factor: int) -> int:
        if self.chroma == "half":
            return subsampled(factor)
        if factor == 1:
            return 1
        return factor * factor if self.along == "area" else factor

    def start(self, task: Task, train: LabelledSet) -> Tensor:
        """The stored tensor before anything is learned, classes × ipc × C×H×W."""
        self.check(*task.shape[1:])
        self._check_colours(task.shape[0])
        self._clamps = self.space == "unit" and train.images.dtype == torch.uint8
        if self.floor == "training":
            least = least_of(train).to(device=task.device, dtype=task.dtype)
            self._least = train.unnormalise(least) if self.space == "unit" else least
        # Colours of subsampled images are packed as they are stored.
        as_stored = self.chroma == "half" and self.start_from != "noise"
        if self.start_from == "noise":
            out = noise(task).to(device=task.device, dtype=task.dtype)
        else:
            guide = Guide.of(task, train) if self.start_from == "kmeans" else None
            parts = [self._packed(task, train, c, guide) for c in range(task.classes)]
            out = torch.stack(parts).to(device=task.device, dtype=task.dtype)
        if self.space == "unit" and not as_stored:
            out = train.unnormalise(out)
        self.project(out)
        return out.contiguous()

    def _packed(self, task: Task, train: LabelledSet, c: int, guide: Guide | None) -> Tensor:
        """One class's start, normalised; a class with too few images gives some twice."""
        members = train.index[c]
        if not len(members):
            raise DataError(
                f"class '{train.class_names[c]}' has no training images; add some or leave it out"
            )
        parts = self.parts(task.ipc)
        wanted = sum(count * self._tiles(factor) for factor, count in parts)
        if guide is None:
            order = stream(task.seed, "start", group=c).permutation(len(members))
            found = members[torch.from_numpy(order).to(members.device)]
        else:
            found = guide.nearest(c, wanted, "start-centroids")
        found = found.repeat(-(-wanted // len(found)))[:wanted]
        return self._pack(train.normalised(found, dtype=task.dtype), train, parts)

    def _pack(self, images: Tensor, train: LabelledSet, parts: Sequence[tuple[int, int]]) -> Tensor:
        """Normalised images in the tiles of stored ones; of subsampled ones, colours as stored."""
        if self.chroma == "half":
            images = train.unnormalise(images) if self.space == "unit" else images
            return pack_subsampled(images, self.factor, self.space, self.shrink)
        sizes = [count * self._tiles(factor) for factor, count in parts]
        packed = [
            pack(some, train.shape, factor, self.along, self.shrink)
            for some, (factor, _) in zip(images.split(sizes), parts, strict=True)
        ]
        return torch.cat(packed) if len(packed) > 1 else packed[0]

    def kept(self, train: LabelledSet) -> float:
        """Share of the training images' variance that uniform tiles keep, at most 1.

        It is measured on about 500 random images, packed and decoded, or fewer large ones.

        Raises:
            UsageError: for images that are too small for the tiles, or have other colours.
        """
        self.check(*train.shape[1:])
        self._check_colours(train.shape[0])
        made = replace(self, mode="uniform").for_data(train.mean, train.std)
        looked_at = min(_LOOKED_AT, max(1, _NUMBERS // math.prod(train.shape)))
        stored = -(-looked_at // made.decoded(1))
        rows = stream(0, "detail").integers(len(train), size=made.decoded(stored))
        images = train.normalised(torch.from_numpy(rows).to(train.index_device))
        packed = made._pack(images, train, made.parts(stored))
        if made.space == "unit" and made.chroma != "half":
            packed = train.unnormalise(packed)
        lost = made.decode(packed[None])[0] - images
        spread = images - images.mean((0, 2, 3), keepdim=True)
        return 1.0 - float(lost.square().sum() / spread.square().sum().clamp(min=1e-9))

    def check(self, height: int, width: int) -> None:
        """Raise if images are too small for the tiles.

        Raises:
            UsageError: naming the largest factor.
        """
        least = min(height, width) if self.along == "area" else width
        if self.chroma == "half" and self.factor > least // 4:
            raise UsageError(
                f"formation.factor {self.factor} leaves less than 2 pixels of {height}×{width} to "
                f"a tile of chroma; use at most {max(1, least // 4)}, or formation.chroma full"
            )
        if self.factor > 1 and self.factor > least // 2:
            raise UsageError(
                f"formation.factor {self.factor} leaves less than 2 pixels of {height}×{width} to "
                f"a tile; use at most {max(1, least // 2)}"
            )

    def _check_colours(self, channels: int) -> None:
        if self.chroma == "half" and channels != 3:
            raise UsageError(
                f"formation.chroma half is for RGB images, and these have {channels} channels; "
                "use formation.chroma full"
            )

    def normalised(self, stored: Tensor) -> Tensor:
        """Stored pixels as networks see them."""
        if self.space == "normalised" or not self._mean:
            return stored
        shape = (-1, 1, 1)
        mean, std = (stored.new_tensor(v).view(shape) for v in (self._mean, self._std))
        return (stored - mean) / std

    def decode(self, stored: Tensor, rows: Tensor | None = None) -> Tensor:
        """Training images of some classes, normalised, k×s×C×H×W → k×m×C×H×W."""
        self.check(*stored.shape[-2:])
        if self.chroma == "half":
            self._check_colours(stored.shape[2])
            return self.normalised(unpack_subsampled(stored, self.factor, self.space, rows))
        stored = self.normalised(stored)
        if self.mode == "uniform":
            return unpack(stored, self.factor, self.along, rows)
        if self.mode == "multi_scale":
            scales = [unpack(stored, f, self.along) for f in range(1, self.factor + 1)]
            return some_of(torch.cat(scales, 1), rows)
        if self.mode == "partitioned":
            parts = self.parts(stored.shape[1])
            split = stored.split([count for _, count in parts], 1)
            made = [unpack(s, f, self.along) for s, (f, _) in zip(split, parts, strict=True)]
            return some_of(torch.cat(made, 1), rows)
        both = [stored] if self.factor == 1 else [stored, unpack(stored, self.factor, self.along)]
        return some_of(torch.cat(both, 1)[:, : self.decoded(stored.shape[1])], rows)

    def project(self, stored: Tensor) -> None:
        """Back between black and white, where stored pixels are colours, and above the floor."""
        if self._clamps:
            stored.clamp_(0, 1)
        if self._least is not None:
            torch.maximum(stored, self._least.to(stored), out=stored)

    def state(self) -> dict[str, Any]:
        """Nothing beside the stored tensor."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""
