"""The multilayer perceptron of DC's cross-architecture table."""

from __future__ import annotations

import math
from typing import final

from torch import Tensor, nn

from .sizes import Shape


@final
class MLP(nn.Module):
    """Two hidden layers with ReLU, then a linear layer (DC, section 3.1).

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        width: units of each hidden layer.
    """

    def __init__(self, shape: Shape, classes: int, *, width: int = 128) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(math.prod(shape), width)
        self.hidden2 = nn.Linear(width, width)
        self.activation = nn.ReLU()
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The second hidden layer, N×width."""
        return self.features(images)["embedding"]

    def chain(self) -> list[nn.Module]:
        """The layers whose composition the network is."""
        act = self.activation
        return [nn.Flatten(), self.hidden1, act, self.hidden2, act, self.classifier]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The hidden layers; the second is also the embedding."""
        first = self.activation(self.hidden1(images.flatten(1)))
        second = self.activation(self.hidden2(first))
        return {"hidden1": first, "hidden2": second, "embedding": second}
