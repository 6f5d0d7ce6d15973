"""The file that people keep: exact, closed to code, and open to other tools."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader

from condensery import CondensedSet, DataError, UsageError, export, load_sets, select_random
from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data, load
from condensery.methods.formation import MultiFormation
from condensery.runtime.plan import exact_plan
from condensery.sets import condensed as module
from condensery.sets.about import FORMAT, FORMAT_8_BITS
from condensery.sets.picture import picture
from condensery.utils.files import safe_names, whole_file, whole_folder
from tests.conftest import tiny


@pytest.fixture
def condensed(tiny_data: Data) -> CondensedSet:
    return select_random(tiny_data, ipc=3, seed=5)


def test_show_draws_the_first_of_several_sets(
    tiny_data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never an older picture of the folder."""
    (tmp_path / "images.png").write_bytes(b"old")
    for seed in range(2):
        select_random(tiny_data, ipc=1, seed=seed).save(tmp_path / str(seed))
    assert main(["show", str(tmp_path)]) == 0
    assert f"{tmp_path / '0' / 'images.png'}" in capsys.readouterr().out
    with Image.open(tmp_path / "0" / "images.png") as drawn:
        wanted = picture(select_random(tiny_data, ipc=1, seed=0))
        assert np.array_equal(np.asarray(drawn), np.asarray(wanted))


def test_round_trip_is_exact(condensed: CondensedSet, tmp_path: Path) -> None:
    file = condensed.save(tmp_path / "run")
    again = CondensedSet.load(tmp_path / "run")
    assert again.about == condensed.about
    assert torch.equal(again.stored, condensed.stored)
    assert torch.equal(again.images, condensed.images)
    assert torch.equal(again.labels, condensed.labels)
    assert again.save(tmp_path / "again").read_bytes() == file.read_bytes()


def test_it_is_a_plain_torch_data_set(condensed: CondensedSet) -> None:
    image, label = condensed[4]
    assert (image.shape, label) == (torch.Size([1, 8, 8]), 1)
    images, labels = next(iter(DataLoader(condensed, batch_size=9)))
    assert torch.equal(images, condensed.images)
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_pixels_are_the_source_images(condensed: CondensedSet, tiny_data: Data) -> None:
    eight = (condensed.pixels() * 255).round().byte()
    source = {image.numpy().tobytes() for image in tiny_data.train.images}
    assert all(image.numpy().tobytes() in source for image in eight)


def test_metadata_is_one_sorted_json_string(condensed: CondensedSet, tmp_path: Path) -> None:
    content = condensed.save(tmp_path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    (text,) = header["__metadata__"].values()
    facts = json.loads(text)
    assert text == json.dumps(facts, sort_keys=True, ensure_ascii=False)
    assert facts["format"] == FORMAT
    assert facts["source"]["fingerprint"]
    for secret in (str(tmp_path), "seconds", "host"):
        assert secret not in text


def test_sizes(condensed: CondensedSet) -> None:
    assert condensed.stored_bytes == 9 * 64 * 4
    assert condensed.shrinkage == pytest.approx(28 / 9)


def rewritten(file: Path, change: Any) -> None:
    """The same file with other metadata."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        facts = json.loads(opened.metadata()["condensery"])
    tensors = load_file(file)
    change(facts, tensors)
    save_file(tensors, file, metadata={"condensery": json.dumps(facts)})


def future(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    facts["format"] = FORMAT_8_BITS + 1


def foreign(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    facts["formation"] = {"kind": "os:system"}


def shuffled(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["labels"] = tensors["labels"].flip(0).contiguous()


def infinite(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["stored"][0, 0, 0, 0] = float("nan")


def fewer(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["stored"] = tensors["stored"][:-1].contiguous()


def nameless(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    del facts["class_names"]


def integer(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    tensors["stored"] = tensors["stored"].to(torch.int32)


def setting(name: str, value: Any) -> Any:
    def change(facts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        facts[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("mean", ["x"]), "mean or std"),
        (setting("mean", [0.1, 0.2]), "mean or std"),
        (setting("std", [0.0]), "mean or std"),
        (setting("ipc", "x"), "a count"),
        (setting("ipc", 0), "a count"),
        (setting("config", [1]), "config"),
        (setting("class_names", [1, 2, 3]), "a name"),
        (setting("flip", "yes"), "flip"),
        (setting("format", "x"), "upgrade"),
        (future, "upgrade"),
        (foreign, "formation 'os:system'"),
        (shuffled, "labels"),
        (infinite, "not finite"),
        (fewer, "damaged"),
        (nameless, "damaged"),
        (integer, "damaged"),
    ],
)
def test_wrong_files_are_refused(
    condensed: CondensedSet, tmp_path: Path, change: Any, message: str
) -> None:
    file = condensed.save(tmp_path)
    rewritten(file, change)
    with pytest.raises(ValueError, match=message):
        CondensedSet.load(file)


#: A header that claims four terabytes.
_HUGE = json.dumps(
    {"stored": {"dtype": "F32", "shape": [10**9, 1000], "data_offsets": [0, 4 * 10**12]}}
).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", len(_HUGE)) + _HUGE,
    ],
)
def test_damaged_and_hostile_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "condensed.safetensors"
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a condensed set"):
        CondensedSet.load(file)


def test_a_truncated_file_is_refused(condensed: CondensedSet, tmp_path: Path) -> None:
    file = condensed.save(tmp_path)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match="damaged"):
        CondensedSet.load(file)


def test_missing_and_empty_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        CondensedSet.load(tmp_path / "none")
    with pytest.raises(DataError, match=r"no condensed\.safetensors"):
        CondensedSet.load(tmp_path)


def test_a_folder_of_several_sets(tiny_data: Data, tmp_path: Path) -> None:
    for number in (0, 1, 10, 2):
        select_random(tiny_data, ipc=1, seed=number).save(tmp_path / str(number))
    assert [one.about.seed for one in load_sets(tmp_path)] == [0, 1, 2, 10]


def test_random_selection_takes_its_own_class_once(tiny_data: Data) -> None:
    whole = select_random(tiny_data, ipc=7, seed=1)
    sevens = whole.images[whole.labels == 1].flatten(1)
    assert len(torch.unique(sevens, dim=0)) == 7
    other = select_random(tiny_data, ipc=3, seed=1).images
    assert not torch.equal(other, select_random(tiny_data, ipc=3, seed=2).images)
    with pytest.raises(DataError, match="fewer"):
        select_random(tiny_data, ipc=8)


def test_npz_is_exact_and_plain(condensed: CondensedSet, tmp_path: Path) -> None:
    file = export(condensed, "npz", tmp_path / "out")
    assert file == tmp_path / "out.npz"
    with np.load(file, allow_pickle=False) as held:
        assert held["images"].dtype == np.float32
        assert held["labels"].dtype == np.int64
        np.testing.assert_array_equal(held["images"], condensed.pixels().numpy())
        np.testing.assert_array_equal(held["labels"], condensed.labels.numpy())
        assert held["class_names"].tolist() == list(condensed.about.class_names)
        normalised = (held["images"] - held["mean"].reshape(1, -1, 1, 1)) / held["std"].reshape(
            1, -1, 1, 1
        )
    np.testing.assert_allclose(normalised, condensed.images.numpy(), atol=1e-5)


def test_npz_is_not_clamped(condensed: CondensedSet, tmp_path: Path) -> None:
    wild = CondensedSet(condensed.stored * 100, condensed.about)
    with np.load(export(wild, "npz", tmp_path / "out")) as held:
        assert held["images"].min() < 0
        assert held["images"].max() > 1


def test_stored_npz(condensed: CondensedSet, tmp_path: Path) -> None:
    with np.load(export(condensed, "npz", tmp_path / "s.npz", stored=True)) as held:
        np.testing.assert_array_equal(held["stored"], condensed.stored.flatten(0, 1).numpy())
        assert "std" in str(held["decode"])
    with pytest.raises(UsageError, match="--stored needs --to npz"):
        export(condensed, "images", tmp_path / "x", stored=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_clamped_and_rounded(channels: int, tmp_path: Path) -> None:
    condensed = select_random(tiny(channels=channels), ipc=2)
    wild = CondensedSet(condensed.stored * 3, condensed.about)
    folder = export(wild, "images", tmp_path / "png")
    expected = (wild.pixels().clamp(0, 1) * 255).round().byte()
    files = sorted(folder.rglob("*.png"))
    assert [f.parent.name for f in files] == ["0", "0", "1", "1", "2", "2"]
    for file, pixels in zip(files, expected, strict=True):
        with Image.open(file) as opened:
            held = np.asarray(opened)
        np.testing.assert_array_equal(held.reshape(8, 8, -1), pixels.permute(1, 2, 0).numpy())


def arrays(images: np.ndarray[Any, Any]) -> CondensedSet:
    labels = np.arange(len(images)) % 2
    return select_random(load((images, labels), test=(images, labels)), ipc=2)


def test_what_eight_bits_cannot_hold_is_refused_and_still_drawn(tmp_path: Path) -> None:
    from condensery.sets.picture import picture

    rng = np.random.default_rng(0)
    wide = arrays(rng.uniform(0, 65535, (12, 1, 8, 8)).astype(np.float32))
    many = arrays(rng.uniform(0, 1, (12, 5, 8, 8)).astype(np.float32))
    for condensed, message in ((wide, "this scale"), (many, "not 5 channels")):
        for to in ("images", "parquet"):
            with pytest.raises(UsageError, match=message):
                export(condensed, to, tmp_path / "x")
        assert export(condensed, "npz", tmp_path / message).exists()
        assert len(picture(condensed).getcolors(10_000) or ()) > 50
    with pytest.raises(UsageError, match="not a valid name"):
        export(wide, "npz", "")


def test_results_are_readable_by_others(condensed: CondensedSet, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("as any file")
    assert condensed.save(tmp_path / "run").stat().st_mode == plain.stat().st_mode


def test_exported_images_load_again(condensed: CondensedSet, tmp_path: Path) -> None:
    export(condensed, "images", tmp_path / "png")
    again = load(tmp_path / "png")
    assert again.train.class_names == condensed.about.class_names


@pytest.mark.parametrize("names", [["train", "test"], ["test_set", "val"], ["cat", "test"]])
def test_classes_that_are_called_as_splits_load_again(names: list[str], tmp_path: Path) -> None:
    pixels = np.repeat(np.array([40, 200], np.uint8), 12)[:, None, None, None]
    data = load((np.tile(pixels, (1, 1, 8, 8)), np.repeat(names, 12)), flip=False)
    chosen = select_random(data, ipc=3)
    folder = export(chosen, "images", tmp_path / "png")
    again = load(folder, cache=False)
    assert sorted(again.train.class_names) == sorted(names)
    for part in (again.train, again.test):
        for image, label in zip(part.images, part.labels.tolist(), strict=True):
            assert int(image.max()) == (40 if part.class_names[label] == names[0] else 200)
    # Other exports have nothing beside their folders.
    assert (folder / "metadata.csv").exists() == ("cat" not in names)


def test_parquet_is_read_by_datasets(condensed: CondensedSet, tmp_path: Path) -> None:
    from datasets import load_dataset

    file = export(condensed, "parquet", tmp_path / "out")
    held = load_dataset(
        "parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert held.features["label"].names == list(condensed.about.class_names)
    assert held["label"][:] == condensed.labels.tolist()
    first = np.asarray(held[0]["image"])
    expected = (condensed.pixels()[0, 0].clamp(0, 1) * 255).round().byte().numpy()
    np.testing.assert_array_equal(first, expected)


def test_exports_do_not_overwrite(condensed: CondensedSet, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"mine")
    with pytest.raises(UsageError, match="already exists"):
        export(condensed, "npz", tmp_path / "a")
    assert (tmp_path / "a.npz").read_bytes() == b"mine"
    with pytest.raises(UsageError, match="not empty"):
        export(condensed, "images", tmp_path)
    with pytest.raises(UsageError, match="did you mean 'parquet'"):
        export(condensed, "parket", tmp_path / "b")


def test_class_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    images[::2] = 9
    data = load((images, np.array([0, 0, 1, 1])), test=(images, np.array([0, 0, 1, 1])))
    import dataclasses

    condensed = select_random(data, ipc=1)
    about = dataclasses.replace(condensed.about, class_names=("../../evil", "/etc/x"))
    folder = export(CondensedSet(condensed.stored, about), "images", tmp_path / "a" / "b")
    assert len(list(folder.rglob("*.png"))) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize(
    "names",
    [["a", "A"], ["..", "."], ["a/b", "a\\b"], ["", " "], ["x" * 300, "x" * 301], ["é", "猫"]],
)
def test_safe_names_are_safe_and_different(names: list[str]) -> None:
    safe = safe_names(names)
    assert len({name.casefold() for name in safe}) == len(names)
    for name in safe:
        assert name
        assert not set(name) & set('/\\\0:*?"<>|')
        assert name not in (".", "..")
        assert len(name.encode()) <= 255


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    def interrupted(path: Path) -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        interrupted(tmp_path / "f.txt")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "d") as folder:
        (folder / "x").write_text("half")
        raise RuntimeError("power cut")
    assert list(tmp_path.iterdir()) == []
    buffer = io.StringIO()
    with whole_file(tmp_path / "f.txt") as temporary:
        temporary.write_text("whole")
    buffer.write((tmp_path / "f.txt").read_text())
    assert buffer.getvalue() == "whole"


def test_a_large_set_is_decoded_class_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding takes several times the memory of what it makes."""
    data = tiny((9, 9, 9), channels=3, side=16)
    given = {"ipc": 1, "iterations": 0, "formation.factor": 2}
    made = Condenser(data, configure(data, "best", given), exact_plan("cpu", 1)).result()
    parts: list[int] = []
    decode = MultiFormation.decode

    def noted(formation: MultiFormation, stored: Tensor, *more: Any) -> Tensor:
        parts.append(len(stored))
        return decode(formation, stored, *more)

    monkeypatch.setattr(MultiFormation, "decode", noted)
    monkeypatch.setattr(module, "_LARGE", 0)
    again = CondensedSet(made.stored, made.about)
    assert max(parts) == 1
    torch.testing.assert_close(again.images, made.images)
