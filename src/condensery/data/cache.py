"""Decoded images on disk, so that a data set is decoded once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from condensery.errors import UsageError
from condensery.files import whole_file

from . import pictures, recordings
from .labelled import LabelledSet
from .pictures import Pair, Source, Wanted

_FORMAT = 2  # raise it whenever the same files would decode to other pixels or facts
_SPLITS = ("train", "test")


def cache_folder() -> Path:
    """``$CONDENSERY_CACHE``, or the user's cache folder of this platform."""
    chosen = os.environ.get("CONDENSERY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("condensery"))


def decoded(source: Source, wanted: Wanted, *, cache: bool) -> Pair:
    """Both splits of a source, from the cache where they lie in it."""

    def fresh() -> Pair:
        splits = source.read()
        if splits.recordings:
            return recordings.decode(splits, source.name, wanted)
        return pictures.decode(splits, source.name, wanted)

    if not cache:
        return fresh()
    plain = (wanted.size, wanted.channels, wanted.rate, list(wanted.subset or ()), wanted.one_of)
    asked = (_FORMAT, source.fingerprint, *plain)
    key = hashlib.sha256(repr(asked).encode()).hexdigest()[:32]
    path = cache_folder() / "data" / f"{key}.safetensors"
    return _through(path, source.name, fresh)


def _through(path: Path, name: str, fresh: Callable[[], Pair]) -> Pair:
    kept = _read(path, name)
    if kept is not None:
        return kept
    made = fresh()
    try:
        _write(path, made)
    except (OSError, UsageError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        note = f"decoded images could not be kept in the cache ({why}); set CONDENSERY_CACHE"
        return replace(made, notes=(*made.notes, note))
    return made


def _write(path: Path, made: Pair) -> None:
    from safetensors.torch import save_file

    facts = {
        "class_names": made.train.class_names,
        "mean": made.train.mean,
        "std": made.train.std,
        "fingerprints": {s: getattr(made, s).fingerprint for s in _SPLITS},
        "notes": made.notes,
        "rate": made.rate,
    }
    tensors: dict[str, Tensor] = {}
    for split in _SPLITS:
        held: LabelledSet = getattr(made, split)
        tensors |= {f"{split}.images": held.images, f"{split}.labels": held.labels}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, {"condensery": json.dumps(facts, sort_keys=True)})


def _read(path: Path, name: str) -> Pair | None:
    """What a cache file holds; nothing where it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["condensery"])
            train, test = (
                LabelledSet(
                    file.get_tensor(f"{split}.images"),
                    file.get_tensor(f"{split}.labels"),
                    tuple(facts["class_names"]),
                    tuple(facts["mean"]),
                    tuple(facts["std"]),
                    name,
                    facts["fingerprints"][split],
                )
                for split in _SPLITS
            )
            return Pair(train, test, tuple(facts["notes"]), facts["rate"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None  # a damaged file is written anew
