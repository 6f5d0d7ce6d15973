"""Tar files of samples, as webdataset writes them, and archives that are to be unpacked."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condensery.cli.main import main
from condensery.config.data_sets import as_meant_in
from condensery.data import Data, DataError, load


def png(value: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(out, kind)
    return out.getvalue()


def write(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def samples(start: int, n: int = 4, label: str = "cls") -> dict[str, bytes]:
    """Pictures of values ``start``, ``start + 1``, …, in classes by whether these are odd."""
    out: dict[str, bytes] = {}
    for value in range(start, start + n):
        said = (
            str(value % 2) if label == "cls" else json.dumps({"label": ["even", "odd"][value % 2]})
        )
        out |= {f"in/{value}.png": png(value), f"in/{value}.{label}": said.encode()}
    return out


def seen(data: Data) -> dict[int, str]:
    """Value of every picture → its class."""
    return {
        int(image.max()): part.class_names[label]
        for part in (data.train, data.test)
        for image, label in zip(part.images, part.labels.tolist(), strict=True)
    }


@pytest.mark.parametrize("label", ["cls", "json"])
def test_shards_are_read_in_every_way_that_they_are_named(tmp_path: Path, label: str) -> None:
    for k in range(3):
        write(tmp_path / f"own/{k:03}.tar", samples(10 + 4 * k, label=label))
    names = ["0", "1"] if label == "cls" else ["even", "odd"]
    wanted = {value: names[value % 2] for value in range(10, 22)}
    for spec in ("own", "own/{000..002}.tar", "own/{000,001,002}.tar"):
        assert seen(load(str(tmp_path / spec), cache=False)) == wanted
    one = load(tmp_path / "own" / "000.tar")
    assert one.name == "000"
    assert seen(one) == {value: names[value % 2] for value in range(10, 14)}
    (tmp_path / "own" / "cat").mkdir()  # nothing was unpacked
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own"]


def test_splits_are_told_by_names_of_files_and_folders(tmp_path: Path) -> None:
    for train, test in (("train-0.tar", "val-0.tar"), ("train/0.tar", "test/0.tar")):
        root = tmp_path / train[:6]
        write(root / train, samples(100, 6))
        write(root / test, samples(150, 2))
        data = load(root, cache=False)
        assert sorted(data.train.images.amax((1, 2, 3)).tolist()) == list(range(100, 106))
        assert sorted(data.test.images.amax((1, 2, 3)).tolist()) == [150, 151]
        assert data.test.labels.tolist() == [0, 1]
        assert not data.notes
    both = load(str(tmp_path / "train-/{train,val}-0.tar"), cache=False)
    assert len(both.test) == 2


def test_members_need_no_order_and_code_is_left_out(tmp_path: Path) -> None:
    held = samples(10, 6)
    last = {name: content for name, content in held.items() if name.endswith("cls")}
    first = {name: content for name, content in held.items() if name.endswith("png")}
    junk = {
        "in/10.pyd": b"cbuiltins\neval\n(V1/0\ntR.",
        "in/10.emb.pth": b"PK",
        "in/10.txt": b"a caption",
        "in/._10.png": b"Finder",
        "in/10.seg.png": png(200),
        "in/99.cls": b"1",
    }
    data = load(write(tmp_path / "a.tar", {**first, **junk, **last}), cache=False)
    assert seen(data) == {value: str(value % 2) for value in range(10, 16)}
    assert data.notes[:3] == (
        "left out, as it may hold code: 1 × .pyd, 1 × .emb.pth",
        "left out, neither images nor labels: 1 × .txt, 1 × ._10.png, 1 × .seg.png",
        "left out, labels without images: in/99 (1 in all)",
    )


def test_a_damaged_picture_is_left_out_by_name(tmp_path: Path) -> None:
    held = samples(10, 40)
    held["in/13.png"] = held["in/13.png"][:30]
    data = load(write(tmp_path / "a.tar", held), cache=False)
    assert 13 not in seen(data)
    assert any("in/13" in note for note in data.notes)


def test_shards_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = samples(10)
    path = tmp_path / "a.tar"
    for members, words in (
        ({**good, "in/14.png": png(14)}, r"sample 'in/14' of 'a.tar' has no label; put its class"),
        ({**good, "in/14.png": png(14), "in/14.json": b"{"}, "JSON of sample 'in/14' .* cannot be"),
        ({**good, "in/14.png": png(14), "in/14.json": b'{"label": true}'}, "has no label"),
        ({**good, "in/14.png": png(14), "in/14.cls": b"1" * 1001}, "at most 1.0 kB are read"),
        ({"readme.txt": b"hello"}, "'a.tar' holds no samples; a picture KEY.jpg"),
        ({"n01/1.JPEG": png(1, "JPEG")}, "unpack archives of class folders"),
    ):
        write(path, members)
        with pytest.raises(DataError, match=words):
            load(path, cache=False)
    write(path, {**good, "in/10.PNG": png(1)})
    with pytest.raises(DataError, match=r"two files called 'in/10.PNG'"):
        load(path, cache=False)
    whole = write(path, good).read_bytes()
    for torn, words in (
        (whole[:1900], "cut off|unexpected end"),
        (whole[:2048] + b"x" * 512 + whole[2560:], "cannot be read"),
        (b"\x1f\x8b" + whole, "not a plain tar file; if it is compressed, unpack it with gunzip"),
    ):
        path.write_bytes(torn)
        with pytest.raises(DataError, match=words):
            load(path, cache=False)
    with pytest.raises(DataError, match=r"stands for 3 files, and there is no '.*a-1.tar'"):
        load(str(tmp_path / "a-{1..3}.tar"), cache=False)
    with pytest.raises(DataError, match="more than 10000 files"):
        load(str(tmp_path / "a-{1..20000}.tar"), cache=False)


def test_heads_that_lie_about_their_size_are_rejected(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.tar", samples(10)).read_bytes()
    for kind, size in ((b"x", 2**33), (b"L", 2**30), (b"0", 2**40), (b"0", -(2**20))):
        head = bytearray(whole[:512])
        head[124:136] = (
            b"%011o\0" % size
            if 0 <= size < 8**11
            else b"\xff" + size.to_bytes(11, "big", signed=True)
        )
        if size >= 8**11:
            head[124] = 0x80
        head[156:157] = kind
        head[148:156] = b"%06o\0 " % (sum(head[:148]) + 32 * 8 + sum(head[156:]))
        (tmp_path / "b.tar").write_bytes(whole[:1024] + bytes(head) + whole[512:])
        with pytest.raises(DataError, match=r"'b.tar' cannot be read"):
            load(tmp_path / "b.tar", cache=False)


def test_a_large_member_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tar", samples(10, 40))
    monkeypatch.setenv("CONDENSERY_MOST_BYTES", "50")
    with pytest.raises(DataError, match="can be read"):
        load(path, cache=False)


def test_the_cache_notices_another_shard(tmp_path: Path) -> None:
    write(tmp_path / "own/0.tar", samples(10))
    assert len(seen(load(tmp_path / "own"))) == 4
    write(tmp_path / "own/1.tar", samples(20))
    assert len(seen(load(tmp_path / "own"))) == 8
    assert len(seen(load(str(tmp_path / "own/{0..1}.tar")))) == 8


def test_a_pattern_is_found_from_another_folder(tmp_path: Path) -> None:
    write(tmp_path / "own/0.tar", samples(10))
    assert as_meant_in(str(tmp_path), "own/{0..0}.tar") == str(tmp_path / "own/{0..0}.tar")
    assert as_meant_in(str(tmp_path), "own/{0..1}.tar") == "own/{0..1}.tar"


def test_an_archive_is_to_be_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in" / "tiny-imagenet-200.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny-imagenet-200/wnids.txt", "n01443537\n")
    for spec in (path, path.parent):
        assert main(["data", str(spec)]) == 1
        told = capsys.readouterr().err
        assert "'tiny-imagenet-200.zip' is an archive" in told
        assert "unzip 'tiny-imagenet-200.zip' and name the folder that comes out" in told
    packed = path.rename(tmp_path / "in" / "shards.tar.gz")
    with pytest.raises(DataError, match=r"unpack 'shards.tar.gz'"):
        load(packed, cache=False)
