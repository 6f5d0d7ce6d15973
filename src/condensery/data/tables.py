"""Arrow tables: parquet and arrow files, and what the hub gives; contents stay encoded here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condensery.errors import DataError
from condensery.utils.bounds import BYTES_VARIABLE, most_bytes
from condensery.utils.extras import needed
from condensery.utils.reading import regular
from condensery.utils.text import size_text

from .classes import Rows
from .pictures import Pictures, Splits
from .stack import Item

#: What the columns of a parquet file may take when they are decompressed, and how many times its
#: size beyond that; and rows of files of any size.
MOST_BYTES, MOST_TIMES, MOST_ROWS = 2**30, 64, 10**6
_BATCH = 256  # rows of encoded images or recordings held at a time
_IMAGES = ("image", "img", "png", "picture", "jpg", "webp")
_SOUNDS = ("audio", "speech", "sound", "recording", "wav")
LABELS = ("label", "labels", "fine_label", "class", "target", "digit")
_SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "valid", "val", "dev"),
}


@dataclass(frozen=True)
class Table:
    """The rows of one split."""

    where: str
    """For messages: which split of what."""
    features: dict[str, Any]
    """Column → feature of the ``datasets`` library."""
    read: Callable[[list[str]], Iterator[Any]]
    """Some columns, as arrow tables or record batches in order."""
    most_rows: int | None = None
    """No more than this, as the size of the files allows; None: of a source that is trusted."""
    home: Path | None = None
    """The folder in which the paths lie that rows may have in place of contents; None: there are
    none."""

    def batches(self, columns: list[str]) -> Iterator[Any]:
        """Some columns in order, each batch checked: its offsets may lead out of its buffers.

        Raises:
            DataError: for a batch that contradicts itself.
        """
        import pyarrow as pa

        rows = 0
        for batch in self.read(columns):
            rows += batch.num_rows
            if self.most_rows is not None and rows > self.most_rows:
                raise _too_many(self.where, rows)
            try:
                batch.validate(full=True)
            except pa.ArrowException as error:
                raise _broken(self.where, error) from error
            yield batch


def split_of(words: str) -> str | None:
    """Which split a file, folder or split name means.

    >>> split_of("train-00000-of-00002"), split_of("Val"), split_of("data-0")
    ('train', 'validation', None)
    """
    tokens = re.findall(r"[a-z]+", words.lower())
    return next((s for s, known in _SPLITS.items() if any(t in known for t in tokens)), None)


def file_table(paths: Sequence[Path], where: str) -> Table:
    """A split that lies in parquet or arrow files.

    Raises:
        UsageError: where the libraries that read them are not installed.
        DataError: for files that cannot be read.
    """
    features_of = needed("datasets", "hub", "parquet and arrow files").Features.from_arrow_schema

    def batches(columns: list[str]) -> Iterator[Any]:
        for path in paths:
            yield from _read(path, columns)

    try:
        schema = _schema(paths[0])
        features = dict(features_of(schema))
        for path in paths[1:]:
            if sorted(_schema(path).names) != sorted(schema.names):
                raise DataError(
                    f"'{path.name}' has columns that differ from '{paths[0].name}'; the files of a "
                    "split must have the same columns"
                )
    except DataError:
        raise
    except Exception as error:  # what it says of its columns may be anything
        raise _broken(where, error) from error
    most = max(MOST_ROWS, sum(path.stat().st_size for path in paths))
    for path in paths:
        _check_claims(path, most)
    return Table(where, features, batches, most, paths[0].parent)


def _check_claims(path: Path, most_rows: int) -> None:
    """Raise for a parquet file that claims more rows or bytes than its size can mean.

    A column of one repeated value has as many rows as its file says, in a few bytes.
    """
    import pyarrow.parquet as pq

    if path.suffix.lower() != ".parquet":
        return
    try:
        facts = pq.read_metadata(path)
        groups = [facts.row_group(k) for k in range(facts.num_row_groups)]
        rows = max(facts.num_rows, sum(group.num_rows for group in groups))
        size = sum(group.total_byte_size for group in groups)
    except Exception as error:  # as in a schema, anything may stand there
        raise _broken(f"'{path.name}'", error) from error
    if rows > most_rows:
        raise _too_many(f"'{path.name}'", rows)
    bound = max(most_bytes(MOST_BYTES), MOST_TIMES * path.stat().st_size)
    if size > bound:
        raise DataError(
            f"'{path.name}' grows to {size_text(size)}, out of proportion to its size; write it "
            f"again with plain columns, or allow more with {BYTES_VARIABLE}"
        )


def _too_many(where: str, rows: int) -> DataError:
    return DataError(
        f"{where} claims {rows} rows, more than its size can hold; it is damaged, so replace it"
    )


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    regular(path)
    if path.suffix.lower() == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return _reader(source).schema


def _reader(source: Any) -> Any:
    """Arrow comes as a stream, which the ``datasets`` library writes, or as a file."""
    import pyarrow as pa

    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_file(source)


def _read(path: Path, columns: list[str]) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=_BATCH, columns=columns)
            return
        with pa.memory_map(str(path)) as source:
            reader = _reader(source)
            stream = isinstance(reader, pa.RecordBatchReader)
            numbered = (
                iter(reader) if stream else map(reader.get_batch, range(reader.num_record_batches))
            )
            for batch in numbered:
                yield batch.select(columns)
    except (pa.ArrowException, OSError) as error:
        raise _broken(f"'{path.name}'", error) from error


def _broken(where: str, error: Exception) -> DataError:
    words = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{where} cannot be read ({words}); replace the file")


def splits_of(
    train: Table,
    test: Table | None,
    *,
    image: str | None = None,
    label: str | None = None,
    notes: tuple[str, ...] = (),
) -> Splits:
    """Pictures, or recordings, and labels of tables whose columns are named or found.

    Raises:
        DataError: when no column holds pictures (or recordings) or labels, or several could.
    """
    content, labels = columns = _columns(train, image, label)
    names = getattr(train.features[labels], "names", None)
    held = None
    if test is not None:
        held_columns = _columns(test, *columns)
        if getattr(test.features[held_columns[1]], "names", None) != names:
            raise DataError(
                f"{test.where} names its classes differently from {train.where}; make them match"
            )
        held = _pictures(test, *held_columns)
    sounds = _is_sound(train, content)
    return Splits(_pictures(train, *columns), held, tuple(names) if names else None, notes, sounds)


def _is_sound(table: Table, column: str) -> bool:
    kind = type(table.features[column]).__name__
    return kind == "Audio" or (column in _SOUNDS and kind != "Image")


def _columns(table: Table, image: str | None, label: str | None) -> tuple[str, str]:
    """Names of the column of images or recordings and of the label column."""
    kinds = {name: type(f).__name__ for name, f in table.features.items()}
    pictures, sounds, classes = (
        [n for n, k in kinds.items() if k == kind] for kind in ("Image", "Audio", "ClassLabel")
    )
    asked_image, asked_label = ((image,) if image else ()), ((label,) if label else ())
    found = _find(kinds, (*asked_image, *_IMAGES), pictures) or _find(kinds, _SOUNDS, sounds)
    found_label = _find(kinds, (*asked_label, *LABELS), classes)
    for what, column, usual in (("image", found, _IMAGES), ("label", found_label, LABELS)):
        if column is None:
            raise DataError(
                f"{table.where} has no {what} column among {', '.join(sorted(kinds))}; "
                f"name it '{usual[0]}'" + " ('audio' for recordings)" * (what == "image")
            )
    assert found is not None
    assert found_label is not None
    return found, found_label


def _find(kinds: dict[str, str], usual: Sequence[str], of_kind: list[str]) -> str | None:
    """The first usual name there is, otherwise the only column of the right kind."""
    usual_here = [n for n in usual if n in kinds]
    if usual_here:
        return usual_here[0]
    return of_kind[0] if len(of_kind) == 1 else None


def _pictures(table: Table, image: str, label: str) -> Pictures:
    return Pictures(_labels(table, label), lambda rows: _pick(table, image, rows))


def _labels(table: Table, column: str) -> NDArray[np.int64] | NDArray[np.str_]:
    parts: list[Any] = []
    for batch in table.batches([column]):
        parts.extend(_values(table, batch.column(0)))
    for row, value in enumerate(parts):
        if not isinstance(value, (int, str)) or isinstance(value, str) != isinstance(parts[0], str):
            raise DataError(
                f"row {row} of {table.where} has the label {value!r}; labels must be whole numbers "
                "or strings, with none missing"
            )
    if parts and isinstance(parts[0], str):
        return np.array(parts, dtype=np.str_)
    try:
        return np.array(parts, dtype=np.int64)
    except OverflowError as error:
        raise DataError(
            f"{table.where} has the label {max(parts, key=abs)}; labels must fit 64 bits"
        ) from error


def _values(table: Table, column: Any) -> list[Any]:
    """A column's values as Python has them."""
    try:
        values: list[Any] = column.to_pylist()
    except Exception as error:  # text that is no UTF-8, dates out of range, unknown zones
        raise _broken(table.where, error) from error
    return values


def _pick(table: Table, column: str, rows: Rows) -> Iterator[Item]:
    """Encoded images or recordings at ascending positions."""
    start = 0
    kind = "recording" if _is_sound(table, column) else "image"
    for batch in table.batches([column]):
        low, high = np.searchsorted(rows, (start, start + batch.num_rows))
        inside = rows[low:high] - start
        if len(inside):
            values = _values(table, batch.column(0).take(inside))
            for row, value in zip(inside, values, strict=True):
                yield _item(table, column, value, int(row) + start, kind)
        start += batch.num_rows


def _item(table: Table, column: str, value: Any, row: int, kind: str) -> Item:
    name, where = f"row {row}", f"column '{column}' of {table.where}"
    if isinstance(value, bytes):
        return name, value
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return name, value["bytes"]
    if isinstance(value, dict) and isinstance(value.get("path"), str) and value["path"]:
        return name, _inside(table, value["path"], f"{name} of {where}")
    if value is None or isinstance(value, dict):
        return name, ValueError(f"no encoded {kind}")
    feature = "Image, or pass arrays" if kind == "image" else "Audio"
    raise DataError(
        f"{where} holds {type(value).__name__}, not encoded {kind}s; write it with the feature "
        f"{feature}"
    )


def _inside(table: Table, given: str, where: str) -> Path:
    """A path that a row has in place of its content; whoever wrote it must not read other files.

    Raises:
        DataError: when it leads out of the table's folder.
    """
    home = None if table.home is None else table.home.resolve()
    try:
        path = None if home is None else (home / given).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL in it, or a loop of links
        path = None
    if home is None or path is None or not path.is_relative_to(home):
        raise DataError(
            f"{where} names a file outside the data set's folder ({given!r:.80}); put the contents "
            "themselves into the table, or the file beside it"
        )
    return path
