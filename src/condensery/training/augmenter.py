"""What a protocol does to the mini-batches that networks train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from condensery.augment import augment_photos, cutmix, parse_strategy
from condensery.augment.training import (
    Round,
    draw_batch,
    draw_each,
    draw_idc,
    draw_sequence,
    idc_strategy,
    perform,
)

from .protocol import Protocol


class Augmenter:
    """The augmentation and CutMix of a protocol, for one mini-batch or several of one size.

    Args:
        protocol: the constants.
        flip: whether images may be flipped horizontally.
        mean: normalisation of the images, for augmentations that change colours.
        std: normalisation.
    """

    def __init__(
        self, protocol: Protocol, flip: bool, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.protocol, self.flip = protocol, flip
        self.mean, self.std = mean, std
        named = dataclasses.replace(parse_strategy(protocol.strategy), rotate=protocol.rotate)
        named = named if flip else named.without("flip")
        self.strategy = idc_strategy() if protocol.augmentation == "idc" else named

    def __call__(
        self, images: Tensor, labels: Tensor, rngs: Sequence[np.random.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Augmented images, and targets N×4: two labels and their shares of the mean loss.

        Args:
            images: N×C×H×W, normalised: a batch for each generator, one after another.
            labels: N.
            rngs: where each batch's draws come from, the same ones whatever is beside it.
        """
        size = len(images) // len(rngs)
        if self.protocol.augmentation == "photos":
            parts = zip(images.split(size), rngs, strict=True)
            how = self.flip, self.mean, self.std
            images = _joined([augment_photos(part, rng, *how) for part, rng in parts])
        else:
            drawn = [self._drawn(rng, size) for rng in rngs]
            images = perform(images, drawn, self.strategy) if any(drawn) else images
        if not self.protocol.cutmix > 0:
            return images, _targets(labels, labels, 1.0, size, images)
        p, batches = self.protocol.cutmix, zip(images.split(size), labels.split(size), strict=True)
        mixed = [cutmix(*batch, rng, p=p) for batch, rng in zip(batches, rngs, strict=True)]
        targets = [_targets(own, other, share, size, images) for _, own, other, share in mixed]
        return _joined([pixels for pixels, *_ in mixed]), _joined(targets)

    def _drawn(self, rng: np.random.Generator, size: int) -> list[Round]:
        kind = self.protocol.augmentation
        if kind == "idc":
            return draw_idc(rng, self.flip, size)
        if kind == "none" or not self.strategy.ops:
            return []
        draw = {"batch_op": draw_batch, "image_op": draw_each, "sequence": draw_sequence}[kind]
        return draw(rng, self.strategy, size)


def _targets(labels: Tensor, other: Tensor, share: float, size: int, like: Tensor) -> Tensor:
    n = len(labels)
    columns = [labels.to(like.dtype), other.to(like.dtype)]  # exact: labels are small
    columns += [like.new_full((n,), share / size), like.new_full((n,), (1 - share) / size)]
    return torch.stack(columns, 1)


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]
