"""Folders and files as other people lay them out: splits told from classes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condensery.cli.main import main
from condensery.data import Data, DataError, LabelledSet, load


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(path)


def laid_out(root: Path, folders: dict[str, int], n: int = 4) -> Path:
    """Grey pictures of one value in each folder."""
    for folder, value in folders.items():
        for i in range(n):
            picture(root / folder / f"{i}.png", value)
    return root


def values(data: Data) -> dict[str, tuple[list[int], list[int]]]:
    """Class → the values of its pictures, training and test."""

    def seen(part: LabelledSet, label: int) -> list[int]:
        return sorted({int(v) for v in part.images[part.labels == label].flatten().tolist()})

    names = data.train.class_names
    return {name: (seen(data.train, c), seen(data.test, c)) for c, name in enumerate(names)}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train", "seg_test"),
        ("train_images", "test_images"),
        ("train-set", "val-set"),
        ("train2017", "val2017"),
        ("01_train", "02_test"),
        ("Training", "Testing"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/train", "archive/valid"),
    ],
)
def test_folders_with_a_word_for_a_split_are_splits(tmp_path: Path, train: str, test: str) -> None:
    root = laid_out(
        tmp_path / "set",
        {f"{train}/cat": 10, f"{train}/dog": 20, f"{test}/cat": 11, f"{test}/dog": 21},
    )
    assert values(load(root, cache=False)) == {"cat": ([10], [11]), "dog": ([20], [21])}


def test_a_split_beside_class_folders_is_the_test_split(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", {"cat": 10, "dog": 20, "val/cat": 11, "val/dog": 21})
    assert values(load(root, cache=False)) == {"cat": ([10], [11]), "dog": ([20], [21])}


def test_a_class_may_be_called_as_a_split(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "a", {"control": 10, "test": 20})
    assert values(load(root, cache=False)) == {"control": ([10], [10]), "test": ([20], [20])}
    root = laid_out(tmp_path / "b", {"bus": 1, "train": 2, "truck": 3, "train-ticket": 4})
    assert load(root, cache=False).train.class_names == ("bus", "train", "train-ticket", "truck")
    root = laid_out(tmp_path / "c", {"train/bus": 1, "train/train": 2, "test/train": 3})
    assert values(load(root, cache=False)) == {"bus": ([1], []), "train": ([2], [3])}


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["test/a", "test/b", "val/a", "val/b"], "'test' and 'val' in 'set' are named"),
        (["train", "test"], "'test' and 'train' in 'set' are named"),
        (["cat", "dog", "val/cow"], "'val' is named and built as a split, but 'cat'"),
        (["cat", "train-ticket/a", "train-ticket/b"], "'train-ticket' is named.*'cat' beside"),
        (["a_train/a", "a_train/b", "b_train/a"], "'a_train' and 'b_train' are both named"),
    ],
)
def test_names_and_contents_that_disagree(tmp_path: Path, folders: list[str], words: str) -> None:
    root = laid_out(tmp_path / "set", dict.fromkeys(folders, 9))
    with pytest.raises(DataError, match=words):
        load(root, cache=False)


def test_pictures_without_classes_are_left_out(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", {"train/cat": 10, "train/dog": 20, "test": 5, "pred": 6})
    data = load(root, cache=False)
    assert values(data) == {"cat": ([10], [10]), "dog": ([20], [20])}
    assert "left out: pred, test" in data.notes


def test_tiny_imagenet_as_it_is_published(tmp_path: Path) -> None:
    root = tmp_path / "tiny"
    laid_out(root, {"train/n01/images": 10, "train/n02/images": 20, "test/images": 5})
    laid_out(root, {"val/images": 0})
    picture(root / "val/images/0.png", 21)
    picture(root / "val/images/1.png", 11)
    lines = ["0.png\tn02\t0\t0\t9\t9", "1.png\tn01\t0\t0\t9\t9"]
    (root / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "wnids.txt").write_text("n01\nn02\n")
    data = load(root, cache=False)
    assert values(data) == {"n01": ([10], [11]), "n02": ([20], [21])}
    assert "left out: test" in data.notes
    (root / "val/val_annotations.txt").write_bytes(b"0.png\tn0\xff\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt' cannot be read as text"):
        load(root)
    (root / "val/val_annotations.txt").write_text("0.png\tn03\n")
    with pytest.raises(DataError, match="gives the class 'n03' to"):
        load(root, cache=False)


def test_thumbnails_of_drives_are_no_pictures(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "set", {"cat": 10, "dog": 20, "@eaDir/cat": 99, "cat/@eaDir": 99})
    laid_out(root, {".thumbnails": 98, "dog/.thumbnails": 98})
    assert values(load(root, cache=False)) == {"cat": ([10], [10]), "dog": ([20], [20])}


def test_a_stray_table_does_not_hide_pictures(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = laid_out(tmp_path / "set", {"cat": 10, "dog": 20})
    pq.write_table(pa.table({"id": [1]}), root / "index.parquet")
    data = load(root, cache=False)
    assert values(data) == {"cat": ([10], [10]), "dog": ([20], [20])}
    assert "left out, not images: index.parquet (1 in all)" in data.notes


def test_tables_by_any_name_and_order_of_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def table(value: int, label: int) -> pa.Table:
        picture(tmp_path / "p.png", value)
        raw = (tmp_path / "p.png").read_bytes()
        return pa.table({"image": [raw] * 4, "label": [label] * 4})

    both = pa.concat_tables([table(10, 0), table(20, 1)])
    pq.write_table(both, tmp_path / "test.parquet")
    data = load(tmp_path / "test.parquet", cache=False)
    assert values(data) == {"0": ([10], [10]), "1": ([20], [20])}
    assert "'test.parquet' is the only file, so it was taken for training" in data.notes
    (tmp_path / "test.parquet").rename(tmp_path / "T.PARQUET")
    assert values(load(tmp_path / "T.PARQUET", cache=False)) == values(data)
    shards = tmp_path / "shards"
    shards.mkdir()
    pq.write_table(table(10, 0), shards / "train-0.parquet")
    pq.write_table(table(20, 1).select(["label", "image"]), shards / "train-1.parquet")
    assert values(load(shards, cache=False)) == values(data)
    np.savez(tmp_path / "a.npz", images=np.full((4, 6, 6), 7, np.uint8), labels=[0, 1, 0, 1])
    (tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert values(load(tmp_path / "A.NPZ")) == {"0": ([7], [7]), "1": ([7], [7])}


def test_the_cause_of_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = laid_out(tmp_path / "set", {"cat": 10, "dog": 20})
    Image.fromarray(np.zeros((6, 6), np.float32)).save(root / "cat" / "f.tiff")
    with pytest.raises(DataError, match=r"cat/f\.tiff: floating numbers of no known range"):
        load(root, cache=False)
    rows = [{"bytes": None, "path": "nowhere/a.png"}] * 4
    pq.write_table(pa.table({"image": rows, "label": [0, 0, 1, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="only its path is given, and there is no such file"):
        load(tmp_path / "a.parquet", cache=False)


def test_a_large_picture_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = laid_out(tmp_path / "set", {"cat": 10, "dog": 20})
    Image.new("L", (20, 20)).save(root / "cat" / "z.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"cat/z\.png: too many pixels"):
        load(root, cache=False)


def test_a_class_whose_name_is_not_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"caf\xe9")
    root = laid_out(tmp_path / "set", {"train/bar": 10, f"train/{odd}": 20, f"test/{odd}": 21})
    for cache in (True, True, False):
        assert values(load(root, cache=cache)) == {"bar": ([10], []), "caf\\xe9": ([20], [21])}
    # On a terminal that knows no such letters, nor ×.
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["data", str(root), "--size", "8"]) == 0
    said = raw.getvalue().decode("ascii")
    assert "classes: 2 (bar, caf\\xe9)" in said
    assert r"images: 8\xd78 pixels" in said


def test_without_a_cache_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("CONDENSERY_CACHE", str(cache))
    root = laid_out(tmp_path / "set", {"cat": 10, "dog": 20})
    load(root, cache=False)
    assert not cache.exists()
    load(root)
    assert [file.suffix for file in (cache / "data").iterdir()] == [".safetensors"]
