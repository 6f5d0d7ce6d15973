"""What the ResNets share: stages of basic blocks on top of a stem, and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from .norms import make_conv, make_norm
from .sizes import Size, halve, halve_up


@torch.no_grad()
def draw_by_outputs(network: nn.Module) -> None:
    """Draw every convolution's weights from N(0, √(2/(k²·output channels))), as IDC's program does.

    The linear layer keeps torch's own initialisation.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            module.weight.normal_(0.0, (2.0 / (height * width * module.out_channels)) ** 0.5)


class Residual(nn.Module):
    """A stem, then stages of basic blocks, each stage but the first with half the height and width.

    Args:
        stem: from images to maps of the first stage's width.
        size: H and W of those maps.
        widths: channels of each stage.
        blocks: basic blocks per stage.
        classes: number of classes.
        norm: after each convolution.
        average: shrink by average pooling, not by strides.
        flat: classify the flattened last map, not its mean.
    """

    def __init__(
        self,
        stem: nn.Module,
        size: Size,
        widths: Sequence[int],
        blocks: int,
        classes: int,
        *,
        norm: str,
        average: bool = False,
        flat: bool = False,
    ) -> None:
        super().__init__()
        self.flat = flat
        self.stem = stem
        channels, stages = widths[0], []
        for number, width in enumerate(widths):
            stage = []
            for block in range(blocks):
                shrink = number > 0 and block == 0
                small = (halve(size) if average else halve_up(size)) if shrink else size
                stage.append(_Basic(channels, width, size, small, norm, average))
                channels, size = width, small
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(channels * (size[0] * size[1] if flat else 1), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The mean of the last map, N×its channels; with ``flat`` the flattened map."""
        images = self.stem(images)
        for stage in self.stages:
            images = stage(images)
        return self._embedding(images)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The maps after the stem and the stages, and the embedding."""
        images = self.stem(images)
        out = {"stem": images}
        for number, stage in enumerate(self.stages, 1):
            out[f"stage{number}"] = images = stage(images)
        return {**out, "embedding": self._embedding(images)}

    def _embedding(self, images: Tensor) -> Tensor:
        return images.flatten(1) if self.flat else images.mean((2, 3))


@final
class _Basic(nn.Module):
    """Two 3×3 convolutions and a shortcut, from maps of one size to maps of another."""

    def __init__(
        self, channels: int, width: int, size: Size, small: Size, norm: str, average: bool
    ) -> None:
        super().__init__()
        shrink = width != channels
        stride = 2 if shrink and not average else 1
        pool = nn.AvgPool2d(2) if shrink and average else nn.Identity()
        self.conv1 = make_conv(norm, channels, width, 3, stride)
        self.norm1 = make_norm(norm, width, size if average else small)
        self.pool = pool
        self.conv2 = make_conv(norm, width, width, 3)
        self.norm2 = make_norm(norm, width, small)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if shrink:
            self.shortcut = nn.Sequential(
                make_conv(norm, channels, width, 1, stride), pool, make_norm(norm, width, small)
            )

    def forward(self, images: Tensor) -> Tensor:
        """The block's maps."""
        out = self.pool(self.activation(self.norm1(self.conv1(images))))
        out = self.norm2(self.conv2(out))
        return self.activation(out + self.shortcut(images))  # type: ignore[no-any-return]
