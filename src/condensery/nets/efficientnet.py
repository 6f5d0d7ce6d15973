"""EfficientNet-B0, the third test network of IDC on large images."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from .norms import make_conv, make_norm
from .sizes import Shape, Size, halve_up, too_small

_STEM, _HEAD = 32, 1280
#: Dropout before the classifier, and of the last block's branch (Tan and Le, 2019, section 5.2).
_DROP, _DROP_BRANCH = 0.2, 0.2
#: Batch norm of its authors' training.
_EPS, _MOMENTUM = 1e-3, 0.01
#: Of each stage: expansion, kernel, stride of the first block, width, blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


@final
class EfficientNetB0(nn.Module):
    """Seven stages of inverted residual blocks with squeeze and excitation (Tan and Le, 2019).

    A 3×3 stem of stride 2, the stages, a 1×1 convolution to 1280 and a linear layer; SiLU
    throughout. In training a fifth of the embedding is dropped out, and of each example the whole
    branch beside a shortcut with a probability that rises block by block from 0 towards a fifth;
    matching takes all of both. Batch norm has its authors' ε and momentum. The embedding is the
    mean of the last map, N×1280.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.

    Raises:
        UsageError: for images below 32×32, or that shrink to one pixel with instance norm.
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "batch") -> None:
        super().__init__()
        size: Size = shape[1], shape[2]
        if min(size) < 32:
            raise too_small("efficientnet_b0", shape, 32)
        channels, size = _STEM, halve_up(size)
        self.stem = _unit(norm, shape[0], channels, 3, size, stride=2)
        stages, number = [], 0
        of_all = sum(blocks for *_, blocks in _STAGES)
        for expansion, kernel, first, width, blocks in _STAGES:
            stage = []
            for block in range(blocks):
                stride = first if block == 0 else 1
                one = _Inverted(channels, width, expansion, kernel, stride, norm, size)
                one.drop.p = _DROP_BRANCH * number / of_all
                stage.append(one)
                number += 1
                channels, size = width, halve_up(size) if stride == 2 else size
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.head = _unit(norm, channels, _HEAD, 1, size)
        self.dropout = nn.Dropout(_DROP)
        self.classifier = nn.Linear(_HEAD, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = _EPS, _MOMENTUM

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.dropout(self.embed(images)))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The mean of the last map, N×1280."""
        images = self.stem(images)
        for stage in self.stages:
            images = stage(images)
        return self.head(images).mean((2, 3))  # type: ignore[no-any-return]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The maps after the stem, the seven stages and the last convolution, and the embedding."""
        images = self.stem(images)
        out = {"stem": images}
        for number, stage in enumerate(self.stages, 1):
            out[f"stage{number}"] = images = stage(images)
        out["head"] = images = self.head(images)
        return {**out, "embedding": images.mean((2, 3))}


@final
class _DropBranch(nn.Dropout):
    """In training, all of an example's maps are zero with probability p, or else times 1/(1−p)."""

    def forward(self, images: Tensor) -> Tensor:
        """The maps."""
        if not self.training or self.p == 0:
            return images
        kept = torch.empty(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)
        return images * kept.bernoulli_(1 - self.p) / (1 - self.p)


@final
class _Inverted(nn.Module):
    """Widen, convolve each channel by itself, weigh the channels, narrow; a shortcut if it fits."""

    def __init__(
        self,
        channels: int,
        width: int,
        expansion: int,
        kernel: int,
        stride: int,
        norm: str,
        size: Size,
    ) -> None:
        super().__init__()
        inner = channels * expansion
        small = halve_up(size) if stride == 2 else size
        self.short = stride == 1 and channels == width
        self.drop = _DropBranch(0.0)
        self.layers = nn.Sequential(
            _unit(norm, channels, inner, 1, size) if expansion > 1 else nn.Identity(),
            _unit(norm, inner, inner, kernel, small, stride=stride, groups=inner),
            _Excitation(inner, channels // 4),
            make_conv(norm, inner, width, 1),
            make_norm(norm, width, small),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The block's maps."""
        out: Tensor = self.layers(images)
        return images + self.drop(out) if self.short else out


@final
class _Excitation(nn.Module):
    """Each channel times a number between 0 and 1 that the means of all of them decide."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The weighed maps."""
        return images * self.weigh(images.mean((2, 3), keepdim=True))  # type: ignore[no-any-return]


def _unit(
    norm: str,
    channels: int,
    width: int,
    kernel: int,
    size: Size,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Module:
    conv = make_conv(norm, channels, width, kernel, stride, groups)
    return nn.Sequential(conv, make_norm(norm, width, size), nn.SiLU())
