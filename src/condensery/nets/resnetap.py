"""ResNetAP-10, through which IDC condenses large images."""

from __future__ import annotations

from typing import final

from torch import nn

from .norms import make_conv, make_norm
from .residual import Residual, draw_by_outputs
from .sizes import Shape, Size, too_small

#: Up to this side the stages are half as wide (IDC, table 12), as ResNet-10's.
_SMALL = 32


def first_width(shape: Shape) -> int:
    """Channels of the first stage that suit an image size."""
    return 32 if max(shape[1:]) <= _SMALL else 64


@final
class ResNetAP10(Residual):
    """ResNet-10 with average pooling in place of strides (IDC, Kim et al., 2022, section 5.1).

    The stem follows the longer side: above 128 pixels a 7×7 convolution and a 4×4 average pooling,
    above 64 a 3×3 convolution and a 2×2 pooling, otherwise the convolution alone. Then four stages
    of one basic block, 64 to 512 wide (up to 32 pixels 32 to 256); every convolution has stride 1,
    and its weights are drawn from a normal distribution of variance 2/(k²·output channels). The
    embedding is the mean of the last map, N×512 or N×256.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.
        width: of the first stage, which doubles from stage to stage; 0 for what suits the size.

    Raises:
        UsageError: for images below 8×8 (longer side above 64: 16×16; above 128: 32×32), or that
            shrink to one pixel with instance norm.
    """

    def __init__(
        self, shape: Shape, classes: int, *, norm: str = "instance", width: int = 0
    ) -> None:
        channels, high, wide = shape
        longer = max(high, wide)
        first = width or first_width(shape)
        kernel, window = (7, 4) if longer > 128 else (3, 2) if longer > 64 else (3, 1)
        if min(high, wide) < 8 * window:
            raise too_small("resnetap10", shape, 8 * window)
        stem = nn.Sequential(
            make_conv(norm, channels, first, kernel),
            make_norm(norm, first, (high, wide)),
            nn.ReLU(),
            nn.AvgPool2d(window) if window > 1 else nn.Identity(),
        )
        size: Size = high // window, wide // window
        widths = [first * 2**stage for stage in range(4)]
        super().__init__(stem, size, widths, 1, classes, norm=norm, average=True)
        draw_by_outputs(self)
