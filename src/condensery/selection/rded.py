"""``rded``: crops that a teacher is surest of, as a condensed set."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from condensery.data import load
from condensery.sets.condensed import CondensedSet

from .about import about_selection, check_budget, networks_of
from .crops import Realistic
from .networks import Networks


def select_rded(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    factor: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """Crops that a trained network is surest of, packed: see :class:`.crops.Realistic`.

    RDED (Sun et al., CVPR 2024) with hard labels: of 300 random images of a class five crops each,
    of which the one with the least cross-entropy is kept, and of these the best ipc·f².

    Args:
        data: as of :func:`select_herding`.
        ipc: stored images per class.
        seed: which network, images and crops.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        factor: f×f crops are packed into a stored image; 2 by default.
        networks: as of :func:`select_herding`.
        **training: as of :func:`select_herding`.

    Raises:
        DataError: when a class has fewer images than the crops that are wanted.
        UsageError: for a wrong value, or recordings.
        DivergedError: when the network's training produces NaN or inf.
    """
    how = Realistic() if factor is None else Realistic(factor)
    loaded = load(data, size=size, channels=channels)
    check_budget(loaded, ipc)
    how.check(loaded, ipc)
    networks = networks_of(loaded, networks, training)
    given: dict[str, Any] = {"ipc": ipc, "seed": seed, "size": size, "channels": channels}
    about = about_selection("rded", loaded, **given, training=networks.settings, packed=how)
    teacher, train = networks.trained(seed), networks.train
    stored = []
    with torch.no_grad(), networks.plan.applied():
        for c in range(train.classes):
            stored.append(how.of_class(teacher.network, train, seed, c, ipc).float().cpu())
            networks.on_part("classes", c + 1, train.classes)
    config = {**about.config, "train_accuracy": teacher.accuracy}
    about = dataclasses.replace(about, config=config)
    return CondensedSet(torch.stack(stored), about, how.built(loaded.train))
