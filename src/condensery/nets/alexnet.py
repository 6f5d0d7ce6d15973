"""AlexNet for small images: DC's, and the variant that dataset distillation used."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from .norms import make_norm
from .sizes import Shape, Size, halve, halve_up, too_small


@final
class AlexNet(nn.Module):
    """Five convolutions, three max poolings and a linear layer (DC, section 3.1), without dropout.

    Conv 5×5 (128) – pool – conv 5×5 (192) – pool – conv 3×3 (256, 192, 192) – pool. The first
    convolution pads by 2, grey images by 4 (28 becomes 32).

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution; ``none`` in DC, ``batch`` in DM (section 3.3).

    Raises:
        UsageError: for images below 8×8 (grey: 4×4).
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "none") -> None:
        super().__init__()
        channels, height, width = shape
        padding = 4 if channels == 1 else 2
        extra = 2 * padding - 4
        size = (height + extra, width + extra)
        half, quarter, last = halve(size), halve(size, 2), halve(size, 3)
        if min(last) < 1:
            raise too_small("alexnet", shape, 4 if channels == 1 else 8)
        self.stage1 = nn.Sequential(*_unit(channels, 128, 5, padding, norm, size), nn.MaxPool2d(2))
        self.stage2 = nn.Sequential(*_unit(128, 192, 5, 2, norm, half), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(
            *_unit(192, 256, 3, 1, norm, quarter),
            *_unit(256, 192, 3, 1, norm, quarter),
            *_unit(192, 192, 3, 1, norm, quarter),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(192 * last[0] * last[1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The flattened map after the last pooling, N×d (3072-d at 32×32)."""
        out: Tensor = self.stage3(self.stage2(self.stage1(images)))
        return out.flatten(1)

    def chain(self) -> list[nn.Module]:
        """The layers whose composition the network is."""
        return [*self.stage1, *self.stage2, *self.stage3, nn.Flatten(), self.classifier]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The three pooled maps and the last one flattened."""
        first = self.stage1(images)
        second = self.stage2(first)
        third = self.stage3(second)
        return {
            "stage1": first,
            "stage2": second,
            "stage3": third,
            "embedding": third.flatten(1),
        }


def _unit(
    channels: int, width: int, kernel: int, padding: int, norm: str, size: Size
) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels, width, kernel, padding=padding)
    return conv, make_norm(norm, width, size), nn.ReLU()


@final
class AlexCifarNet(nn.Module):
    """The AlexNet variant of dataset distillation, for DC's comparison with it (tables 3 and T9).

    Wang et al., "Dataset Distillation" (2018): two convolutions 5×5 of 64 filters, each with a
    local response normalisation and an overlapping max pooling 3×3 of stride 2 (the first pools
    before it normalises, the second after), then hidden layers of 384 and 192 units and a linear
    layer; ReLU throughout, no dropout.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        height, width = halve_up(halve_up((shape[1], shape[2])))
        self.stage1 = nn.Sequential(
            nn.Conv2d(shape[0], 64, 5, padding=2), nn.ReLU(), _overlapping(), _response()
        )
        self.stage2 = nn.Sequential(
            nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), _response(), _overlapping()
        )
        self.hidden1 = nn.Sequential(nn.Linear(64 * height * width, 384), nn.ReLU())
        self.hidden2 = nn.Sequential(nn.Linear(384, 192), nn.ReLU())
        self.classifier = nn.Linear(192, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The last hidden layer, N×192."""
        return self.features(images)["embedding"]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The two maps and the two hidden layers; the second is also the embedding."""
        first = self.stage1(images)
        second = self.stage2(first)
        third = self.hidden1(second.flatten(1))
        last = self.hidden2(third)
        return {
            "stage1": first,
            "stage2": second,
            "hidden1": third,
            "hidden2": last,
            "embedding": last,
        }


def _overlapping() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1)


def _response() -> nn.Module:
    # The constants of dataset distillation's program, window and α as torch counts them.
    return nn.LocalResponseNorm(4, alpha=0.001 / 9.0, beta=0.75, k=1.0)
