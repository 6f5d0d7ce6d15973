"""Drawn inputs, most of them bad: refused with a sentence, or read as their source has them.

``CONDENSERY_BAD_INPUTS=250`` draws this many for each of the four tests, 1,000 in all.
"""

from __future__ import annotations

import io
import os
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from condensery.data import Data, DataError, load
from condensery.errors import UsageError

MANY = os.environ.get("CONDENSERY_BAD_INPUTS")
DRAWN = settings(
    max_examples=int(MANY or 40),
    derandomize=MANY is None,  # a suite fails because of a change, not by chance
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
USUAL = ("cat", "dog", "train", "test", "val", "seg_train", "test2017", "Train", "é", "a b")
ODD = st.text("ab.-_ é\x7f'$", min_size=1, max_size=5).filter(lambda name: name.strip(". ") != "")
NAMES = st.sampled_from(USUAL) | ODD
SUFFIXES = st.sampled_from([".png", ".PNG", ".jpg", ".tiff", ".txt", ".gif", ""])


def attempt(source: Any, **how: Any) -> Data | None:
    """What is read, or nothing where it is refused; anything else but a sentence fails."""
    try:
        return load(source, cache=False, **how)
    except (DataError, UsageError) as error:
        message = str(error)
        assert len(message) > 20, message
        assert "\n" not in message
        assert "Traceback" not in message
        return None


def listing(root: Path) -> list[tuple[str, int]]:
    return sorted((str(p.relative_to(root)), p.lstat().st_size) for p in root.rglob("*"))


def picture(value: int, mode: str, torn: bool) -> bytes:
    held = io.BytesIO()
    image = Image.new("L", (6, 6), value)
    if mode == "I;16":
        image = Image.fromarray(np.full((6, 6), value * 257, np.uint16))
    elif mode == "P":
        image = image.convert("RGB").quantize(4)
    elif mode != "L":
        image = image.convert("RGB").convert(mode)
    image.save(held, "tiff" if mode == "CMYK" else "png")
    return held.getvalue()[:30] if torn else held.getvalue()


@DRAWN
@given(
    st.lists(
        st.tuples(
            st.lists(NAMES, max_size=3)
            | st.sampled_from([["cat"], ["dog"], ["train", "cat"], ["train", "dog"], ["test"]]),
            st.just(".png") | SUFFIXES,
            st.sampled_from(["L", "RGB", "P", "RGBA", "CMYK", "I;16"]),
            st.sampled_from([False, False, False, True]),
        ),
        max_size=12,
    ),
    st.sampled_from([None, 4, 6]),
)
def test_folders(files: list[tuple[list[str], str, str, bool]], size: int | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "set"
        root.mkdir()
        folders: dict[int, tuple[str, ...]] = {}
        for number, (parts, suffix, mode, torn) in enumerate(files):
            value = 10 * number + 5
            folder = root.joinpath(*parts)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}{suffix}").write_bytes(picture(value, mode, torn))
            except OSError:
                continue
            folders[value] = tuple(parts)
        before = listing(Path(place))
        data = attempt(root, size=size, channels=1)
        assert listing(Path(place)) == before
        if data is None:
            return
        seen: list[int] = []
        for part in (data.train, data.test):
            for image, label in zip(part.images, part.labels.tolist(), strict=True):
                value = min(folders, key=lambda known: abs(known - int(image.float().mean())))
                assert abs(value - float(image.float().mean())) <= 1
                # Its class is one of the folders that it lies in.
                assert part.class_names[label] in folders[value]
                seen.append(value)
        assert len(seen) == len(set(seen))  # none of them is in both splits


SHAPES = st.lists(st.integers(0, 9), min_size=0, max_size=5).map(tuple)
TYPES = st.sampled_from(["u1", "f4", "f8", "f2", "i8", "u2", "?", "U3", "O", "c8"])
LABELS = st.one_of(
    st.lists(st.integers(-2, 3), max_size=9),
    st.lists(st.sampled_from(["a", "b", b"a", None, 1.5, "é"]), max_size=9),
    st.lists(st.lists(st.integers(0, 1), max_size=2), max_size=9),
)


@DRAWN
@given(SHAPES, TYPES, LABELS, st.sampled_from([None, "NCHW", "NHWC"]), st.booleans())
@example((), "O", [], None, False)
def test_arrays(shape: tuple[int, ...], dtype: str, labels: Any, layout: Any, fits: bool) -> None:
    if fits:
        shape, labels = (6, *(max(2, one) for one in shape[1:4])), [0, 1, 2] * 2
    count = int(np.prod(shape))
    values = (np.arange(count) % 251).reshape(shape)
    images = values.astype(dtype)
    data = attempt((images, labels), layout=layout)
    if data is None:
        return
    for part in (data.train, data.test):
        for image, label in zip(part.images.numpy(), part.labels.tolist(), strict=True):
            found = [
                row
                for row in range(len(images))
                if sorted(images[row].astype("f4").ravel()) == sorted(image.astype("f4").ravel())
            ]
            told = [labels[row] for row in found]
            told = [one.decode() if isinstance(one, bytes) else one for one in told]
            told = [one[0] if isinstance(one, list) else one for one in told]
            assert part.class_names[label] in [
                str(int(t) if isinstance(t, bool) else t) for t in told
            ]


@DRAWN
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["picture", "torn", "empty", "none", "path"]),
            st.sampled_from([0, 1, 1, 0, None, -1, 7]),
        ),
        max_size=12,
    ),
    st.sampled_from(["image", "img", "pixels"]),
    st.sampled_from(["label", "labels", "y"]),
    st.sampled_from(["a.parquet", "test.parquet", "train-0.PARQUET"]),
    st.integers(0, 3),
)
def test_tables(rows: Any, image: str, label: str, name: str, spoilt: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def content(kind: str, row: int) -> dict[str, Any] | None:
        if kind == "none":
            return None
        if kind == "path":
            return {"bytes": None, "path": "/nowhere/a.png"}
        raw = b"" if kind == "empty" else picture(10 * row + 5, "L", kind == "torn")
        return {"bytes": raw, "path": None}

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / name
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        contents = pa.array([content(k, row) for row, (k, _) in enumerate(rows)], kind)
        labels = pa.array([one for _, one in rows], pa.int64())
        pq.write_table(pa.table({label: labels, image: contents}), path)
        if spoilt == 1:
            path.write_bytes(path.read_bytes()[:-20])
        data = attempt(path)
        if data is None:
            return
        for part in (data.train, data.test):
            for one, number in zip(part.images, part.labels.tolist(), strict=True):
                row = round((float(one.float().mean()) - 5) / 10)
                assert rows[row][0] == "picture"
                assert part.class_names[number] == str(rows[row][1])


def recording(value: int, width: int, rate: int, length: int) -> bytes:
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes([value % 256]) * (width * length))
    return held.getvalue()


@DRAWN
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(1, 4),
            st.sampled_from([1000, 8000, 7, 192000]),
            st.sampled_from([0, 1, 100, 9000]),
            st.sampled_from([None, None, None, 3, 43]),
        ),
        max_size=8,
    ),
    st.sampled_from([None, 8, 16]),
)
def test_sounds(files: Any, size: int | None) -> None:
    with tempfile.TemporaryDirectory() as place:
        counts = {"a": 0, "b": 0}
        for number, (folder, width, rate, length, cut) in enumerate(files):
            (Path(place) / folder).mkdir(exist_ok=True)
            raw = recording(number, width, rate, length)
            (Path(place) / folder / f"{number}.wav").write_bytes(raw[:cut])
            counts[folder] += 1
        data = attempt(place, size=size)
        if data is None:
            return
        assert data.rate is not None
        assert bool(data.train.images.isfinite().all())
        both = np.add(data.train.counts, data.test.counts)
        for name, found in zip(data.train.class_names, both, strict=True):
            assert 0 < found <= counts[name]
