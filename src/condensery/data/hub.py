"""Data sets of the Hugging Face hub, read with the ``datasets`` library."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from condensery.errors import DataError
from condensery.utils.extras import needed

from .pictures import PictureSource, Splits
from .tables import Table, split_of, splits_of


def source(
    repository: str,
    config: str | None,
    name: str,
    *,
    image: str | None = None,
    label: str | None = None,
    train: str | None = None,
    test: str | None = None,
) -> PictureSource:
    """A repository of the hub; downloaded, where it has not been, without running its code.

    Args:
        repository: ``owner/name``.
        config: which of its configurations; ``None`` takes the only one.
        name: short name of the data set.
        image: column of the images, where it is known.
        label: column of the labels, where it is known.
        train: name of the training split, where it is known.
        test: name of the test split, where it is known.

    Raises:
        DataError: when it is unavailable, naming the remedy.
    """
    _check_name(repository)
    held = _load(repository, config, name)
    chosen, notes = _choose(held, repository, train, test)

    def read() -> Splits:
        tables = [_table(held[s], f"split '{s}' of {repository}", image) for s in chosen]
        second = tables[1] if len(tables) > 1 else None
        return splits_of(tables[0], second, image=image, label=label, notes=notes)

    return PictureSource(name, _fingerprint(repository, config, held), read)


def _check_name(repository: str) -> None:
    """Raise if the client would read something here, and nothing of the hub.

    Raises:
        DataError: naming what was requested.
    """
    parts = repository.split("/")
    if len(parts) > 2 or not all(re.fullmatch(r"\w[\w.-]*", part, re.ASCII) for part in parts):
        raise DataError(f"'{repository}' is no name on the hub; write hub:owner/name")
    if Path(repository).exists():
        raise DataError(
            f"a folder or file {repository} lies here, and would be read in place of the hub's "
            "data set of this name; run this from another folder, or name the folder's full path"
        )


def is_held(value: Any) -> bool:
    """Whether a value is of the datasets library, without importing it where nobody did."""
    names = {("datasets.arrow_dataset", "Dataset"), ("datasets.dataset_dict", "DatasetDict")}
    return any((c.__module__, c.__name__) in names for c in type(value).__mro__)


def splits_held(data: Any, test: Any = None) -> Splits:
    """Splits of a ``Dataset``, or of a ``DatasetDict``, which names them."""
    if not isinstance(data, Mapping):
        second = None if test is None else _table(test, "the test data set", None)
        return splits_of(_table(data, "the training data set", None), second)
    chosen, notes = _choose(data, "given", None, None)
    tables = [_table(data[s], f"split '{s}'", None) for s in chosen]
    return splits_of(tables[0], tables[1] if len(tables) > 1 else None, notes=notes)


def _load(repository: str, config: str | None, name: str) -> Any:
    datasets = needed("datasets", "hub", "data sets of the hub")
    quiet = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(repository, config)
    except Exception as error:  # the client and the readers beneath raise errors of many kinds
        first = (str(error).splitlines() or [type(error).__name__])[0]
        which = f"'{repository}'" + (f" ({config})" if config else "")
        raise DataError(
            f"hub data set {which} is unavailable: {first.rstrip('.')}. Check the name, the "
            "network and, where the data set is gated, that you have access; or put its parquet "
            f"files into $CONDENSERY_DATA/{name}"
        ) from error
    finally:
        if not quiet:
            datasets.enable_progress_bars()


def _choose(
    held: Any, repository: str, train: str | None, test: str | None
) -> tuple[list[str], tuple[str, ...]]:
    """Names of the training and, where there is one, the test split."""
    by_kind: dict[str, str] = {}
    for split in held:
        by_kind.setdefault(split_of(split) or split, split)
    first = train if train in held else by_kind.get("train")
    if first is None:
        raise DataError(
            f"hub data set '{repository}' has no split 'train' among {', '.join(held)}; "
            "save it as parquet with train-*.parquet and give the folder"
        )
    second = test if test in held else by_kind.get("test", by_kind.get("validation"))
    chosen = [first] if second is None else [first, second]
    left = [s for s in held if s not in chosen]
    return chosen, (f"left out: split {', '.join(repr(s) for s in left)}",) if left else ()


def _table(dataset: Any, where: str, image: str | None) -> Table:
    from datasets import Audio, Image, config

    features = dict(dataset.features)
    for column, feature in features.items():
        if isinstance(feature, (Audio, Image)):
            dataset = dataset.cast_column(column, type(feature)(decode=False))

    def batches(columns: list[str]) -> Iterator[Any]:
        part = dataset.select_columns(columns).with_format("arrow")
        yield from part.iter(batch_size=256)

    return Table(where, features, batches, home=Path(config.HF_CACHE_HOME))


def _fingerprint(repository: str, config: str | None, held: Any) -> str:
    """From the names and sizes of the files that the client keeps; they carry the revision."""
    digest = hashlib.sha256(repr((repository, config)).encode())
    for split in sorted(held):
        digest.update(repr((split, held[split].num_rows)).encode())
        for file in held[split].cache_files:
            path = Path(file["filename"])
            digest.update(repr((str(path), path.stat().st_size)).encode())
    return digest.hexdigest()
