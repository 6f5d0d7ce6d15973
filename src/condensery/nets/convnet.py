"""ConvNet-D, the network of every paper of the field."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import cast, final

from torch import Tensor, nn

from condensery.errors import UsageError, unknown_name

from .fused import fits, norm_relu_pool, shape_after, without_bias
from .norms import make_norm
from .sizes import Shape, first_padding, halve, halvings

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
}
POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "avg": lambda: nn.AvgPool2d(2),
}


@final
class ConvNet(nn.Module):
    """D blocks [conv 3×3 → norm → activation → pooling 2×2], then a linear layer (DC, section 3.1).

    The first convolution of grey 28×28 images pads by 3, so that 28 becomes 32.

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        width: filters of each convolution.
        depth: blocks.
        norm: ``none``, ``batch``, ``layer``, ``instance`` or ``group``.
        activation: ``sigmoid``, ``relu`` or ``leaky_relu`` (slope .01).
        pooling: ``none``, ``max`` or ``avg``.

    Raises:
        UsageError: for a name that does not exist, or more poolings than the image allows.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
        activation: str = "relu",
        pooling: str = "avg",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        if pooling not in POOLINGS:
            raise unknown_name("pooling", pooling, POOLINGS)
        padding, size = first_padding(shape)
        if pooling != "none" and depth > (most := halvings(size)):
            raise UsageError(_too_deep(depth, most, shape))
        channels, blocks = shape[0], []
        for _ in range(depth):
            parts: dict[str, nn.Module] = OrderedDict(
                conv=nn.Conv2d(channels, width, 3, padding=padding),
                norm=make_norm(norm, width, size),
                activation=ACTIVATIONS[activation](),
            )
            blocks.append(nn.Sequential(OrderedDict(parts)))
            channels, padding = width, 1
            size = size if pooling == "none" else halve(size)
        self.blocks = nn.ModuleList(blocks)
        self.pool = POOLINGS[pooling]()
        self.classifier = nn.Linear(channels * size[0] * size[1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The flattened map after the last pooling, N×d: DM's ψ (2048-d at 32×32)."""
        for block in self.blocks:
            images = self._pooled(block, images)
        return images.flatten(1)

    def _pooled(self, block: nn.Module, images: Tensor) -> Tensor:
        """A block and its pooling; in one kernel after the convolution where there is one."""
        conv, norm, activation = block.children()
        if images.is_cuda:  # nothing of this is asked elsewhere
            conv = cast(nn.Conv2d, conv)
            if fits(norm, activation, self.pool, images, shape_after(conv, images)):
                return norm_relu_pool(cast(nn.GroupNorm, norm), without_bias(conv, images))
        return self.pool(activation(norm(conv(images))))  # type: ignore[no-any-return]

    def chain(self) -> list[nn.Module]:
        """The layers whose composition the network is."""
        blocks = [[*block, self.pool] for block in self.blocks]  # type: ignore[misc]
        return [*(layer for block in blocks for layer in block), nn.Flatten(), self.classifier]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """CAFE's layers: each block after its activation, the last pooled map, and it flattened."""
        out = {}
        for number, block in enumerate(self.blocks, 1):
            out[f"block{number}"] = images = block(images)
            images = self.pool(images)
        return {**out, "pooled": images, "embedding": images.flatten(1)}


def _too_deep(depth: int, most: int, shape: Shape) -> str:
    remedy = f"use convnet{most}, " if most else ""
    larger = f"larger images (--size {2**depth}) " if depth <= 10 else ""
    return (
        f"convnet{depth} halves the image {depth} times, and {shape[1]}×{shape[2]} allows {most}; "
        f"{remedy}{larger}or pooling=none"
    )
