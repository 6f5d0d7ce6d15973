"""What a pool's network knows of images that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from condensery import nets
from condensery.data import Data
from condensery.runtime.randomness import fork_rng, stream

from .networks import divide
from .store import Pool, Snapshot

#: Of an interval of one standard error on either side.
_CERTAINTY = 0.683
#: Pixels of all images together that are looked at in a mirror, and the fewest images.
_PIXELS, _FEWEST = 1_000_000, 100
_CHUNK = 100
#: How much less is known of mirrored images that are other things, and the odds against chance.
_LESS, _CHANCE = 0.75, 1e-3


def known_of(pool: Pool, data: Data) -> float:
    """What the snapshot that was trained furthest knows of held-out images, in percent.

    0 is what always naming the most frequent class gets right, and 100 every image. One standard
    error is taken off (Wilson's bound): all of four images prove little.

    Args:
        pool: that was trained on them.
        data: what it was trained on.
    """
    from scipy import stats  # a second that other commands need not wait

    labels = data.train.labels_at(_held_out(pool, data))
    count = len(labels)
    found = stats.binomtest(round((_last(pool).accuracy or 0.0) / 100 * count), count)
    right = float(found.proportion_ci(_CERTAINTY, method="wilson").low)
    return 100 * _beyond(right, _most_frequent(labels))


@dataclass(frozen=True)
class Mirrored:
    """What a network knows of held-out images, and of the same images in a mirror."""

    known: float
    """In percent, 0 for what naming the most frequent class gets right."""
    mirrored: float
    """The same of the mirrored images."""
    p: float
    """That as many images are lost in the mirror by chance (an exact test of those pairs of which
    one is right)."""

    @property
    def differ(self) -> bool:
        """Whether mirrored images look like something else."""
        return self.p < _CHANCE and self.mirrored < _LESS * self.known


def mirrored_of(pool: Pool, data: Data) -> Mirrored:
    """Whether the furthest snapshot knows held-out images when they are flipped horizontally.

    Networks of a pool see no flipped images while they are trained, so one that knows a photograph
    knows its mirror image, and one that knows a digit does not.

    Args:
        pool: that was trained on them.
        data: what it was trained on.
    """
    from scipy import stats

    rows, train = _held_out(pool, data), data.train
    _, height, width = train.shape
    most = max(_FEWEST, _PIXELS // (height * width))
    order = stream(0, "pool-mirrored").permutation(len(rows))[:most]
    rows = rows[torch.from_numpy(order).to(rows.device)]
    labels = train.labels_at(rows).cpu()
    network = _network(pool, data)
    plain, mirrored = [], []
    with torch.no_grad():
        for part in rows.split(_CHUNK):
            images = train.normalised(part.to(train.index_device)).cpu()
            plain.append(network(images).argmax(1))
            mirrored.append(network(images.flip(-1)).argmax(1))
    right, right_mirrored = torch.cat(plain) == labels, torch.cat(mirrored) == labels
    lost, found = int((right & ~right_mirrored).sum()), int((~right & right_mirrored).sum())
    test = stats.binomtest(lost, max(1, lost + found), alternative="greater")
    usual = _most_frequent(labels)

    def percent(right: Tensor) -> float:
        return 100 * _beyond(float(right.double().mean()), usual)

    return Mirrored(percent(right), percent(right_mirrored), float(test.pvalue))


def _held_out(pool: Pool, data: Data) -> Tensor:
    """Rows that the pool held out."""
    return divide(data.train, float(pool.settings["held_out"]), int(pool.settings["seed"]))[1]


def _last(pool: Pool) -> Snapshot:
    return max(pool.snapshots, key=lambda one: one.epoch)


def _network(pool: Pool, data: Data) -> nn.Module:
    with fork_rng(0, "pool-load"):
        network = nets.build(str(pool.settings["net"]), data.train.shape, data.train.classes)
    network.load_state_dict(pool.weights(_last(pool)))
    return network.eval()


def _most_frequent(labels: Tensor) -> float:
    """Share of the most frequent class."""
    return float(labels.bincount().max()) / len(labels)


def _beyond(right: float, usual: float) -> float:
    """A share that is right, on a scale from what is usual to 1."""
    return max(0.0, (right - usual) / (1 - usual)) if usual < 1 else 0.0
