"""Selected real images as a condensed set: the baselines that a condensed set has to beat."""

from __future__ import annotations

from typing import Any

from .condensed import About, CondensedSet, Source
from .config import Choice
from .data import load
from .formation import Pixels, random_rows


def select_random(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    rate: int | None = None,
) -> CondensedSet:
    """Random training images of every class, without replacement.

    The same seed gives the images that a recipe with ``formation.start_from: real`` starts from.

    Args:
        data: anything that :func:`condensery.load` takes.
        ipc: images a class.
        seed: which draw.
        size: side in pixels that pictures are brought to.
        channels: 1 for grey, 3 for colour.
        rate: samples a second that recordings are brought to.

    Raises:
        DataError: when a class has fewer images than the budget.
    """
    loaded = load(data, size=size, channels=channels, rate=rate)
    train = loaded.train
    rows = random_rows(train, ipc, seed)
    images = train.normalised(rows.flatten()).reshape(train.classes, ipc, *train.shape)
    about = About(
        method="random",
        formation=Choice("pixels", {"start_from": "real"}),
        ipc=ipc,
        seed=seed,
        iterations=0,
        class_names=train.class_names,
        mean=train.mean,
        std=train.std,
        flip=loaded.flip,
        source=Source(train.name, train.fingerprint, len(train), train.nbytes),
        config={
            "select": "random",
            "data": loaded.known_as or None,
            "size": size,
            "channels": channels,
            **({"sample_rate": loaded.rate} if loaded.rate is not None else {}),
            "flip": None if loaded.flip else False,
            **({"zca": True} if loaded.zca else {}),
            "ipc": ipc,
            "seed": seed,
        },
    )
    return CondensedSet(images, about, Pixels())
