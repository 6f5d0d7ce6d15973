"""ResNet18 and ResNet-10 for small images, DC's form for condensing, ResNet-18 for large ones."""

from __future__ import annotations

from typing import final

from torch import nn

from .norms import make_conv, make_norm
from .residual import Residual, draw_by_outputs
from .sizes import Shape, Size, halve, halve_up, too_small

_WIDTHS = (64, 128, 256, 512)


@final
class ResNet18(Residual):
    """A 3×3 stem without pooling, then four stages of two basic blocks (DC, section 3.1).

    For condensing, DC (appendix A) replaces each convolution of stride 2 by one of stride 1 with
    an average pooling, which gives finer gradients to the pixels; here it follows the activation
    (on the shortcut, the 1×1 convolution), and nothing pools at the end. Its tests use the
    ordinary form, with instance norm in place of batch norm. The embedding is the mean of the last
    map, N×512; with ``average`` the flattened map.

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
        size: Size = shape[1], shape[2]
        if average and min(halve(size, 3)) < 1:
            raise too_small("resnet18_ap", shape, 8)
        stem = _stem(shape, _WIDTHS[0], norm)
        super().__init__(stem, size, _WIDTHS, 2, classes, norm=norm, average=average, flat=average)


@final
class ResNet10(Residual):
    """A 3×3 stem without pooling, then four stages of one basic block, 32 to 256 wide.

    What IDC (Kim et al., 2022, section 5.1) tests CIFAR-10 sets on, with batch norm; with instance
    norm it also condenses (E.4). Convolutions are drawn as ResNetAP-10's are. The embedding is the
    mean of the last map, N×256.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.

    Raises:
        UsageError: for images that shrink to one pixel with instance norm.
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "batch") -> None:
        widths = (32, 64, 128, 256)
        stem = _stem(shape, widths[0], norm)
        super().__init__(stem, (shape[1], shape[2]), widths, 1, classes, norm=norm)
        draw_by_outputs(self)


@final
class ResNet18ImageNet(Residual):
    """ResNet-18 as its authors made it for 224×224 (He et al., 2016): IDC's test network there.

    A 7×7 stem of stride 2 and a max pooling 3×3 of stride 2, then four stages of two basic blocks.
    Convolutions are drawn as ResNetAP-10's are. The embedding is the mean of the last map, N×512.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.

    Raises:
        UsageError: for images below 32×32, or that shrink to one pixel with instance norm.
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "batch") -> None:
        size: Size = shape[1], shape[2]
        if min(size) < 32:
            raise too_small("resnet18_imagenet", shape, 32)
        width, half = _WIDTHS[0], halve_up(size)
        stem = nn.Sequential(
            make_conv(norm, shape[0], width, 7, 2),
            make_norm(norm, width, half),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        super().__init__(stem, halve_up(half), _WIDTHS, 2, classes, norm=norm)
        draw_by_outputs(self)


def _stem(shape: Shape, width: int, norm: str) -> nn.Module:
    size: Size = shape[1], shape[2]
    conv = make_conv(norm, shape[0], width, 3)
    return nn.Sequential(conv, make_norm(norm, width, size), nn.ReLU())
