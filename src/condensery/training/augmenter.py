"""What a protocol does to the mini-batches that networks train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from condensery.augment import augment_photos, cutmix, parse_strategy
from condensery.augment.draws import to_device
from condensery.augment.training import (
    Mix,
    Round,
    draw_batch,
    draw_each,
    draw_idc,
    draw_mix,
    draw_sequence,
    idc_strategy,
    mix_batches,
    partners_of,
    perform,
)

from .protocol import Protocol


@dataclass(frozen=True, eq=False)
class Drawn:
    """All that is random about a mini-batch."""

    size: int
    """Its images."""
    rounds: list[Round]
    """How they are augmented."""
    mix: Mix | None
    """How they are mixed."""


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
        ours = protocol.augmentation in ("idc", "idc_cutout")
        self.strategy = idc_strategy() if ours else named

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

    @property
    def drawn_ahead(self) -> bool:
        """Whether draws are values: those of larger photographs are not."""
        return self.protocol.augmentation != "photos"

    def draw(self, rng: np.random.Generator, size: int, shape: torch.Size) -> Drawn:
        """What :meth:`__call__` draws for a mini-batch.

        Args:
            rng: where from.
            size: images of the batch.
            shape: of an image.
        """
        rounds, p = self._drawn(rng, size), self.protocol.cutmix
        mix = draw_mix(rng, size, (shape[1], shape[2]), 1.0, p) if p > 0 else None
        return Drawn(size, rounds, mix)

    def apply(
        self, images: Tensor, labels: Tensor, drawn: Sequence[Drawn]
    ) -> tuple[Tensor, Tensor]:
        """:meth:`__call__` on mini-batches of any sizes whose draws were made before.

        Args:
            images: N×C×H×W, normalised: the batches one after another.
            labels: N.
            drawn: of each batch.
        """
        sizes = [one.size for one in drawn]
        if any(one.rounds for one in drawn):
            images = perform(images, [one.rounds for one in drawn], self.strategy, sizes)
        mixes, other = [one.mix for one in drawn], labels
        if any(mix is not None for mix in mixes):
            images = mix_batches(images, mixes, sizes)
            partners = torch.from_numpy(partners_of(mixes, sizes))
            other = labels.index_select(0, to_device(partners, labels.device))
        kept = [1.0 if mix is None else mix.share for mix in mixes]
        pairs = [(own / n, (1 - own) / n) for own, n in zip(kept, sizes, strict=True)]
        shares = torch.from_numpy(np.repeat(pairs, sizes, axis=0)).to(images.dtype)
        columns = torch.stack([labels.to(images.dtype), other.to(images.dtype)], 1)
        return images, torch.cat([columns, to_device(shares, images.device)], 1)

    def _drawn(self, rng: np.random.Generator, size: int) -> list[Round]:
        kind = self.protocol.augmentation
        if kind in ("idc", "idc_cutout"):
            return draw_idc(rng, self.flip, size, cutout=kind == "idc_cutout")
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
