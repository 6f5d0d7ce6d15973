"""Data sets that somebody else made: whatever is in them is read as data, or not at all."""

from __future__ import annotations

import os
import shutil
import struct
import time
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

from condensery import DataError, load
from condensery.data.folders import picture_folders
from condensery.data.images import UnreadableError, pixels
from condensery.data.sound import samples

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 12\n%%EndComments\nshowpage\n"


def _png(value: int, side: int = 12) -> bytes:
    out = BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(out, "PNG")
    return out.getvalue()


def _folders(root: Path, classes: tuple[str, ...] = ("cat", "dog"), ending: str = "png") -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for k in range(5):
            picture = Image.new("RGB", (12, 12), (40 * k, 100 * number, 0))
            picture.save(root / name / f"{k}.{ending}")
    return root


def _table(rows: list[dict[str, Any]], labels: list[int] | None = None) -> pa.Table:
    from datasets import ClassLabel, Features
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
    numbers = [n % 2 for n in range(len(rows))] if labels is None else labels
    schema = features.arrow_schema
    columns = [pa.array(rows, schema.field("image").type), pa.array(numbers, pa.int64())]
    return pa.table(columns, schema=schema)


def _rows(n: int = 10) -> list[dict[str, Any]]:
    return [{"bytes": _png(20 * k), "path": None} for k in range(n)]


def test_an_arrow_file_whose_offsets_leave_its_buffers_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "train.arrow"
    rows = _rows()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, _table(rows).schema) as out:
        out.write_table(_table(rows))
    load(file, cache=False)
    raw = file.read_bytes()
    ends = np.cumsum([0, *(len(row["bytes"]) for row in rows)]).astype("<i4")
    bad = ends.copy()
    bad[-1] = 2**31 - 1
    assert raw.count(ends.tobytes()) == 1
    file.write_bytes(raw.replace(ends.tobytes(), bad.tobytes()))
    with pytest.raises(DataError, match="cannot be read"):
        load(file, cache=False)


def test_only_the_documented_formats_of_pictures_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def ghostscript(*arguments: object, **_: object) -> Any:
        started.append(arguments)
        return Image.new("RGB", (12, 12)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    (tmp_path / "a.png").write_bytes(EPS)
    for content in (EPS, tmp_path / "a.png"):
        with pytest.raises(UnreadableError):
            pixels(content, None)
    rows = _rows()
    for row in rows[:4]:
        row["bytes"] = EPS
    pq.write_table(_table(rows), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "train.parquet", cache=False)
    assert not started


@pytest.mark.parametrize("ending", ["png", "jpg", "jp2", "gif", "webp", "bmp", "tif", "ppm", "tga"])
def test_every_documented_format_is_still_read(tmp_path: Path, ending: str) -> None:
    assert load(_folders(tmp_path / "own", ending=ending), cache=False).train.shape[0] == 3


def test_damaged_exif_data_do_not_end_a_load(tmp_path: Path) -> None:
    root = _folders(tmp_path / "own", ending="jpg")
    good = load(root, cache=False)
    # A directory of three entries, of which the file holds one and a half.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x03\x01\x12\xff\xff" + b"\xff" * 9
    Image.new("RGB", (12, 12), (40, 0, 0)).save(root / "cat" / "1.jpg", exif=exif)
    found = load(root, cache=False)
    assert len(found.train) + len(found.test) == len(good.train) + len(good.test)
    broken = Image.new("RGB", (12, 12))
    broken.getexif()[0x0112] = 6
    for error in (struct.error("x"), OverflowError("x"), ZeroDivisionError("x"), RecursionError()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("PIL.ImageOps.exif_transpose", _raising(error))
            assert pixels(broken, None).shape == (12, 12, 3)


def _raising(error: Exception) -> Any:
    def raises(*_: object, **__: object) -> None:
        raise error

    return raises


def test_pipes_and_devices_among_pictures_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _folders(tmp_path / "own")
    for name in ("cat", "dog"):
        for k in range(5, 15):
            shutil.copy(root / name / f"{k % 5}.png", root / name / f"{k}.png")
    os.mkfifo(root / "cat" / "z.png")
    (root / "dog" / "z.png").symlink_to("/dev/zero")
    monkeypatch.setenv("CONDENSERY_FOLLOW_LINKS", "1")
    data = load(root, cache=False)
    assert len(data.train) + len(data.test) == 30
    with pytest.raises(UnreadableError):
        samples(Path("/dev/zero"), "zero")
    for name in ("zero.npz", "zero.parquet", "zero.arrow"):
        (tmp_path / name).symlink_to("/dev/zero")
        with pytest.raises(DataError):
            load(tmp_path / name, cache=False)


def test_each_real_folder_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load(_folders(tmp_path / "own"), cache=False)
    root = _folders(tmp_path / "looped")
    for name in ("cat", "dog"):
        for k in range(3):
            (root / name / f"up{k}").symlink_to(root)
            (root / name / f"here{k}").symlink_to(root / name)
    (root / "cat" / "sister").symlink_to(root / "dog")
    looped = load(root, cache=False)
    assert looped.train.counts == plain.train.counts
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("cat", "dog"):
        (linked / name).symlink_to(root / name)
    with pytest.raises(DataError, match=r"'cat' is a link out of 'linked'; .*FOLLOW_LINKS=1"):
        load(linked, cache=False)
    monkeypatch.setenv("CONDENSERY_FOLLOW_LINKS", "1")
    assert load(linked, cache=False).train.counts == plain.train.counts


def test_links_among_pictures_lead_nowhere_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _folders(tmp_path / "own")
    (tmp_path / "secret.png").write_bytes(_png(9))
    (root / "cat" / "z.png").symlink_to(tmp_path / "secret.png")
    (root / "dog" / "z.png").symlink_to(root / "dog" / "0.png")  # inside, and so followed
    data = load(root, cache=False)
    assert len(data.train) + len(data.test) == 11
    assert any("cat/z.png: a link out of the folder; copy" in note for note in data.notes)
    with pytest.raises(DataError, match=r"'z.png' is a link out of the data folder"):
        picture_folders(root)
    monkeypatch.setenv("CONDENSERY_FOLLOW_LINKS", "1")
    data = load(root, cache=False)
    assert len(data.train) + len(data.test) == 12
    monkeypatch.delenv("CONDENSERY_FOLLOW_LINKS")
    (tmp_path / "tables").mkdir()
    pq.write_table(_table(_rows()), tmp_path / "private.parquet")
    (tmp_path / "tables" / "train.parquet").symlink_to(tmp_path / "private.parquet")
    with pytest.raises(DataError, match=r"'train.parquet' is a link out of the data folder"):
        load(tmp_path / "tables", cache=False)


def test_tables_that_claim_more_than_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.parquet"
    labels = pa.array(np.zeros(3_000_000, np.int64)).dictionary_encode()
    images = pa.nulls(3_000_000, pa.binary())
    pq.write_table(pa.table({"image": images, "label": labels}), path)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"'train.parquet' claims 3000000 rows, more than its"):
        load(path, cache=False)
    arrow = tmp_path / "train.arrow"
    batch = pa.record_batch({"image": pa.nulls(2_000_000), "label": pa.nulls(2_000_000)})
    with pa.OSFile(str(arrow), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as out:
        out.write_batch(batch)
    with pytest.raises(DataError, match="claims 2000000 rows, more than its size can hold"):
        load(arrow, cache=False)
    monkeypatch.setattr("condensery.data.tables.MOST_BYTES", 1000)
    monkeypatch.setattr("condensery.data.tables.MOST_TIMES", 1)
    zeros = [{"bytes": bytes(100_000), "path": None}] * 10
    pq.write_table(_table(zeros), path, compression="zstd")
    with pytest.raises(DataError, match=r"out of proportion .*CONDENSERY_MOST_BYTES"):
        load(path, cache=False)
    monkeypatch.setenv("CONDENSERY_MOST_BYTES", "10M")
    with pytest.raises(DataError, match="can be read"):
        load(path, cache=False)


def test_a_box_that_claims_gigabytes_takes_no_room(tmp_path: Path) -> None:
    root = _folders(tmp_path / "own")
    for k in range(5, 15):
        shutil.copy(root / "cat" / "0.png", root / "cat" / f"{k}.png")
    held = BytesIO()
    Image.new("RGB", (8, 8)).save(held, "jpeg2000")
    raw = bytearray(held.getvalue())
    at = raw.index(b"jp2h") - 4
    raw[at : at + 4] = b"\x00\x00\x00\x01"  # a length of 64 bits follows
    raw[at + 8 : at + 16] = (2**62).to_bytes(8, "big")
    (root / "cat" / "z.jp2").write_bytes(raw)
    data = load(root, size=8, cache=False)
    assert any("z.jp2" in note for note in data.notes)


@pytest.mark.parametrize("given", ["/etc/passwd", "../secret.png", "link.png", "a\0b"])
def test_paths_in_a_table_lead_nowhere_outside_its_folder(tmp_path: Path, given: str) -> None:
    (tmp_path / "secret.png").write_bytes(_png(9))
    home = tmp_path / "own"
    home.mkdir()
    (home / "link.png").symlink_to(tmp_path / "secret.png")
    (home / "beside.png").write_bytes(_png(7))
    rows = _rows()
    rows[3] = {"bytes": None, "path": "beside.png"}
    pq.write_table(_table(rows), home / "train.parquet")
    load(home / "train.parquet", cache=False)
    rows[3] = {"bytes": None, "path": given}
    pq.write_table(_table(rows), home / "train.parquet")
    with pytest.raises(DataError, match=r"row 3 .* names a file outside the data set's folder"):
        load(home / "train.parquet", cache=False)


def test_columns_of_odd_types_are_one_sentence(tmp_path: Path) -> None:
    images = _table(_rows()).column("image")
    for labels in (
        pa.array([2**64 - 1] * 10, pa.uint64()),
        pa.array([b"\xff"] * 10, pa.binary()),
        pa.array([1.5] * 10),
        pa.array([2**62] * 10, pa.timestamp("ns", tz="Nowhere/Land")),
        pa.array([None] * 10, pa.null()),
    ):
        pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "train.parquet")
        with pytest.raises(DataError):
            load(tmp_path / "train.parquet", cache=False)
    for said in (b"[" * 5000, b'{"info": {"features": {"image": 3}}}', b'{"info": []}'):
        table = _table(_rows()).replace_schema_metadata({b"huggingface": said})
        pq.write_table(table, tmp_path / "train.parquet")
        with suppress(DataError):  # where it matters; anything else is an error
            load(tmp_path / "train.parquet", cache=False)


def _archive(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_archives_that_grow_out_of_proportion_are_rejected_before_room_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.arange(20) % 2
    zeros = _archive(tmp_path / "own.npz", images=np.zeros((20, 200, 200), np.uint8), labels=labels)
    assert load(zeros, cache=False).train.shape == (1, 200, 200)
    monkeypatch.setattr("condensery.data.archives.MOST_BYTES", 10_000)
    with pytest.raises(DataError, match="out of proportion to its size"):
        load(zeros, cache=False)
    # A header that claims more than the member holds: numpy would make room for all of it.
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (20, 1000000, 1000000), }"
    header = header.ljust(118 - 1) + b"\n"
    with zipfile.ZipFile(tmp_path / "claims.npz", "w") as made:
        made.writestr("images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        made.writestr("labels.npy", b"")
    with pytest.raises(DataError, match="out of proportion"):
        load(tmp_path / "claims.npz", cache=False)


def test_a_torn_or_encrypted_archive_is_one_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (20, 8, 8), dtype=np.uint8)
    whole = _archive(tmp_path / "whole.npz", images=images, labels=np.arange(20) % 2)
    load(whole, cache=False)
    raw = whole.read_bytes()
    encrypted = bytearray(raw)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(mark)
        while at >= 0:
            encrypted[at + place] |= 1
            at = raw.find(mark, at + 1)
    broken = {"torn": raw[: len(raw) // 2], "encrypted": bytes(encrypted), "empty": b""}
    for name, content in broken.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read") as caught:
            load(tmp_path / f"{name}.npz", cache=False)
        assert "\n" not in str(caught.value)
    np.savez(tmp_path / "scalar.npz", images=images, labels=np.arange(20) % 2, class_names="a")
    with pytest.raises(DataError):
        load(tmp_path / "scalar.npz", cache=False)


def test_two_folders_with_the_same_names_sizes_and_times_are_not_confused(tmp_path: Path) -> None:
    found = []
    for place in ("first", "second"):
        root = tmp_path / place / "own"
        for number, name in enumerate(("cat", "dog")):
            (root / name).mkdir(parents=True)
            for k in range(5):
                value = (10 * k + 5, 90 * number, 200 if place == "second" else 0)
                Image.new("RGB", (8, 8), value).save(root / name / f"{k}.bmp")
                os.utime(root / name / f"{k}.bmp", (86400, 86400))
        found.append(load(root))
        assert load(root).train.fingerprint == found[-1].train.fingerprint
    assert found[0].train.fingerprint != found[1].train.fingerprint
    # Rewritten in place with its old time: its number stays, the time of the change does not.
    time.sleep(0.02)
    file = tmp_path / "first" / "own" / "cat" / "0.bmp"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 255
    file.write_bytes(raw)
    os.utime(file, (86400, 86400))
    again = load(tmp_path / "first" / "own")
    assert {again.train.fingerprint, again.test.fingerprint} != {
        found[0].train.fingerprint,
        found[0].test.fingerprint,
    }
