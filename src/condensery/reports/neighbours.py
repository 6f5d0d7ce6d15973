"""The real training images that condensed ones resemble most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from condensery import nets
from condensery.config.data_sets import as_meant_in, lies_here
from condensery.data import Data, load
from condensery.errors import DataError, UsageError
from condensery.runtime.randomness import fork_rng, stream
from condensery.sets.picture import is_sound

from .names import shown
from .pictures import png
from .sources import SetPart

#: The network whose features are compared; its weights are random, as distribution matching's.
NETWORK = "convnet:width=32"
#: Training images of a class that are looked at, and condensed images of a class that are shown.
MOST_REAL, MOST_SHOWN = 1000, 4
#: Classes that are shown.
MOST_CLASSES = 20
#: Images that pass through the network at once.
_CHUNK = 256


@dataclass(frozen=True)
class Neighbour:
    """A condensed image, and the training image of its class that is nearest to it."""

    condensed: str
    """PNG as a data URI."""
    real: str
    """PNG as a data URI."""
    distance: float
    """Of their features, in multiples of the median distance of two training images of the class:
    0 is a copy, and 1 as far as two images usually are."""


@dataclass(frozen=True)
class ClassNeighbours:
    """The pairs of one class."""

    name: str
    pairs: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Neighbours:
    """All pairs of a set, or why there are none."""

    classes: tuple[ClassNeighbours, ...] = ()
    missing: str | None = None
    """What is missing, and what to do."""
    looked_at: int = 0
    """Training images of a class that were looked at, at most."""


def neighbours(part: SetPart, spec: str | None) -> Neighbours:
    """The nearest training images, where the data can be read here and are the set's own.

    Args:
        part: the set.
        spec: the data set as the user names it; what the run recorded by default.
    """
    named = spec or _local_spec(part)
    if named is None:
        return Neighbours(missing="the data set is not on this machine; name it with --data")
    try:
        data = _loaded(part, named)
    except (DataError, UsageError, OSError) as error:
        why = str(error).replace(named, shown(named))
        return Neighbours(missing=f"{shown(named)} could not be read: {why}")
    if data.train.fingerprint != part.condensed.about.source.fingerprint:
        return Neighbours(
            missing=f"{shown(named)} holds other images than those that were condensed"
        )
    return _found(part, data)


def _local_spec(part: SetPart) -> str | None:
    """The data set that the run recorded, if reading it needs no network."""
    name = part.settings.get("data")
    name = name if isinstance(name, str) else part.condensed.about.source.name
    name = as_meant_in(part.facts.get("started_in"), name)
    here = name == "digits" or lies_here(name) or Path(name).exists()
    return name if here else None


def _loaded(part: SetPart, spec: str) -> Data:
    config = {**part.condensed.about.config, **part.settings}
    return load(
        spec,
        size=config.get("size"),
        channels=config.get("channels"),
        sample_rate=config.get("sample_rate"),
        flip=config.get("flip"),
        layout=config.get("layout"),
        value_range=config.get("value_range"),
        zca=config.get("zca") is True,
    )


def _found(part: SetPart, data: Data) -> Neighbours:
    condensed, train = part.condensed, data.train
    classes = min(len(condensed.stored), MOST_CLASSES)
    each = len(condensed.labels) // len(condensed.stored)
    with fork_rng(0, "report"):
        network = nets.build(NETWORK, train.shape, train.classes).eval()
    found = []
    for c in range(classes):
        rows = train.index[c].cpu()
        if len(rows) > MOST_REAL:
            drawn = stream(0, "report", c).permutation(len(rows))[:MOST_REAL]
            rows = rows[torch.from_numpy(drawn).sort().values]
        real = train.normalised(rows.to(train.index_device)).cpu()
        made = condensed.images[c * each : c * each + min(each, MOST_SHOWN)]
        found.append(_pairs(condensed.about.class_names[c], network, made, real, part))
    return Neighbours(tuple(found), None, min(MOST_REAL, int(max(train.counts))))


def _pairs(
    name: str, network: torch.nn.Module, made: Tensor, real: Tensor, part: SetPart
) -> ClassNeighbours:
    ours, theirs = _features(network, made), _features(network, real)
    # Without the expansion into products, which does not give 0 for a copy.
    distances = torch.cdist(ours, theirs, compute_mode="donot_use_mm_for_euclid_dist")
    # Two training images drawn at random: neighbours in the order of the file may be alike.
    shuffled = theirs[torch.from_numpy(stream(0, "report-pairs").permutation(len(theirs)))]
    usual = float((theirs - shuffled).norm(dim=1).median().clamp(min=1e-12))
    pairs = []
    for k, row in enumerate(distances.argmin(1).tolist()):
        both = (_shown(image, part) for image in (made[k], real[row]))
        ours_, theirs_ = (png(image, sound=is_sound(part.condensed)) for image in both)
        pairs.append(Neighbour(ours_, theirs_, float(distances[k, row]) / usual))
    return ClassNeighbours(name, tuple(pairs))


def _features(network: torch.nn.Module, images: Tensor) -> Tensor:
    """Embeddings of length 1, N×d."""
    with torch.no_grad():
        found = torch.cat([nets.embed(network, chunk) for chunk in images.split(_CHUNK)])
    return torch.nn.functional.normalize(found.flatten(1), dim=1)


def _shown(image: Tensor, part: SetPart) -> Tensor:
    """A normalised image on a scale of 0 to 1."""
    about = part.condensed.about
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (about.mean, about.std))
    pixels = image * std + mean
    if pixels.shape[0] not in (1, 3):
        pixels = pixels.mean(0, keepdim=True)
    if float(pixels.min()) < -0.5 or float(pixels.max()) > 1.5:
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) / (high - low).clamp(min=1e-12)
    return pixels
