"""VGG11 for small images."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from .norms import make_norm
from .sizes import Shape, first_padding, halve, halvings, too_small

_STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


@final
class VGG11(nn.Module):
    """Eight 3×3 convolutions in five stages, each ending in a max pooling; one linear layer.

    Section 3.1 of DC, whose appendix A condenses with batch norm and trains on the condensed set
    with instance norm. The first convolution of grey 28×28 images pads by 3 (28 becomes 32).

    Args:
        shape: C, H, W of one image.
        classes: number of classes.
        norm: after each convolution.

    Raises:
        UsageError: for images below 32×32, but for grey 28×28.
    """

    def __init__(self, shape: Shape, classes: int, *, norm: str = "instance") -> None:
        super().__init__()
        padding, size = first_padding(shape)
        if halvings(size) < len(_STAGES):
            raise too_small("vgg11", shape, 2 ** len(_STAGES))
        channels, stages = shape[0], []
        for widths in _STAGES:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=padding),
                    make_norm(norm, width, size),
                    nn.ReLU(),
                ]
                channels, padding = width, 1
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            size = halve(size)
        self.stages = nn.ModuleList(stages)
        self.classifier = nn.Linear(channels * size[0] * size[1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, N×classes."""
        return self.classifier(self.embed(images))  # type: ignore[no-any-return]

    def embed(self, images: Tensor) -> Tensor:
        """The flattened map after the last pooling, N×d (512-d at 32×32)."""
        for stage in self.stages:
            images = stage(images)
        return images.flatten(1)

    def chain(self) -> list[nn.Module]:
        """The layers whose composition the network is."""
        layers = [layer for stage in self.stages for layer in stage]  # type: ignore[attr-defined]
        return [*layers, nn.Flatten(), self.classifier]

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """The five pooled maps and the last one flattened."""
        out = {}
        for number, stage in enumerate(self.stages, 1):
            out[f"stage{number}"] = images = stage(images)
        return {**out, "embedding": images.flatten(1)}
