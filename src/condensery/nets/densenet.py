"""DenseNet-121 for small images."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from .norms import make_conv, make_norm
from .sizes import Shape, Size, halve, too_small

_LAYERS = (6, 12, 24, 16)
_GROWTH = 12


@final
class DenseNet121(nn.Module):
    """DenseNet with the blocks of its 121-layer form, narrow (Huang et al., 2017): growth 12.

    What IDC (Kim et al., 2022, section 5.1) tests CIFAR-10 sets on. A 3×3 stem of 24 filters, then
    four dense blocks of 6, 12, 24 and 16 layers. Each layer (norm – ReLU – conv 1×1 – norm – ReLU –
    conv 3×3) sees all earlier maps of its block and adds 12. Between blocks a transition halves
    channels, height and width: norm – ReLU – conv 1×1 – average pooling. The embedding is the mean
    of the last map after norm and ReLU, N×384.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: before each ReLU.

    Raises:
        UsageError: for images below 8×8, or that shrink to one pixel with instance norm.
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "batch") -> None:
        super().__init__()
        size: Size = shape[1], shape[2]
        if min(halve(size, len(_LAYERS) - 1)) < 1:
            raise too_small("densenet121", shape, 2 ** (len(_LAYERS) - 1))
        channels = 2 * _GROWTH
        self.stem = make_conv(norm, shape[0], channels, 3)
        stages = []
        for number, layers in enumerate(_LAYERS):
            stage: list[nn.Module] = []
            if number:
                stage += [*_activated(norm, channels, channels // 2, 1, size), nn.AvgPool2d(2)]
                channels, size = channels // 2, halve(size)
            for _ in range(layers):
                stage.append(_Dense(channels, norm, size))
                channels += _GROWTH
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.last = nn.Sequential(make_norm(norm, channels, size), nn.ReLU())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The mean of the last map after norm and ReLU, N×384."""
        images = self.stem(images)
        for stage in self.stages:
            images = stage(images)
        return self.last(images).mean((2, 3))  # type: ignore[no-any-return]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The maps after the stem and the four blocks, and the embedding."""
        images = self.stem(images)
        out = {"stem": images}
        for number, stage in enumerate(self.stages, 1):
            out[f"stage{number}"] = images = stage(images)
        return {**out, "embedding": self.last(images).mean((2, 3))}


@final
class _Dense(nn.Module):
    """A layer that adds its maps to those that it sees."""

    def __init__(self, channels: int, norm: str, size: Size) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_activated(norm, channels, 4 * _GROWTH, 1, size),
            *_activated(norm, 4 * _GROWTH, _GROWTH, 3, size),
        )

    def forward(self, images: Tensor) -> Tensor:
        """The maps with 12 more."""
        return torch.cat([images, self.layers(images)], 1)


def _activated(
    norm: str, channels: int, width: int, kernel: int, size: Size
) -> tuple[nn.Module, ...]:
    conv = make_conv(norm, channels, width, kernel)
    return make_norm(norm, channels, size), nn.ReLU(), conv
