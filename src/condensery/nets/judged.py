"""Two networks as one: the first one's features, and the second one's logits."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from .views import embed, features


@final
class Judged(nn.Module):
    """A network whose classes are told by another, such as itself some epochs later.

    Args:
        network: has the features.
        judge: has the logits.
    """

    def __init__(self, network: nn.Module, judge: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.judge = judge

    def forward(self, images: Tensor) -> Tensor:
        """The judge's logits, N×classes."""
        return self.judge(images)  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The network's embedding, N×d."""
        return embed(self.network, images)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The network's layers."""
        return features(self.network, images)
