"""Decoded images on disk, so that a data set is decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from condensery.config import data_sets
from condensery.errors import UsageError
from condensery.utils.files import LONG_AGO, remove_leftovers, whole_file

from . import pictures, recordings
from .labelled import LabelledSet, fingerprint_of
from .pictures import Pair, PictureSource, Wanted
from .store import File, Kept, Store, WriteError

_FORMAT = 4  # raise it whenever the same files would decode to other pixels or facts, or lie
# elsewhere in the file
_SPLITS = ("train", "test")
#: Bytes of a split up to which its content is checked at opening: a second on a slow machine.
_CHECKED = 256 * 10**6
#: Files whose content was checked in this process, as they were then.
_sound: set[tuple[str, int, int]] = set()


def cache_folder() -> Path:
    """``$CONDENSERY_CACHE``, or the user's cache folder of this platform."""
    chosen = data_sets.folder_from("CONDENSERY_CACHE")
    if chosen is not None:
        return chosen
    import platformdirs

    return Path(platformdirs.user_cache_dir("condensery"))


def decoded(source: PictureSource, wanted: Wanted, *, cache: bool) -> Pair:
    """Both splits of a source, from the cache where they lie in it.

    Images out of the cache are mapped: a row is read when it is used. Decoding needs memory for a
    chunk of them only.
    """

    def fresh(store: Store | None = None) -> Pair:
        splits = source.read()
        decode = recordings.decode if splits.recordings else pictures.decode
        return decode(splits, source.name, wanted, store)

    if not cache:
        return fresh()
    plain = (wanted.size, wanted.channels, wanted.rate, list(wanted.subset or ()), wanted.one_of)
    asked = (_FORMAT, source.fingerprint, *plain)
    key = hashlib.sha256(repr(asked).encode()).hexdigest()[:32]
    path = cache_folder() / "data" / f"{key}.safetensors"
    kept = _read(path, source.name)
    if kept is not None:
        return kept
    remove_leftovers(path.parent, older_than=LONG_AGO)
    try:
        _write(path, fresh)
    except WriteError as error:
        note = f"decoded images could not be kept in the cache ({error}); set CONDENSERY_CACHE"
        made = fresh()
        return replace(made, notes=(*made.notes, note))
    written = _read(path, source.name)
    return written if written is not None else fresh()


def _write(path: Path, fresh: Callable[[Store], Pair]) -> None:
    """Decode both splits into a file that appears when it is whole.

    Raises:
        WriteError: when that cannot be written; what is wrong with the data is another error.
    """
    with ExitStack() as held:
        try:
            temporary = held.enter_context(whole_file(path))
            store = held.enter_context(File(temporary))
        except (OSError, UsageError) as error:
            raise WriteError(getattr(error, "strerror", None) or type(error).__name__) from error
        made = fresh(store)
        facts = {
            "class_names": made.train.class_names,
            "mean": made.train.mean,
            "std": made.train.std,
            "fingerprints": {s: getattr(made, s).fingerprint for s in _SPLITS},
            "notes": made.notes,
            "rate": made.rate,
        }
        images = {f"{s}.images": getattr(made, s).images for s in _SPLITS}
        labels = {f"{s}.labels": getattr(made, s).labels for s in _SPLITS}
        store.finish(images, labels, facts)
        try:
            held.close()
        except OSError as error:
            raise WriteError(error.strerror or type(error).__name__) from error


def _read(path: Path, name: str) -> Pair | None:
    """What a cache file holds; nothing where it is missing or damaged.

    Splits of up to 256 MB are damaged where their content does not have the fingerprint that was
    noted when they were decoded. Larger ones are known by their header and length alone.
    """
    try:
        kept = Kept(path)
        facts: dict[str, Any] = kept.facts()
        train, test = (
            LabelledSet(
                kept.tensor(f"{split}.images"),
                kept.tensor(f"{split}.labels").clone(),
                tuple(facts["class_names"]),
                tuple(facts["mean"]),
                tuple(facts["std"]),
                name,
                facts["fingerprints"][split],
            )
            for split in _SPLITS
        )
        if not _is_sound(kept, {"train": train, "test": test}):
            return None
        return Pair(train, test, tuple(facts["notes"]), facts["rate"])
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a damaged file is written anew


def _is_sound(kept: Kept, splits: dict[str, LabelledSet]) -> bool:
    """Whether the splits of a file are what was written; looked at once while it stays so."""
    found = kept.path.stat()
    state = (str(kept.path), found.st_mtime_ns, found.st_size)
    if state in _sound:
        return True
    for split, one in splits.items():
        # Read and not mapped, so that no memory is held for images that were not requested yet.
        read = partial(kept.parts, f"{split}.images")
        if one.nbytes <= _CHECKED:
            content = fingerprint_of(one.images, one.labels, one.class_names, read)
            if content != one.fingerprint:
                return False
    _sound.add(state)
    return True
