"""Pools in the user's cache: where they lie, and which of them can be used."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from condensery import nets
from condensery.config.later import as_written
from condensery.data import Data, cache_folder
from condensery.errors import DataError, UsageError
from condensery.runtime.plan import Plan
from condensery.utils.files import make_folder
from condensery.utils.locks import in_use

from .store import INDEX, Pool, PoolSettings

#: Of how pools are trained: raised where the same settings came to give other networks.
_VERSION = 2


def cache_of(data: Data, settings: PoolSettings, early: tuple[float, int], plan: Plan) -> Path:
    """The folder for pools of these data, settings and numbers, whatever their length.

    Args:
        data: what they are trained on.
        settings: of the training; its length is left out.
        early: share of the training, and steps, before which no weights are kept.
        plan: the number formats of one that was not chosen count; how fast it is does not.
    """
    facts: dict[str, Any] = {**as_written(settings), "version": _VERSION, "early": list(early)}
    for name in ("epochs", "snapshots", "data"):
        facts.pop(name)
    facts["normalisation"] = [list(data.train.mean), list(data.train.std)]
    # Plans that were chosen differ by what their time is worth; others were asked for.
    facts["numbers"] = "auto" if plan.name == "auto" else [plan.dtype, plan.update_dtype]
    if nets.is_import_path(settings.net):  # it may be edited
        facts["code"] = _source(settings.net)
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "pools" / f"{data.train.name}-{digest[:24]}"


def check_writable(folder: Path) -> None:
    """Raise if no pool can be kept in a folder of the cache, before time is spent on one.

    Raises:
        UsageError: naming ``CONDENSERY_CACHE``.
    """
    try:
        make_folder(folder)
        written = os.access(folder, os.W_OK)
    except UsageError:
        written = False
    if not written:
        raise UsageError(
            f"pools of networks are kept in the cache, and {folder} cannot be written; set "
            "CONDENSERY_CACHE to a folder that can"
        )


def longest(folder: Path, most: float) -> Pool | None:
    """The finished, undamaged pool of a folder that was trained furthest, up to ``most`` epochs."""
    found = [pool for index in folder.glob(f"*/{INDEX}") if (pool := _whole(index.parent))]
    return max((one for one in found if 0 < length_of(one) <= most), key=length_of, default=None)


def length_of(pool: Pool) -> float:
    """Epochs of its longest training; 0 without snapshots."""
    return max((one.epoch for one in pool.snapshots), default=0.0)


def clear_damaged(place: Path) -> None:
    """Remove a pool that cannot be used; an unfinished one is resumed instead.

    Raises:
        InUseError: when another process holds it.
    """
    if not (place / INDEX).exists() or _whole(place) is not None:
        return
    with in_use(place):
        if _whole(place) is None:
            (place / INDEX).unlink(missing_ok=True)
            (place / "run.json").unlink(missing_ok=True)
            shutil.rmtree(place / "networks", ignore_errors=True)
            for held in (place / "checkpoints").glob("[!.]*"):  # not the lock
                shutil.rmtree(held) if held.is_dir() else held.unlink()


def _source(spec: str) -> str:
    """The text of the module that a network comes from."""
    try:
        return inspect.getsource(importlib.import_module(spec.partition(":")[0]))
    except OSError:  # typed into a notebook
        return secrets.token_hex()


def _whole(place: Path) -> Pool | None:
    """The pool of a folder; None where its index or a file is damaged."""
    try:
        pool = Pool.read(place)
        for snapshot in pool.snapshots:
            pool.weights(snapshot)
    except (DataError, UsageError):
        return None
    return pool
