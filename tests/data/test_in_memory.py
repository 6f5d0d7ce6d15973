"""Arrays, pictures and data sets of other libraries: axes, scales, types, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from condensery.data import DataError, LabelledSet, load, ranges
from condensery.errors import UsageError

LABELS = np.arange(10) % 2


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


class Items(Dataset[Any]):
    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return self.images[i], self.labels[i]


@pytest.mark.parametrize("channels", [2, 4, 13])
@pytest.mark.parametrize("sides", [(16, 16), (15, 20)])
def test_channels_last_are_found(channels: int, sides: tuple[int, int]) -> None:
    images = noise(10, *sides, channels)
    data = load((images, LABELS), test=(images, LABELS))
    assert np.array_equal(data.train.images.numpy(), images.transpose(0, 3, 1, 2))
    taken = f"the last axis was taken for {channels} channels; --layout NCHW"
    assert any(note.startswith(taken) for note in data.notes)
    first = load(
        (images.transpose(0, 3, 1, 2), LABELS), test=(images[:2].transpose(0, 3, 1, 2), [0, 1])
    )
    assert np.array_equal(first.train.images.numpy(), images.transpose(0, 3, 1, 2))
    assert first.notes == ()


def test_many_bands_of_small_squares_are_channels() -> None:
    images = noise(10, 40, 9, 9)
    assert load((images, LABELS)).train.shape == (40, 9, 9)
    assert load((images, LABELS), layout="NHWC").train.shape == (9, 40, 9)


def test_axes_that_can_be_read_both_ways(tmp_path: Path) -> None:
    images = noise(10, 1, 6, 3)
    with pytest.raises(DataError, match=r"\(10, 1, 6, 3\): the 1 or the 3 may be channels"):
        load((images, LABELS))
    assert load((images, LABELS), layout="NCHW").train.shape == (1, 6, 3)
    assert load((images, LABELS), layout="NHWC").train.shape == (3, 1, 6)
    with pytest.raises(UsageError, match="layout must be NCHW or NHWC, got HWC"):
        load((images, LABELS), layout="HWC")  # type: ignore[arg-type]
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS, layout="NHWC")
    assert load(tmp_path / "a.npz").train.shape == (3, 1, 6)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "L", "I;16"])
def test_lists_of_pictures_are_decoded_as_files_are(mode: str, tmp_path: Path) -> None:
    rgb = [Image.fromarray(noise(6, 6, 3) // (i + 1)) for i in range(10)]
    if mode == "I;16":
        wide = [np.asarray(one.convert("L")).astype(np.uint16) * 257 for one in rgb]
        pictures = [Image.fromarray(one) for one in wide]
    else:
        pictures = [one.quantize(8) if mode == "P" else one.convert(mode) for one in rgb]
    for c in "ab":
        (tmp_path / c).mkdir()
    for i, one in enumerate(pictures):
        one.save(tmp_path / "ab"[i % 2] / f"{i}.tiff")
    held, read = load((pictures, LABELS.tolist())), load(tmp_path, cache=False)

    def content(images: torch.Tensor) -> list[bytes]:
        return sorted(one.numpy().tobytes() for one in images)

    both = [torch.cat([data.train.images, data.test.images]) for data in (held, read)]
    assert both[0].shape[1] == (1 if mode in ("L", "I;16") else 3)
    assert content(both[0]) == content(both[1])


def test_pictures_of_several_sizes_need_a_size() -> None:
    pictures = [Image.new("RGB", (6 + i % 2, 6), (i, 2 * i, 3 * i)) for i in range(10)]
    with pytest.raises(DataError, match=r"images differ in size .*--size"):
        load((pictures, LABELS))
    data = load((pictures, LABELS), size=4, test=(pictures[:2], [0, 1]))
    assert data.train.images[7].unique().tolist() == [7, 14, 21]
    with pytest.raises(DataError, match="10 images but 9 labels"):
        load((pictures, LABELS[:9]), size=4)
    with pytest.raises(DataError, match="training image 1 is a ndarray among PIL images"):
        load(([pictures[0], noise(6, 6, 3)], [0, 1]))


def test_parts_on_two_scales_are_refused() -> None:
    bytes_ = Items([torch.from_numpy(noise(1, 6, 6)) for _ in range(4)], [0, 1] * 2)
    unit = Items([torch.rand(1, 6, 6) for _ in range(4)], [0, 1] * 2)
    floats = Items([torch.rand(1, 6, 6) * 255 for _ in range(4)], [0, 1] * 2)
    with pytest.raises(DataError, match="training image 4 differs from the first"):
        load(ConcatDataset([bytes_, unit]))
    with pytest.raises(DataError, match=r"part 0 .* from .* but images of part 1"):
        load(ConcatDataset([unit, floats]))
    with pytest.raises(DataError, match=r"test images range from .* but the training images"):
        load(floats, test=unit)
    with pytest.raises(DataError, match=r"training image 1 is .*float32 but the first .*uint8"):
        load(([noise(6, 6), np.ones((6, 6), np.float32)], [0, 1]))
    assert len(load(ConcatDataset([unit, unit]), test=unit).train) == 8


def test_labels_of_torch_data_sets() -> None:
    images = [torch.rand(1, 6, 6) for _ in range(4)]
    with pytest.raises(DataError, match=r"training item 0 has shape \(3,\).*argmax"):
        load(Items(images, [torch.zeros(3)] * 4))
    with pytest.raises(DataError, match="labels differ in shape"):
        load(Items(images, [[0], [0, 1], [1], [1]]))
    with pytest.raises(DataError, match="training image 2 has no label"):
        load(Items(images, [0, 1, None, 1]))
    one = load(
        Items(images, [torch.tensor([c]) for c in (0, 1, 0, 1)]), test=Items(images[:1], [1])
    )
    assert one.train.labels.tolist() == [0, 1, 0, 1]
    upside_down = [noise(6, 6)[::-1] for _ in range(4)]
    data = load(Items(upside_down, [0, 1] * 2), test=Items(upside_down, [0, 1] * 2))
    assert np.array_equal(data.train.images[0, 0].numpy(), upside_down[0])
    pair = TensorDataset(torch.stack(images), torch.tensor([0, 1, 0, 1]))
    assert load(pair, test=pair).train.labels.tolist() == [0, 1, 0, 1]


def test_class_names_are_found_beneath_a_subset() -> None:
    whole = Items([torch.rand(1, 6, 6) for _ in range(8)], [0, 1] * 4)
    whole.classes = ["cat", "dog"]  # type: ignore[attr-defined]
    assert load(Subset(whole, range(6))).train.class_names == ("cat", "dog")
    assert load(ConcatDataset([Subset(whole, range(6))])).train.class_names == ("cat", "dog")


def test_names_of_bytes_are_text(tmp_path: Path) -> None:
    images = noise(10, 6, 6)
    names = np.array(["café".encode(), b"tea"])
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS, class_names=names)
    assert load(tmp_path / "a.npz").train.class_names == ("café", "tea")
    assert load((images, names[LABELS])).train.class_names == ("café", "tea")


def test_npz_with_a_validation_split(tmp_path: Path) -> None:
    images, path = noise(10, 6, 6), tmp_path / "a.npz"
    held: dict[str, Any] = {"images_val": images[:2], "labels_val": [0, 1]}
    np.savez(path, images=images, labels=LABELS, **held)
    assert np.array_equal(load(path).test.images[:, 0].numpy(), images[:2])
    held |= {"images_test": images[2:6], "labels_test": [0, 1, 0, 1], "extra": 1}
    np.savez(path, images=images, labels=LABELS, **held)
    data = load(path)
    assert np.array_equal(data.test.images[:, 0].numpy(), images[2:6])
    assert "left out: extra, images_val, labels_val" in data.notes


def test_the_keys_of_medmnist(tmp_path: Path) -> None:
    images, path = noise(10, 6, 6, 3), tmp_path / "bloodmnist.npz"
    column = LABELS[:, None]
    parts = ("train", "val", "test")
    held: dict[str, Any] = {f"{s}_images": images for s in parts}
    held |= {f"{s}_labels": column for s in parts}
    np.savez(path, **held)
    data = load(path)
    assert np.array_equal(data.train.images.numpy(), images.transpose(0, 3, 1, 2))
    assert data.train.labels.tolist() == LABELS.tolist()
    assert (len(data.test), data.name) == (10, "bloodmnist")
    assert "left out: val_images, val_labels" in data.notes


def test_data_sets_of_the_datasets_library() -> None:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    pictures = [Image.fromarray(noise(6, 6, 3) // (i + 1)) for i in range(4)]
    train = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0, 1]}, features)
    test = datasets.Dataset.from_dict({"image": pictures[:2], "label": [1, 0]}, features)
    for data in (load(train, test=test), load(datasets.DatasetDict(train=train, test=test))):
        expected = np.stack([np.asarray(one) for one in pictures]).transpose(0, 3, 1, 2)
        assert np.array_equal(data.train.images.numpy(), expected)
        assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 0, 1], [1, 0])
        assert data.train.class_names == ("cat", "dog")
    with pytest.raises(UsageError, match="has its own test split"):
        load(datasets.DatasetDict(train=train, test=test), test=test)


def test_data_that_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the data set has no name"):
        load("")
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("recipe: dm\n")
    with pytest.raises(UsageError, match=r"is a run folder, not a data set; .*condensery show"):
        load(run)


def test_only_what_is_loaded_by_name_is_what_the_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of another split, or a folder, may bear a name of the catalogue."""
    digits = load("digits")
    assert digits.known_as == "digits"
    held = load(digits.train)
    assert (held.name, held.spec, held.known_as) == ("digits", "digits (in memory)", "")
    for label in ("a", "b"):
        (tmp_path / "mnist" / label).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(noise(8, 8)).save(tmp_path / "mnist" / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    folder = load(Path("mnist"))
    assert (folder.name, folder.spec, folder.known_as) == ("mnist", "./mnist", "")
    assert load("./mnist").spec == "./mnist"


def test_a_class_without_images_is_said_at_once() -> None:
    images = torch.rand(4, 1, 8, 8)
    held = LabelledSet.of(images, torch.tensor([0, 1, 0, 1]), ["a", "b", "c"], "some")
    with pytest.raises(DataError, match="class 'c' has no training images"):
        load(held)


def test_the_numbers_of_a_wide_scale_are_described() -> None:
    """Mean and deviation are found piece by piece: images of two pieces, normalised by channel."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((1500, 2, 4, 4)).astype(np.float32)
    images = (images - images.mean((0, 2, 3), keepdims=True)) / images.std((0, 2, 3), keepdims=True)
    centre, spread = ranges._moments(torch.from_numpy(images) * 3 + 1)
    torch.testing.assert_close(centre, torch.ones(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(spread, torch.full((2,), 3.0).double(), atol=1e-5, rtol=0)
    labels = np.arange(1500) % 2
    (note,) = [n for n in load((images, labels), layout="NCHW").notes if "range from" in n]
    assert "look normalised already" in note
