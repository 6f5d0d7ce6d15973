"""The training split in two, for trials: what is condensed, and what tells the trials apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from condensery import nets
from condensery.config.schema import RunConfig
from condensery.data import Data, LabelledSet
from condensery.errors import DataError
from condensery.methods.pools.networks import divide
from condensery.methods.pools.store import Pool

#: Most images that are held out, of all classes together, and their largest share of a class.
_HELD_OUT, _SHARE = 1000, 0.2
#: Most bytes of images that trials condense: a random part of larger data does for a few steps.
_MOST_BYTES = 2**29


def held_apart(data: Data, config: RunConfig) -> Data:
    """The training split in two parts: ``train`` is condensed, and ``test`` is held out of it.

    The test split of ``data`` is in neither. Where networks come from a pool, what is held out is
    what they were not trained on either.

    Raises:
        DataError: for a class that has too few images.
    """
    train = data.train
    share, seed = min(_SHARE, _HELD_OUT / len(train)), config.seed
    pool = _pool_of(config)
    if pool is not None and pool.settings.get("held_out"):
        share, seed = float(pool.settings["held_out"]), int(pool.settings["seed"])
    for name, count in zip(train.class_names, train.counts, strict=True):
        if count - max(1, round(share * count)) < config.ipc:
            raise DataError(
                f"--optimizer.rate auto holds out a part of every class, and class '{name}' has "
                f"{count} images, too few for that and a budget of {config.ipc}; give a number"
            )
    kept, held = divide(train, share, seed)
    each = _MOST_BYTES // (train.classes * train.images[:1].nbytes)
    parts = [kept[train.labels_at(kept).to(kept.device) == c] for c in range(train.classes)]
    kept = torch.cat([part[: max(each, config.ipc)] for part in parts])
    held = held[:: max(1, round(len(held) / _HELD_OUT))]
    return dataclasses.replace(data, train=_part(train, kept), test=_part(train, held))


def trial_net(data: Data, config: RunConfig) -> str:
    """The network that trials are scored by: the one that they are matched through."""
    pool = _pool_of(config)
    found = pool.settings["net"] if pool else config.supply.settings.get("net", data.net)
    return data.net if nets.is_import_path(str(found)) else str(found)


def _pool_of(config: RunConfig) -> Pool | None:
    path = config.supply.settings.get("path")
    return Pool.read(Path(str(path))) if path else None


def _part(train: LabelledSet, rows: Tensor) -> LabelledSet:
    """Some images of a split.

    With the fingerprint of all of them: a pool that was trained on the split fits its parts.
    """
    labels = train.labels_at(rows)
    return dataclasses.replace(train, images=train.images[rows], labels=labels)
