"""ResNet18 for small images, and its form with average pooling for condensing."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from .norms import make_norm
from .sizes import Shape, Size, halve, halve_up, too_small

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = 2


@final
class ResNet18(nn.Module):
    """A 3×3 stem without pooling, then four stages of two basic blocks (DC, section 3.1).

    For condensing, DC (appendix A) replaces each convolution of stride 2 by one of stride 1 with
    an average pooling, which gives finer gradients to the pixels; here it follows the activation
    (on the shortcut, the 1×1 convolution), and nothing pools at the end. Its tests use the
    ordinary form, with instance norm in place of batch norm.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.
        average: the form with average pooling.

    Raises:
        UsageError: for images below 8×8 with ``average``, or that shrink to one pixel with
            instance norm.
    """

    def __init__(
        self, shape: Shape, classes: int, *, norm: str = "instance", average: bool = False
    ) -> None:
        super().__init__()
        size: Size = shape[1], shape[2]
        if average and min(halve(size, 3)) < 1:
            raise too_small("resnet18_ap", shape, 8)
        channels = _WIDTHS[0]
        self.average = average
        self.stem = nn.Sequential(
            _conv(shape[0], channels, 3, 1, norm), make_norm(norm, channels, size), nn.ReLU()
        )
        stages = []
        for number, width in enumerate(_WIDTHS):
            blocks = []
            for block in range(_BLOCKS):
                shrink = number > 0 and block == 0
                small = (halve(size) if average else halve_up(size)) if shrink else size
                blocks.append(_Basic(channels, width, size, small, norm, average))
                channels, size = width, small
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(channels * (size[0] * size[1] if average else 1), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The mean of the last map, N×512; with ``average`` the flattened map."""
        images = self.stem(images)
        for stage in self.stages:
            images = stage(images)
        return self._embedding(images)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The maps after the stem and the four stages, and the embedding."""
        images = self.stem(images)
        out = {"stem": images}
        for number, stage in enumerate(self.stages, 1):
            out[f"stage{number}"] = images = stage(images)
        return {**out, "embedding": self._embedding(images)}

    def _embedding(self, images: Tensor) -> Tensor:
        return images.flatten(1) if self.average else images.mean((2, 3))


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
        self.conv1 = _conv(channels, width, 3, stride, norm)
        self.norm1 = make_norm(norm, width, size if average else small)
        self.pool = pool
        self.conv2 = _conv(width, width, 3, 1, norm)
        self.norm2 = make_norm(norm, width, small)
        self.activation = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if shrink:
            self.shortcut = nn.Sequential(
                _conv(channels, width, 1, stride, norm), pool, make_norm(norm, width, small)
            )

    def forward(self, images: Tensor) -> Tensor:
        """The block's maps."""
        out = self.pool(self.activation(self.norm1(self.conv1(images))))
        out = self.norm2(self.conv2(out))
        return self.activation(out + self.shortcut(images))  # type: ignore[no-any-return]


def _conv(channels: int, width: int, kernel: int, stride: int, norm: str) -> nn.Conv2d:
    # A norm shifts anyway, so only networks without one need a bias.
    return nn.Conv2d(
        channels, width, kernel, stride=stride, padding=kernel // 2, bias=norm == "none"
    )
