"""Folders, parquet files, the hub and the catalogue: everything that is decoded."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from condensery.cli.main import main
from condensery.config.data_sets import entries
from condensery.data import DataError, cache_folder, load
from condensery.data.classes import choose
from condensery.data.images import pixels
from condensery.errors import UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CONDENSERY_DATA", raising=False)


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def photos(
    root: Path, *, n: int = 5, classes: tuple[str, ...] = ("cat", "dog"), seed: int = 0
) -> Path:
    """Class folders of PNG files, 8×6 pixels in colour."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(noise(6, 8, 3, seed=seed + 100 * c + i)).save(root / name / f"{i}.png")
    return root


def encoded(image: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# One picture ------------------------------------------------------------------------------------


def test_orientation_is_applied() -> None:
    array = noise(6, 8, 3)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        raw = encoded(Image.fromarray(array), exif=exif)
        with Image.open(io.BytesIO(raw)) as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        assert np.array_equal(pixels(raw, None), expected)
        if orientation == 6:  # a quarter turn clockwise
            assert np.array_equal(expected, np.rot90(array, k=-1))


def test_transparency_lies_over_white() -> None:
    rgba = noise(6, 8, 4)
    alpha = rgba[..., 3:].astype(float) / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(encoded(Image.fromarray(rgba)), None) - expected).max() <= 1
    grey = pixels(encoded(Image.fromarray(rgba[..., 2:])), None)
    assert grey.shape == (6, 8)
    assert np.abs(grey - expected[..., 2]).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
def test_a_transparent_colour_lies_over_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), 0)
    image.putpixel((1, 2), (9, 9, 9) if mode == "RGB" else 1)
    hole = (0, 0, 0) if mode == "RGB" else 0
    decoded = pixels(encoded(image, transparency=hole), None)
    assert (decoded[0, 0] == 255).all()
    inside = {"L": 1, "RGB": 9, "1": 255}.get(mode)
    if inside is not None:
        assert (decoded[2, 1] == inside).all()


def test_palette_pictures_are_colour() -> None:
    image = Image.fromarray(noise(6, 8, 3)).quantize(16)
    assert np.array_equal(pixels(encoded(image), None), np.asarray(image.convert("RGB")))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 256, 257 * 7, 65535], [128, 129, 40000, 30000]], dtype=np.uint16)
    raw = encoded(Image.fromarray(values))
    assert np.array_equal(pixels(raw, None), np.rint(values / 257).astype(np.uint8))
    tiff = encoded(Image.fromarray(values), "tiff")
    assert np.array_equal(pixels(tiff, None), np.rint(values / 257).astype(np.uint8))


def test_other_modes_become_grey_or_colour() -> None:
    bits = noise(6, 8) > 127
    assert np.array_equal(pixels(encoded(Image.fromarray(bits)), None), bits * np.uint8(255))
    cmyk = Image.fromarray(noise(6, 8, 3)).convert("CMYK")
    assert np.array_equal(pixels(encoded(cmyk, "tiff"), None), np.asarray(cmyk.convert("RGB")))


def test_resizing_keeps_the_aspect_and_the_middle() -> None:
    # Red, green and blue thirds: the middle square of 30×10 is all green.
    thirds = np.repeat(np.eye(3, dtype=np.uint8)[None] * 255, 10, axis=1).repeat(10, axis=0)
    middle = pixels(encoded(Image.fromarray(thirds)), 5)
    assert middle.shape == (5, 5, 3)
    assert (middle[:, 1:-1] == (0, 255, 0)).all()  # the filter looks over the border
    wide = Image.fromarray(thirds).resize((15, 5), Image.Resampling.BICUBIC)
    assert np.array_equal(middle, np.asarray(wide.crop((5, 0, 10, 5))))
    tall = pixels(encoded(Image.fromarray(thirds.transpose(1, 0, 2))), 5)
    assert np.array_equal(tall, middle.transpose(1, 0, 2))
    # Antialiased: a fine checkerboard becomes its mean, never an extreme.
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(pixels(encoded(Image.fromarray(board)), 8).astype(int) - 127).max() <= 8


def test_a_draft_of_a_large_jpeg_is_close_to_the_whole() -> None:
    y, x = np.mgrid[:512, :512]
    smooth = np.stack([x / 2, y / 2, (x + y) / 4], axis=-1).astype(np.uint8)
    image = Image.fromarray(smooth)
    quick = pixels(encoded(image, "jpeg", quality=95), 32).astype(int)
    assert np.abs(quick - np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))).max() <= 4


# Folders ----------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", n=10)
    for hidden in (".DS_Store", "Thumbs.db"):
        (root / "cat" / hidden).write_bytes(b"junk")
    (root / ".git").mkdir()
    (root / "dog" / "read me.txt").write_text("not an image")
    (root / "dog" / "puppies").mkdir()
    Image.fromarray(noise(6, 8, 3, seed=9)).save(root / "dog" / "puppies" / "a.JPG", "jpeg")
    data = load(str(root))
    assert data.name == "photos"
    assert data.train.class_names == ("cat", "dog")
    assert data.train.shape == (3, 6, 8)
    assert (data.train.counts, data.test.counts) == ((8, 9), (2, 2))
    assert "left out, not images: read me.txt (1 in all)" in data.notes
    assert data.flip
    assert not data.published
    known = {
        np.asarray(Image.open(p)).tobytes(): p.parent.name for p in sorted(root.glob("*/*.png"))
    }
    for split in (data.train, data.test):
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            name = known.get(image.permute(1, 2, 0).contiguous().numpy().tobytes(), "dog")
            assert name == split.class_names[label]


@pytest.mark.parametrize("held", ["test", "val", "validation"])
def test_nested_splits(tmp_path: Path, held: str) -> None:
    photos(tmp_path / "set" / "train")
    photos(tmp_path / "set" / held, n=2, classes=("dog",), seed=50)
    data = load(tmp_path / "set")
    assert (data.train.counts, data.test.counts) == ((5, 5), (0, 2))
    assert data.notes == ("the test split has no images of 'cat'",)
    assert data.test.mean == data.train.mean


def test_test_is_preferred_to_validation(tmp_path: Path) -> None:
    for i, split in enumerate(("train", "val", "test")):
        photos(tmp_path / "set" / split, n=2 + i, seed=i)
    data = load(tmp_path / "set")
    assert (len(data.train), len(data.test)) == (4, 8)
    assert "left out: val" in data.notes


def test_poisoning_the_test_folder_leaves_training_as_it_is(tmp_path: Path) -> None:
    for name in ("honest", "poisoned"):
        photos(tmp_path / name / "train")
        photos(tmp_path / name / "test", n=3, seed=77)
    for i, path in enumerate(sorted((tmp_path / "poisoned" / "test").glob("*/*.png"))):
        Image.new("L" if i % 2 else "RGBA", (8, 6)).save(path)
    honest, poisoned = load(tmp_path / "honest"), load(tmp_path / "poisoned")
    assert torch.equal(honest.train.images, poisoned.train.images)
    assert honest.train.fingerprint == poisoned.train.fingerprint
    assert (honest.train.mean, honest.train.std) == (poisoned.train.mean, poisoned.train.std)
    assert honest.test.fingerprint != poisoned.test.fingerprint


def test_grey_until_one_is_in_colour(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for c in ("a", "b"):
        for split, n in (("train", 3), ("test", 1)):
            (root / split / c).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(noise(5, 5, seed=i)).save(root / split / c / f"{i}.png")
    assert load(root).train.shape == (1, 5, 5)
    colour = noise(5, 5, 3, seed=8)
    Image.fromarray(colour).save(root / "test" / "b" / "0.png")
    data = load(root)
    assert (data.train.shape, data.test.shape) == ((1, 5, 5), (1, 5, 5))
    assert "colour test images, converted to grey: 1" in data.notes
    Image.fromarray(colour).save(root / "train" / "b" / "1.png")
    data = load(root)
    assert data.train.shape == data.test.shape == (3, 5, 5)
    assert "grey training images among colour ones, converted to RGB: 5" in data.notes
    for row, seed in ((0, 0), (3, 0), (5, 2)):
        assert (data.train.images[row].numpy() == noise(5, 5, seed=seed)).all()
    assert np.array_equal(data.train.images[4].permute(1, 2, 0).numpy(), colour)
    grey = load(root, channels=1)
    assert np.array_equal(grey.train.images[4, 0], np.asarray(Image.fromarray(colour).convert("L")))
    assert load(root, channels=3, size=4).train.shape == (3, 4, 4)


def test_mixed_sizes_need_a_size(tmp_path: Path) -> None:
    root = photos(tmp_path / "set")
    Image.fromarray(noise(70, 90, 3)).save(root / "dog" / "large.png")
    with pytest.raises(DataError, match=r"differ in size \(8×6, 90×70\).*--size 6"):
        load(root)
    assert load(root, size=16).train.shape == (3, 16, 16)


def test_test_images_of_another_size_need_a_size(tmp_path: Path) -> None:
    photos(tmp_path / "set" / "train")
    (tmp_path / "set" / "test" / "cat").mkdir(parents=True)
    Image.fromarray(noise(7, 7, 3)).save(tmp_path / "set" / "test" / "cat" / "0.png")
    with pytest.raises(DataError, match="test images are 7×7 but training images 8×6"):
        load(tmp_path / "set")


def test_few_unreadable_pictures_are_listed(tmp_path: Path) -> None:
    root = photos(tmp_path / "set" / "train", n=40).parent
    photos(root / "test", n=2)
    torn = root / "train" / "cat" / "7.png"
    torn.write_bytes(torn.read_bytes()[:90])
    (root / "train" / "dog" / "x.jpg").write_bytes(b"")
    data = load(root)
    assert data.train.counts == (39, 40)
    assert (
        "left out: 2 of 81 training images cannot be read (cat/7.png: torn, dog/x.jpg)"
        in data.notes
    )


def test_many_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    root = photos(tmp_path / "set" / "train", n=5).parent
    photos(root / "test", n=2)
    for i in (1, 2):
        (root / "train" / "cat" / f"{i}.png").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"2 of 10 training images cannot be read \(cat/1.png, cat/2"
    ):
        load(root)
    for i in range(5):
        (root / "train" / "cat" / f"{i}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"no training image of class 'cat' can be read"):
        load(root)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    with pytest.raises(DataError, match="folder 'set' is empty"):
        load(root)
    Image.fromarray(noise(5, 5)).save(root / "loose.png")
    with pytest.raises(DataError, match="has no class folders"):
        load(root)
    photos(root, classes=("cat",))
    with pytest.raises(DataError, match="only one class, 'cat'"):
        load(root)
    (root / "dog").mkdir()
    with pytest.raises(DataError, match="class folder 'dog' holds no images"):
        load(root)
    photos(tmp_path / "two" / "train")
    photos(tmp_path / "two" / "test", n=1, classes=("cat", "emu"))
    with pytest.raises(DataError, match="class 'emu' has test images but no training images"):
        load(tmp_path / "two")


def test_names_and_paths_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"unknown data set 'cifar'; did you mean 'cifar10'\?.*hub:owner/"
    ):
        load("cifar")
    with pytest.raises(DataError, match=r"'\./photoz' does not exist; check the path"):
        load("./photoz")
    with pytest.raises(DataError, match=r"'x.npz' does not exist"):
        load("x.npz")
    (tmp_path / "x.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"'x.csv' is neither a folder nor an .npz"):
        load(tmp_path / "x.csv")
    with pytest.raises(DataError, match="write hub:owner/name"):
        load("hub:mnist")


# Cache ------------------------------------------------------------------------------------------


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was decoded, one entry a picture."""
    seen: list[Any] = []

    def counting(content: Any, size: int | None) -> Any:
        seen.append(content)
        return pixels(content, size)

    monkeypatch.setattr("condensery.data.stack.pixels", counting)
    return seen


def test_a_second_load_decodes_nothing(tmp_path: Path, decodes: list[Any]) -> None:
    root = photos(tmp_path / "set")
    first = load(root)
    assert len(decodes) == 10
    second = load(root)
    assert len(decodes) == 10
    for split in ("train", "test"):
        a, b = getattr(first, split), getattr(second, split)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert (a.fingerprint, a.mean, a.std, a.class_names) == (
            b.fingerprint,
            b.mean,
            b.std,
            b.class_names,
        )
    assert first.notes == second.notes
    second.train.images.zero_()  # nobody should, but the file must not follow
    assert torch.equal(load(root).train.images, first.train.images)
    load(root, size=4)
    load(root, channels=1)
    assert len(decodes) == 30
    load(root, cache=False)
    assert len(decodes) == 40
    os.utime(root / "cat" / "0.png", ns=(1, 1))
    load(root)
    assert len(decodes) == 50


@pytest.mark.parametrize("damage", [b"", b"not this", None])
def test_a_damaged_cache_is_rebuilt(
    tmp_path: Path, decodes: list[Any], damage: bytes | None
) -> None:
    root = photos(tmp_path / "set")
    first = load(root).train.images.clone()
    (file,) = (cache_folder() / "data").glob("*")
    file.write_bytes(file.read_bytes()[:-10] if damage is None else damage)
    again = load(root)
    assert len(decodes) == 20
    assert torch.equal(again.train.images, first)
    load(root)
    assert len(decodes) == 20


def test_damaged_pixels_and_labels_in_the_cache_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte of the content, with a header and a length as they should be."""
    root = photos(tmp_path / "set")
    made = load(root)
    # Of a mapped file, which is about to be written into.
    train, test, labels = (
        x.clone() for x in (made.train.images, made.test.images, made.train.labels)
    )
    (file,) = (cache_folder() / "data").glob("*")
    whole = file.read_bytes()
    header = json.loads(whole[8:4096])

    def spoil(name: str, day: int) -> None:
        spoilt = bytearray(whole)
        spoilt[4096 + header[name]["data_offsets"][0] + 1] ^= 1
        file.write_bytes(spoilt)
        os.utime(file, (86400 * day, 86400 * day))  # clocks of files may be slow

    for day, name in enumerate(("train.images", "test.images", "train.labels")):
        spoil(name, day)
        again = load(root)
        assert torch.equal(again.train.images, train), name
        assert torch.equal(again.test.images, test), name
        assert again.train.labels.tolist() == labels.tolist(), name
        assert file.read_bytes() == whole, name
    # Of what is too large for that, only as much as is said is known.
    monkeypatch.setattr("condensery.data.cache._CHECKED", 0)
    spoil("test.images", 9)
    assert not torch.equal(load(root).test.images, test)


def test_what_a_killed_process_left_in_the_cache_goes_after_a_day(tmp_path: Path) -> None:
    old, new = (cache_folder() / "data" / f".x-writing-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (86400, 86400))
    load(photos(tmp_path / "set"))
    assert (old.exists(), new.exists()) == (False, True)


def test_a_cache_that_cannot_be_written_is_only_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONDENSERY_CACHE", str(tmp_path / "file"))
    data = load(photos(tmp_path / "set"))
    assert any("could not be kept in the cache" in n for n in data.notes)
    assert len(data.train) == 8


# Parquet, arrow, hub ----------------------------------------------------------------------------


def rows(n: int, classes: int = 2, seed: int = 0) -> dict[str, list[Any]]:
    images = [Image.fromarray(noise(6, 8, 3, seed=seed + i)) for i in range(n)]
    return {"image": images, "label": [i % classes for i in range(n)]}


def table(n: int, names: list[str] | None = None, seed: int = 0, column: str = "image") -> Any:
    import datasets

    names = names or ["cat", "dog"]
    held = rows(n, len(names), seed)
    features = {column: datasets.Image(), "label": datasets.ClassLabel(names=names)}
    content = {column: held["image"], "label": held["label"]}
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def test_parquet_folders(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "data").mkdir(parents=True)
    table(300).to_parquet(str(root / "data" / "train-00000-of-00002.parquet"))
    table(4, seed=1000).to_parquet(str(root / "data" / "train-00001-of-00002.parquet"))
    table(6, seed=500).to_parquet(str(root / "data" / "validation-0.parquet"))
    table(8, seed=600).to_parquet(str(root / "data" / "test-0.parquet"))
    data = load(root)
    assert (len(data.train), len(data.test)) == (304, 8)
    assert data.train.class_names == ("cat", "dog")
    assert data.notes == ("left out: the validation split",)
    for row, seed in ((0, 0), (299, 299), (301, 1001)):
        assert np.array_equal(data.train.images[row].permute(1, 2, 0), noise(6, 8, 3, seed=seed))
    assert data.train.labels.tolist() == [i % 2 for i in range(304)]


def test_one_parquet_file_gives_both_splits(tmp_path: Path) -> None:
    table(600).to_parquet(str(tmp_path / "things.parquet"))
    data = load(tmp_path / "things.parquet")
    assert (data.name, len(data.train), len(data.test)) == ("things", 480, 120)
    known = {noise(6, 8, 3, seed=i).tobytes(): i % 2 for i in range(600)}
    for split in (data.train, data.test):
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            assert known.pop(image.permute(1, 2, 0).contiguous().numpy().tobytes()) == label
    assert not known


def test_saved_datasets_and_arrow_files(tmp_path: Path) -> None:
    import datasets

    held = datasets.DatasetDict({"train": table(10), "test": table(4, seed=50)})
    held.save_to_disk(str(tmp_path / "saved"))
    data = load(tmp_path / "saved")
    assert (len(data.train), len(data.test)) == (10, 4)
    assert np.array_equal(data.test.images[1].permute(1, 2, 0), noise(6, 8, 3, seed=51))


def test_tables_without_features(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = rows(10)
    images = [encoded(i) for i in held["image"]]
    words = [("no", "yes")[y] for y in held["label"]]
    pq.write_table(pa.table({"img": images, "label": words}), tmp_path / "x.parquet")
    data = load(tmp_path / "x.parquet")
    assert data.train.class_names == ("no", "yes")
    assert len(data.train) == 8


def test_unreadable_rows_are_listed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images: list[Any] = [encoded(i) for i in rows(40)["image"]]
    images[3], images[12] = b"torn", None
    labels = [i % 2 for i in range(40)]
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        held = images if split == "train" else [*images[:2], *images[20:30]]
        part = pa.table({"image": held, "label": labels[: len(held)]})
        pq.write_table(part, tmp_path / "set" / f"{split}.parquet")
    data = load(tmp_path / "set")
    assert len(data.train) == 38
    assert "left out: 2 of 40 training images cannot be read (row 3, row 12)" in data.notes
    assert np.array_equal(data.train.images[3].permute(1, 2, 0), noise(6, 8, 3, seed=4))
    assert data.train.labels[3] == 0


def test_tables_that_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = tmp_path / "x.parquet"
    images = [encoded(i) for i in rows(10)["image"]]
    for columns, words in (
        ({"image": images}, "has no label column among image; name it 'label'"),
        ({"x": [1] * 10, "label": [0, 1] * 5}, "has no image column among label, x"),
        ({"image": [[1, 2]] * 10, "label": [0, 1] * 5}, "holds list, not encoded images"),
        ({"image": images, "label": [0, 1, None, *[1] * 7]}, "row 2 .* the label None"),
    ):
        pq.write_table(pa.table(columns), file)
        with pytest.raises(DataError, match=words):
            load(file)
    file.write_bytes(b"PAR1 no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        load(file)
    hidden = table(10).to_pandas()
    hidden["label"] = -1
    table(10).to_parquet(str(tmp_path / "train.parquet"))
    schema = pq.read_schema(tmp_path / "train.parquet")
    pq.write_table(pa.Table.from_pandas(hidden, schema=schema), tmp_path / "test.parquet")
    file.unlink()
    with pytest.raises(DataError, match=r"label -1 of test image 0 is outside 0 … 1"):
        load(tmp_path)


def test_classes_without_training_images_are_left_out(tmp_path: Path) -> None:
    full = table(12, names=["cat", "dog", "emu"])
    full.filter(lambda row: row["label"] != 1).to_parquet(str(tmp_path / "train.parquet"))
    data = load(tmp_path)
    assert data.train.class_names == ("cat", "emu")
    assert "left out for lack of training images: 1 class ('dog')" in data.notes
    full.to_parquet(str(tmp_path / "test.parquet"))
    with pytest.raises(DataError, match="class 'dog' has test images but no training images"):
        load(tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str | None], Any]:
    """A hub that holds what a test puts there."""
    import datasets

    held: dict[tuple[str, str | None], Any] = {}

    def load_dataset(repository: str, config: str | None = None, **options: Any) -> Any:
        assert not options
        if (repository, config) not in held:
            raise ConnectionError("Couldn't reach the hub.\nmore")
        return held[repository, config]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return held


def test_hub_addresses(hub: dict[tuple[str, str | None], Any]) -> None:
    hub["me/things", "small"] = {"train": table(10), "test": table(4, seed=50), "extra": table(2)}
    data = load("hub:me/things:small")
    assert (data.name, data.spec) == ("things", "hub:me/things:small")
    assert (len(data.train), len(data.test)) == (10, 4)
    assert data.notes == ("left out: split 'extra'",)
    assert np.array_equal(data.test.images[1].permute(1, 2, 0), noise(6, 8, 3, seed=51))
    with pytest.raises(
        DataError,
        match=r"'me/none' is unavailable: Couldn't reach the hub\. Check .*\$CONDENSERY_DATA/none",
    ):
        load("hub:me/none")
    hub["me/tests", None] = {"test": table(4)}
    with pytest.raises(DataError, match="has no split 'train' among test"):
        load("hub:me/tests")


def test_torn_rows_of_the_hub_are_listed(hub: dict[tuple[str, str | None], Any]) -> None:
    import datasets

    encoded_rows = table(20).cast_column("image", datasets.Image(decode=False))[:]
    encoded_rows["image"][5] = {"bytes": b"torn", "path": None}
    held = datasets.Dataset.from_dict(encoded_rows, features=table(2).features)
    hub["me/torn", None] = {"train": held, "test": table(4)}
    data = load("hub:me/torn")
    assert len(data.train) == 19
    assert "left out: 1 of 20 training images cannot be read (row 5)" in data.notes


def test_the_catalogue_brings_columns_splits_and_constants(
    hub: dict[tuple[str, str | None], Any],
) -> None:
    import datasets

    held = table(10, column="img").rename_column("label", "fine_label")
    coarse = held.add_column("coarse_label", [0] * 10)
    hub["uoft-cs/cifar100", None] = {"train": coarse, "test": coarse}
    data = load("cifar100")
    assert data.train.mean == (0.5071, 0.4866, 0.4409)
    assert data.published
    assert data.train.class_names == ("cat", "dog")
    measured = load("cifar100", channels=1)
    assert not measured.published
    assert measured.train.mean[0] == pytest.approx(0.5, abs=0.05)
    hub["zh-plus/tiny-imagenet", None] = datasets.DatasetDict(train=table(8), valid=table(4))
    tiny = load("tiny_imagenet")
    assert (tiny.train.shape, len(tiny.test), tiny.net) == ((3, 64, 64), 4, "convnet4")


def test_imagenet_parts(hub: dict[tuple[str, str | None], Any]) -> None:
    subset = entries()["imagenet10"].subset
    assert subset is not None
    names = [f"{word}, other word" for word in sorted(subset.values())]
    names.insert(3, "bathtub, tub")
    whole = table(22, names=names)
    hub["ILSVRC/imagenet-1k", None] = {"train": whole, "validation": whole, "test": table(2)}
    data = load("imagenet10", size=8)
    assert data.train.counts == (2,) * 10
    assert data.train.class_names[:2] == ("bonnet, other word", "green mamba, other word")
    for row, label in enumerate(data.train.labels.tolist()):
        kept = [i for i in range(22) if i % 11 != 3]
        assert names[kept[row] % 11] == data.train.class_names[label]
    hub["ILSVRC/imagenet-1k", None] = {"train": table(4), "validation": table(4)}
    with pytest.raises(DataError, match="no class n02869837"):
        load("imagenet10")


def test_imagenet_lists_hold_what_the_paper_shows() -> None:
    ten, hundred = entries()["imagenet10"].subset, entries()["imagenet100"].subset
    assert ten is not None
    assert hundred is not None
    assert (len(ten), len(hundred)) == (10, 100)
    assert list(hundred)[:10] == list(ten)
    shown = [
        "lorikeet",
        "car wheel",
        "honeycomb",
        "Shih-Tzu",
        "gibbon",
        "tile roof",
        "rocking chair",
    ]
    assert set(shown) <= set(hundred.values())
    assert all(len(i) == 9 and i[0] == "n" and i[1:].isdigit() for i in hundred)


def test_a_class_is_found_by_identifier_then_by_its_first_word() -> None:
    names = ["bathtub, bath, tub", "tub, vat", "n1"]
    assert choose(names, {"n0": "tub", "n1": "thing"}) == [1, 2]
    assert choose(names, {"n9": "VAT"}) == [1]


def test_the_local_folder_goes_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSERY_DATA", str(tmp_path / "sets"))
    (tmp_path / "sets" / "cifar10").mkdir(parents=True)
    table(20).to_parquet(str(tmp_path / "sets" / "cifar10" / "train.parquet"))
    photos(tmp_path / "sets" / "mine")
    data = load("cifar10")
    assert data.published
    assert len(data.train) == 16
    assert load("mine").train.class_names == ("cat", "dog")
    with pytest.raises(DataError, match="did you mean 'mine'"):
        load("mines")
    with pytest.raises(DataError, match="unknown data set"):
        load("nowhere")


# Real data, where there are some ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "mean", "std", "flip"),
    [
        pytest.param(
            "mnist",
            (1, 28, 28),
            (60000, 10000),
            (0.1307,),
            (0.3081,),
            False,
            marks=pytest.mark.slow,
        ),
        ("usps", (1, 16, 16), (7291, 2007), (0.2545,), (0.3846,), False),
        pytest.param(
            "cifar10",
            (3, 32, 32),
            (50000, 10000),
            (0.4913, 0.4821, 0.4465),
            (0.2452, 0.2428, 0.2606),
            True,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_real_data(
    name: str,
    shape: tuple[int, ...],
    sizes: tuple[int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    flip: bool,
    real_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (real_data / name).is_dir():
        pytest.skip(f"needs {name} in $CONDENSERY_DATA")
    from condensery.data.labelled import measure

    monkeypatch.setenv("CONDENSERY_DATA", str(real_data))
    data = load(name)
    assert data.train.shape == shape
    assert (len(data.train), len(data.test)) == sizes
    measured = measure(data.train.images)
    np.testing.assert_allclose(measured, (mean, std), atol=6e-5)
    assert data.published == (name != "usps")
    assert data.flip == flip
    if name == "mnist":
        expected = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
        assert data.train.counts == expected


_GIVEN = os.environ.get("CONDENSERY_DATA")


@pytest.fixture
def real_data() -> Path:
    if not _GIVEN:
        pytest.skip("needs real data sets in $CONDENSERY_DATA")
    return Path(_GIVEN)


def test_a_folder_in_the_home_of_nobody_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONDENSERY_CACHE", "~nobody-here/x")
    with pytest.raises(UsageError, match="CONDENSERY_CACHE=~nobody-here/x names the home of a"):
        cache_folder()
    monkeypatch.setenv("CONDENSERY_DATA", "~nobody-here/x")
    assert main(["data", "mnist"]) == 2
    assert "CONDENSERY_DATA=~nobody-here/x names the home of a user" in capsys.readouterr().err
