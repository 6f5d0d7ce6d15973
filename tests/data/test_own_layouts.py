"""MNIST's files, metadata.csv, HEIC without its library, and paths from another folder."""

from __future__ import annotations

import gzip
import importlib
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from condensery import DataError
from condensery.cli.main import main
from condensery.data import Data, load


def idx(values: Any) -> bytes:
    array = np.asarray(values, dtype=np.uint8)
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, *, packed: bool = False) -> tuple[Any, Any]:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    labels = np.arange(30) % 3
    folder.mkdir(parents=True)
    for name, a, b in (("train", 0, 20), ("t10k", 20, 30)):
        for kind, values in (("images-idx3", images[a:b]), ("labels-idx1", labels[a:b])):
            raw, path = idx(values), folder / f"{name}-{kind}-ubyte"
            if packed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(raw))
            else:
                path.write_bytes(raw)
    return images, labels


@pytest.mark.parametrize(("below", "packed"), [(".", False), (".", True), ("MNIST/raw", True)])
def test_the_files_of_mnist(tmp_path: Path, below: str, packed: bool) -> None:
    images, labels = write_mnist(tmp_path / "own" / below, packed=packed)
    data = load(tmp_path / "own", cache=False)
    assert np.array_equal(data.train.images.numpy()[:, 0], images[:20])
    assert np.array_equal(data.test.images.numpy()[:, 0], images[20:])
    assert data.train.labels.tolist() == labels[:20].tolist()
    assert data.test.labels.tolist() == labels[20:].tolist()


def test_files_of_mnist_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "own")
    path = tmp_path / "own" / "train-images-idx3-ubyte"
    raw = path.read_bytes()
    for wrong, words in (
        (raw[:-1], "fewer bytes than its head says"),
        (raw + b"x", "more bytes than its head says"),
        (b"\x89PNG" + raw[4:], "does not begin as an idx file of 3 axes"),
        (raw[:4] + b"\xff" * 12 + raw[16:], "CONDENSERY_MOST_BYTES"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=words):
            load(tmp_path / "own", cache=False)
    path.unlink()
    with pytest.raises(DataError, match="'train-labels-idx1-ubyte' has no file of images"):
        load(tmp_path / "own", cache=False)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(raw)[:40])
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "own", cache=False)
    monkeypatch.setenv("CONDENSERY_MOST_BYTES", "1k")
    path.write_bytes(raw)
    with pytest.raises(DataError, match="CONDENSERY_MOST_BYTES"):
        load(tmp_path / "own", cache=False)


def write_pictures(folder: Path, values: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for value in values:
        Image.new("L", (6, 6), value).save(folder / f"{value}.png")


def values_of(data: Data) -> dict[int, str]:
    """Brightness of every picture → its class."""
    return {
        int(image.max()): part.class_names[label]
        for part in (data.train, data.test)
        for image, label in zip(part.images, part.labels.tolist(), strict=True)
    }


def test_metadata_beside_flat_pictures(tmp_path: Path) -> None:
    values = list(range(10, 130, 10))
    write_pictures(tmp_path / "flat" / "all", values)
    wanted = {v: "cat" if v % 20 else "dog" for v in values}
    rows = [f"all/{v}.png,{name},x" for v, name in wanted.items()]
    path = tmp_path / "flat" / "metadata.csv"
    path.write_text("\n".join(["file_name, label ,note", *rows]) + "\n")
    assert values_of(load(tmp_path / "flat", cache=False)) == wanted
    for split, some in (("train", values[:8]), ("test", values[8:])):
        write_pictures(tmp_path / "split" / split, some)
        lines = [f"{v}.png,{v % 3}" for v in some]
        (tmp_path / "split" / split / "metadata.csv").write_text(
            "\n".join(["file_name,label", *lines])
        )
    data = load(tmp_path / "split", cache=False)
    assert (len(data.train), len(data.test)) == (8, 4)
    assert values_of(data) == {v: str(v % 3) for v in values}


def test_metadata_that_cannot_be_used(tmp_path: Path) -> None:
    write_pictures(tmp_path / "own" / "cat", [10, 20, 30])
    write_pictures(tmp_path / "own" / "dog", [40, 50, 60])
    write_pictures(tmp_path, [200])
    path = tmp_path / "own" / "metadata.csv"
    path.write_text("name,size\na,1\n")  # says nothing of classes
    assert set(values_of(load(tmp_path / "own", cache=False)).values()) == {"cat", "dog"}
    good = "".join(f"cat/{v}.png,a\n" for v in (10, 20)) + "dog/40.png,b\ndog/50.png,b\n"
    for row, words in (
        ("../200.png,b", "outside its folder"),
        ("/etc/passwd,b", "outside its folder"),
        ("cat/30.png,", "line 6 of 'metadata.csv' lacks"),
        ("cat/31.png,b", "only its path is given, and there is no such file"),
    ):
        path.write_text(f"file_name,label\n{good}{row}\n")
        with pytest.raises(DataError, match=words):
            load(tmp_path / "own", cache=False)


def test_heic_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "cat", [10, 20])
    write_pictures(tmp_path / "dog", [30, 40])
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "dog" / "a.heic").write_bytes(head)

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataError, match=r"dog/a.heic: HEIC, which needs .*'condensery\[heic\]'"):
        load(tmp_path, cache=False)


def test_heic_with_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))  # it is registered for this test alone
    heif = pytest.importorskip("pillow_heif", reason="pip install 'condensery[heic]'")
    for name, value in (("cat", 60), ("dog", 160)):
        (tmp_path / name).mkdir()
        for k in range(4):
            pixels = np.full((32, 48, 3), (value + k, 80, 120), np.uint8)
            heif.from_pillow(Image.fromarray(pixels)).save(
                tmp_path / name / f"{k}.heic", quality=95
            )
    data = load(tmp_path, cache=False)
    assert data.train.shape == (3, 32, 48)
    for image, label in zip(data.train.images, data.train.labels.tolist(), strict=True):
        mean = image.float().mean((1, 2)).tolist()
        assert mean == pytest.approx([61.5 + 100 * label, 80, 120], abs=4)


def test_a_run_finds_its_data_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "a" / "own" / "cat", [10, 20, 30])
    write_pictures(tmp_path / "a" / "own" / "dog", [140, 150, 160])
    monkeypatch.chdir(tmp_path / "a")
    run = ["condense", "--data", "own", "--ipc", "1", "--iterations", "1", "--out", "run"]
    assert main([*run, "--supply.net", "convnet1:width=4"]) == 0
    recipe = (tmp_path / "a" / "run" / "recipe.yaml").read_bytes()
    assert str(tmp_path).encode() not in recipe
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert main(["resume", "../a/run", "--iterations", "2"]) == 0
    how = ["--net", "convnet1:width=4", "--nets", "1", "--epochs", "1"]
    assert main(["evaluate", "../a/run", *how]) == 0
    # Where the data were moved with the run, they are found from here.
    shutil.move(tmp_path / "a" / "own", tmp_path / "b" / "own")
    assert main(["resume", "../a/run", "--iterations", "3"]) == 0
    shutil.rmtree(tmp_path / "b" / "own")
    capsys.readouterr()
    assert main(["resume", "../a/run", "--iterations", "4"]) == 1
    assert "'own'" in capsys.readouterr().err
