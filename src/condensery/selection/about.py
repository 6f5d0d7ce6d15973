"""What a selection says of itself, and what is checked before any work."""

from __future__ import annotations

import dataclasses
from typing import Any

from condensery.config.schema import Choice
from condensery.data import Data, require_per_class
from condensery.errors import UsageError
from condensery.runtime.randomness import stream
from condensery.sets.about import About, Source

from .crops import Realistic
from .networks import Networks
from .settings import SelectionTraining

#: What images that were never learned count. Sets called ``forgetting`` that lack it have them
#: first: an earlier version made them.
_NEVER_LEARNED = {"forgetting": "0", "forgetting_toneva": "infinite"}


def check_budget(data: Data, ipc: int) -> None:
    """Raise if a budget cannot be filled, before any work is done for it.

    Raises:
        UsageError: when it is less than one image.
        DataError: naming a class with fewer images.
    """
    if ipc < 1:
        raise UsageError(f"ipc must be at least 1, got {ipc}")
    require_per_class(data.train, ipc, noise=False)


def about_selection(
    method: str,
    data: Data,
    *,
    ipc: int,
    seed: int,
    size: int | None = None,
    channels: int | None = None,
    training: SelectionTraining | None = None,
    packed: Realistic | None = None,
) -> About:
    """What a selection says of itself before anything is trained."""
    train = data.train
    stream(seed, "selection")  # a seed that cannot be used is rejected before any work
    return About(
        method=method,
        formation=packed.choice if packed else Choice("pixels", {"start_from": "real"}),
        ipc=ipc,
        seed=seed,
        iterations=0,
        class_names=train.class_names,
        mean=train.mean,
        std=train.std,
        flip=data.flip,
        source=Source(train.name, train.fingerprint, len(train), train.nbytes),
        config={
            "select": method,
            **(packed.facts if packed else {}),
            **({"never_learned": _NEVER_LEARNED[method]} if method in _NEVER_LEARNED else {}),
            "data": data.known_as or None,
            "size": size,
            "channels": channels,
            **({"sample_rate": data.rate} if data.rate is not None else {}),
            "flip": None if data.flip else False,
            **({"layout": data.layout} if data.layout else {}),
            **({"value_range": str(data.value_range)} if data.value_range else {}),
            **({"zca": True} if data.zca else {}),
            "ipc": ipc,
            "seed": seed,
            **({"training": dataclasses.asdict(training)} if training else {}),
        },
    )


def networks_of(loaded: Data, networks: Networks | None, training: dict[str, Any]) -> Networks:
    """Shared networks that fit the data, or new ones."""
    if networks is None:
        return Networks.of(loaded, **training)
    if training:
        raise UsageError(f"these networks are already configured; leave out {', '.join(training)}")
    if networks.data.train.fingerprint != loaded.train.fingerprint:
        raise UsageError(f"these networks are trained on {networks.data.name}, other data")
    return networks
