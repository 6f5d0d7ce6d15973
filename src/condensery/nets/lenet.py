"""LeNet, of DC's cross-architecture table and of its comparison with dataset distillation."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from .sizes import Shape, halve, too_small


@final
class LeNet(nn.Module):
    """Conv 5×5 (6) – max – conv 5×5 (16) – max – 120 – 84 – linear, with ReLU (DC, section 3.1).

    The first convolution pads grey images by 2.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.

    Raises:
        UsageError: for images below 16×16 (grey: 12×12).
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        padding = 2 if channels == 1 else 0
        cut = 4 - 2 * padding
        first = halve((height - cut, width - cut))
        second = halve((first[0] - 4, first[1] - 4))
        if min(second) < 1:
            raise too_small("lenet", shape, 12 if channels == 1 else 16)
        self.stage1 = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.stage2 = nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.hidden1 = nn.Sequential(nn.Linear(16 * second[0] * second[1], 120), nn.ReLU())
        self.hidden2 = nn.Sequential(nn.Linear(120, 84), nn.ReLU())
        self.classifier = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The last hidden layer, N×84."""
        return self.features(images)["embedding"]

    def chain(self) -> list[nn.Module]:
        """The layers whose composition the network is."""
        maps = [*self.stage1, *self.stage2, nn.Flatten()]
        return [*maps, *self.hidden1, *self.hidden2, self.classifier]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The two pooled maps and the two hidden layers; the second is also the embedding."""
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
