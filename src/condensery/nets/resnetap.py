"""ResNetAP-10, through which IDC condenses large images."""

from __future__ import annotations

from typing import final

import torch
from torch import nn

from .norms import make_conv, make_norm
from .residual import Residual
from .sizes import Shape, Size, too_small

_WIDTHS = (64, 128, 256, 512)


@final
class ResNetAP10(Residual):
    """ResNet-10 with average pooling in place of strides (IDC, Kim et al., 2022, section 5.1).

    The stem follows the longer side: above 128 pixels a 7×7 convolution and a 4×4 average pooling,
    above 64 a 3×3 convolution and a 2×2 pooling, otherwise the convolution alone. Then four stages
    of one basic block, 64 to 512 wide; every convolution has stride 1, and its weights are drawn
    from a normal distribution of variance 2/(k²·output channels). The embedding is the mean of the
    last map, N×512.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.

    Raises:
        UsageError: for images below 8×8 (longer side above 64: 16×16; above 128: 32×32), or that
            shrink to one pixel with instance norm.
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "instance") -> None:
        channels, height, width = shape
        longer = max(height, width)
        kernel, window = (7, 4) if longer > 128 else (3, 2) if longer > 64 else (3, 1)
        if min(height, width) < 8 * window:
            raise too_small("resnetap10", shape, 8 * window)
        stem = nn.Sequential(
            make_conv(norm, channels, _WIDTHS[0], kernel),
            make_norm(norm, _WIDTHS[0], (height, width)),
            nn.ReLU(),
            nn.AvgPool2d(window) if window > 1 else nn.Identity(),
        )
        size: Size = height // window, width // window
        super().__init__(stem, size, _WIDTHS, 1, classes, norm=norm, average=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _draw(module)


@torch.no_grad()
def _draw(conv: nn.Conv2d) -> None:
    height, width = conv.kernel_size
    conv.weight.normal_(0.0, (2.0 / (height * width * conv.out_channels)) ** 0.5)
