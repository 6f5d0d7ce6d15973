"""Labelled sets and what reads from memory: arrays, npz, torch data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset

from condensery.data import DataError, LabelledSet, as_json, describe, load, require_per_class
from condensery.data.classes import hold_out
from condensery.data.labelled import default_net, measure
from condensery.errors import UsageError
from condensery.nets import build
from tests.programs import Program, imported


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def small(n: int = 12, classes: int = 3) -> LabelledSet:
    images = torch.from_numpy(noise(n, 3, 5, 4))
    labels = torch.arange(n).flip(0) % classes
    return LabelledSet.of(images, labels, [f"c{i}" for i in range(classes)], "small")


def test_measured_normalisation_is_that_of_numpy_in_float64() -> None:
    images = torch.from_numpy(noise(50, 3, 7, 6))
    scaled = images.numpy().astype(np.float64) / 255
    mean, std = measure(images)
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)
    floats = torch.from_numpy(scaled * 1000 - 300).float()
    mean, std = measure(floats)
    np.testing.assert_allclose(mean, floats.double().mean(dim=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, floats.numpy().astype(np.float64).std(axis=(0, 2, 3)))


def test_measuring_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.from_numpy(noise(50, 3, 7, 6))
    whole = measure(images), measure(images.float())
    monkeypatch.setattr("condensery.data.labelled._CHUNK", 500)
    pieces = measure(images), measure(images.float())
    assert whole[0] == pieces[0]
    np.testing.assert_allclose(np.array(whole[1]), np.array(pieces[1]), rtol=1e-12)


def test_normalised_follows_the_formula_and_is_undone() -> None:
    held = small()
    rows = torch.tensor([5, 0, 5])
    x = held.normalised(rows, torch.float64)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (held.mean, held.std))
    expected = (held.images[rows].double() / 255 - mean) / std
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(held.unnormalise(x) * 255, held.images[rows].double())
    torch.testing.assert_close(held.normalise(held.unnormalise(x)), x)
    everything = held.normalised(dtype=torch.float64)
    assert everything.mean(dim=(0, 2, 3)).abs().max() < 1e-12
    assert (everything.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-12
    assert held.normalised().dtype == torch.float32
    half = held.normalised(rows, torch.bfloat16)
    assert torch.equal(half, held.normalised(rows).bfloat16())


def test_float_sets_are_normalised_on_their_own_scale_and_stay_untouched() -> None:
    images = torch.randn(9, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 50 + 1000
    held = LabelledSet.of(images, torch.arange(9) % 3, "abc", "spectra")
    before = images.clone()
    x = held.normalised()
    assert x.mean().abs() < 1e-3
    torch.testing.assert_close(held.unnormalise(x), images)
    assert torch.equal(held.images, before)


def test_normalisation_made_under_inference_mode_still_serves_autograd() -> None:
    images = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(3))
    held = LabelledSet.of(images, torch.arange(6) % 2, "ab", "x", mean=(0.123,), std=(0.456,))
    with torch.inference_mode():
        held.normalised()
    x = torch.rand(1, 1, 3, 3, requires_grad=True)
    held.normalise(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1 / 0.456))


def test_index_lists_each_class_in_order() -> None:
    held = small(20, 4)
    for c, rows in enumerate(held.index):
        assert rows.tolist() == [i for i, y in enumerate(held.labels.tolist()) if y == c]
        assert rows.dtype == torch.int64
    assert held.counts == (5, 5, 5, 5)
    assert held.index is held.index
    empty = LabelledSet.of(held.images[:2], torch.tensor([2, 0]), "abcd", "gaps")
    assert empty.counts == (1, 0, 1, 0)


def test_fingerprint_depends_on_content_only() -> None:
    a = small()
    assert a.fingerprint == small().fingerprint
    strided = a.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    again = LabelledSet.of(
        strided, a.labels, a.class_names, "other name", mean=(0,) * 3, std=(1,) * 3
    )
    assert again.fingerprint == a.fingerprint
    assert again.images.is_contiguous()
    changed = a.images.clone()
    changed[0, 0, 0, 0] ^= 1
    others = [
        LabelledSet.of(changed, a.labels, a.class_names, "small"),
        LabelledSet.of(a.images, a.labels.flip(0), a.class_names, "small"),
        LabelledSet.of(a.images, a.labels, ("c0", "c1", "x"), "small"),
        LabelledSet.of(a.images.transpose(2, 3), a.labels, a.class_names, "small"),
    ]
    assert len({a.fingerprint, *(o.fingerprint for o in others)}) == 5


def test_malformed_sets_are_refused() -> None:
    a = small()
    with pytest.raises(DataError, match="N×C×H×W of uint8 or float32"):
        LabelledSet(a.images[0], a.labels, a.class_names, a.mean, a.std, "x", "")
    with pytest.raises(DataError, match="12 int64 numbers"):
        LabelledSet(a.images, a.labels.int(), a.class_names, a.mean, a.std, "x", "")
    with pytest.raises(DataError, match="one number for each of 3 channels"):
        LabelledSet(a.images, a.labels, a.class_names, a.mean, (1.0, 0.0, 1.0), "x", "")
    with pytest.raises(DataError, match=r"0 … 1, got 0 … 2"):
        LabelledSet.of(a.images, a.labels, "ab", "x")


def test_to_the_same_device_is_the_same_set() -> None:
    held = small()
    assert held.to("cpu") is held
    moved = held.to("meta")
    assert moved.images.device.type == "meta"
    assert moved.fingerprint == held.fingerprint


def test_a_budget_beyond_a_class_is_refused_by_name() -> None:
    held = LabelledSet.of(small().images[:5], torch.tensor([0, 0, 1, 0, 0]), ("cat", "dog"), "x")
    require_per_class(held, 1)
    with pytest.raises(
        DataError, match=r"class 'dog' has 1 training image, fewer than the 3 .*noise"
    ):
        require_per_class(held, 3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=6))
def test_the_held_out_fifth_is_stratified(sizes: list[int]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if max(sizes) < 2:
        with pytest.raises(DataError, match="every class has only one image"):
            hold_out(labels, len(sizes))
        return
    train, test = hold_out(labels, len(sizes))
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert list(train) == sorted(train)
    for c, n in enumerate(sizes):
        assert (labels[test] == c).sum() == (0 if n < 2 else max(1, round(n / 5)))


@pytest.mark.xdist_group("forked")
def test_importing_the_data_room_leaves_the_heavy_readers_alone() -> None:
    program = Program(imported)
    said, errors = program.communicate(60)
    assert (program.returncode, said) == (0, "[]\n"), errors


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_gpu_is_not_waited_for(share: float) -> None:
    held = small().to("cuda", share)
    assert held.on_host == (share == 0)
    rows = held.index[1]
    held.normalised(rows)  # the constants are copied once
    torch.cuda.set_sync_debug_mode("error")
    try:
        x = held.normalised(rows)
        held.unnormalise(x)
        x16 = held.normalised(rows, torch.bfloat16)
        labels = held.labels_at(rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu = small().normalised(small().index[1])
    torch.testing.assert_close(x.cpu(), on_cpu)
    assert labels.tolist() == [1] * len(rows)
    assert x16.dtype == torch.bfloat16


def test_digits() -> None:
    from sklearn.datasets import load_digits

    data = load("digits")
    assert (len(data.train), len(data.test), data.train.shape) == (1438, 359, (1, 8, 8))
    assert (data.flip, data.net, data.name, data.published) == (False, "convnet3", "digits", False)
    everything = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    ours = torch.cat([data.train.images, data.test.images]).numpy().reshape(1797, -1)
    order = np.lexsort(ours.T), np.lexsort(everything.reshape(1797, -1).T)
    assert np.array_equal(ours[order[0]], everything.reshape(1797, -1)[order[1]])
    assert load("digits").train.fingerprint == data.train.fingerprint
    assert load("digits", size=16, channels=3).train.shape == (3, 16, 16)
    assert load("digits", flip=True).flip


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((10, 3, 6, 8), (3, 6, 8)),
        ((10, 6, 8), (1, 6, 8)),
        ((10, 6, 8, 3), (3, 6, 8)),
        ((10, 6, 8, 1), (1, 6, 8)),
        ((10, 3, 4, 4), (3, 4, 4)),
        ((10, 2, 6, 8), (2, 6, 8)),
    ],
)
def test_layouts_of_arrays(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    images = noise(*shape)
    data = load((images, np.arange(10) % 2), test=(images[:4], [0, 1, 0, 1]))
    assert data.train.shape == expected
    reference = images[:, None] if images.ndim == 3 else images
    if expected[1:] == shape[1:3] and images.ndim == 4:
        reference = np.stack([reference[..., c] for c in range(shape[-1])], axis=1)
    assert np.array_equal(data.train.images.numpy(), reference)
    assert data.notes == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_float_arrays_become_float32(dtype: Any) -> None:
    images = np.linspace(-5, 5, 10 * 36).reshape(10, 6, 6).astype(dtype)
    for given_images in (images, torch.from_numpy(images)):
        data = load((given_images, np.arange(10) % 2), test=(given_images, np.arange(10) % 2))
        assert data.train.images.dtype == torch.float32
        assert np.array_equal(data.train.images[:, 0].numpy(), images.astype(np.float32))


def test_a_set_keeps_what_it_was_given_when_the_array_changes() -> None:
    images = noise(10, 6, 6)
    for source in (images, torch.from_numpy(images)):
        data = load((source, np.arange(10) % 2), test=(source, np.arange(10) % 2))
        before = data.train.images.clone()
        images += 1
        assert torch.equal(data.train.images, before)


def test_arrays_are_resized_and_converted() -> None:
    grey = np.full((10, 12, 16), 77, np.uint8)
    data = load((grey, np.arange(10) % 2), size=8, channels=3)
    assert data.train.shape == (3, 8, 8)
    assert (data.train.images == 77).all()
    ramp = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (10, 32, 1))
    data = load((ramp, np.arange(10) % 2), size=8)
    row = data.train.images[0, 0, 4]
    torch.testing.assert_close(row[1:-1], F.avg_pool1d(torch.from_numpy(ramp[:1, 0]), 4)[0, 1:-1])
    colours = noise(10, 3, 4, 4)
    luma = load((colours, np.arange(10) % 2), channels=1, test=(colours, np.arange(10) % 2))
    with_pil = np.array(Image.fromarray(colours[0].transpose(1, 2, 0)).convert("L"))
    assert np.abs(luma.train.images[0, 0].numpy().astype(int) - with_pil).max() <= 1
    with pytest.raises(DataError, match="2 channels cannot become 3"):
        load((noise(10, 2, 4, 4), np.arange(10) % 2), channels=3)


def test_labels_of_any_kind() -> None:
    images = noise(6, 4, 4)
    words = load((images, ["dog", "cat", "dog", "cat", "dog", "cat"]))
    assert words.train.class_names == ("cat", "dog")
    gaps = load((images, [7, 3, 7, 3, 9, 9]), test=(images[:2], [9, 3]))
    assert gaps.train.class_names == ("3", "7", "9")
    assert gaps.train.labels.tolist() == [1, 0, 1, 0, 2, 2]
    assert gaps.test.labels.tolist() == [2, 0]
    assert "labels 3 … 9 were numbered 0 … 2" in gaps.notes
    assert "the test split has no images of '7'" in gaps.notes
    column = load((images, np.array([[0], [1]] * 3)), test=(images, torch.tensor([0, 1] * 3)))
    assert column.train.labels.tolist() == [0, 1] * 3


def nan_at(row: int) -> Any:
    images = np.zeros((6, 4, 4), np.float32)
    images[row, 1, 1] = np.nan
    return images


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ((noise(6, 4, 4), [0, 1] * 2), None, "6 images but 4 labels"),
        ((noise(6, 4, 4), [0] * 6), None, "only one class, '0'"),
        ((noise(0, 4, 4), np.zeros(0, int)), None, "has no images"),
        ((nan_at(4), [0, 1] * 3), None, "training image 4 holds NaN"),
        ((noise(6, 4, 4), [0, 1] * 3), (nan_at(2)[:4], [0, 1] * 2), "test image 2 holds NaN"),
        ((np.full((6, 4, 4), 1e300), [0, 1] * 3), None, "image 0 holds NaN or an infinite"),
        ((noise(6, 4, 4).astype(np.int64), [0, 1] * 3), None, "of type int64; uint8"),
        ((torch.zeros(6, 4, 4, dtype=torch.int16), [0, 1] * 3), None, r"torch.int16; uint8"),
        ((np.array([object()] * 6), [0, 1] * 3), None, "of type object"),
        ((noise(6, 4), [0, 1] * 3), None, r"shape \(6, 4\)"),
        ((noise(6, 4, 4), np.eye(2)[[0, 1] * 3]), None, "one-hot"),
        ((noise(6, 4, 4), [0.5, 1] * 3), None, "of type float64; whole numbers"),
        ((noise(6, 4, 4), [0, 1] * 3), (noise(2, 4, 4), [0, 5]), "class '5' has test images"),
        ((noise(6, 4, 4), [0, 1] * 3), (noise(2, 4, 4), ["a", "b"]), "both be numbers or both"),
        ((noise(6, 4, 4), [0, 1] * 3), (noise(2, 5, 5), [0, 1]), "make them match"),
        ((noise(6, 4, 4),), None, "a pair"),
    ],
)
def test_arrays_that_are_refused(train: Any, test: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(train, test=test)


def test_the_test_split_cannot_reach_the_training_split() -> None:
    images, labels = noise(40, 3, 6, 6), np.arange(40) % 4
    honest = load((images, labels), test=(noise(8, 3, 6, 6, seed=1), np.arange(8) % 4))
    poisoned = load((images, labels), test=(np.full((5, 3, 6, 6), 255, np.uint8), [0] * 5))
    assert honest.train.fingerprint == poisoned.train.fingerprint
    assert (honest.train.mean, honest.train.std) == (poisoned.train.mean, poisoned.train.std)
    assert poisoned.test.mean == poisoned.train.mean
    # And where the split is drawn, the pixels of the images set aside do not matter.
    drawn = load((images, labels))
    held = {drawn.test.images[i].numpy().tobytes() for i in range(len(drawn.test))}
    spoilt = images.copy()
    spoilt[[i for i in range(40) if images[i].tobytes() in held]] = 0
    again = load((spoilt, labels))
    assert again.train.fingerprint == drawn.train.fingerprint
    assert again.train.mean == drawn.train.mean
    assert int(again.test.images.max()) == 0


def test_a_constant_channel_gets_std_1_and_a_note() -> None:
    for images in (np.full((10, 4, 4), 9, np.uint8), np.full((10, 4, 4), 0.1, np.float32)):
        data = load((images, np.arange(10) % 2))
        assert data.train.std == (1.0,)
        assert any("channel 0 is constant" in n for n in data.notes)
        assert data.train.normalised().isfinite().all()


def test_npz_of_both_spellings(tmp_path: Path) -> None:
    images, labels = noise(10, 6, 6, 3), np.arange(10) % 2
    np.savez(tmp_path / "own.npz", images=images, labels=labels, class_names=["cat", "dog"])
    own = load(tmp_path / "own.npz")
    assert (own.name, own.train.class_names, own.train.shape) == ("own", ("cat", "dog"), (3, 6, 6))
    assert (len(own.train), len(own.test)) == (8, 2)
    assert (
        "no test split was given: a fifth of every class, 2 images in all, was set aside"
        in own.notes
    )
    np.savez(
        tmp_path / "k.npz", x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4]
    )
    keras = load(str(tmp_path / "k.npz"))
    assert (len(keras.train), len(keras.test)) == (10, 4)
    np.savez(
        tmp_path / "t.npz", images=images, labels=labels, images_test=images, labels_test=labels
    )
    assert len(load(tmp_path / "t.npz", size=4).test) == 10


def test_npz_that_is_refused(tmp_path: Path) -> None:
    images, labels = noise(10, 6, 6), np.arange(10) % 2
    file = tmp_path / "x.npz"
    np.savez(file, pixels=images)
    with pytest.raises(DataError, match=r"'x.npz' holds pixels; images and labels"):
        load(file)
    np.savez(file, images=images, labels=np.array([{"run": "code"}] * 10, dtype=object))
    with pytest.raises(DataError, match=r"cannot be read: it is .* or holds objects"):
        load(file)
    np.savez(file, images=images, labels=labels, images_test=images)
    with pytest.raises(DataError, match="one of images_test and labels_test"):
        load(file)
    np.savez(file, images=images, labels=labels + 1, class_names=["a", "b"])
    with pytest.raises(DataError, match=r"label 2 of training image 1 is outside 0 … 1"):
        load(file)
    file.write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be read"):
        load(file)


class Items(Dataset[Any]):
    """A map-style data set that counts how often it is read."""

    def __init__(
        self, images: list[Any], labels: list[Any], classes: list[str] | None = None
    ) -> None:
        self.images, self.labels, self.reads = images, labels, 0
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        self.reads += 1
        return self.images[i], self.labels[i]


def test_torch_datasets_are_read_once() -> None:
    arrays = [noise(6, 6, seed=i) for i in range(10)]
    labels = [i % 2 for i in range(10)]
    source = Items([torch.from_numpy(a)[None].float() / 255 for a in arrays], labels, ["no", "yes"])
    data = load(source, test=Items([torch.zeros(1, 6, 6)], [1]))
    assert source.reads == 10
    assert data.train.class_names == ("no", "yes")
    assert data.train.images.dtype == torch.float32
    torch.testing.assert_close(data.train.images[3, 0] * 255, torch.from_numpy(arrays[3]).float())
    pictures = Items([Image.fromarray(a) for a in arrays], [torch.tensor(y) for y in labels])
    data = load(pictures)
    assert pictures.reads == 10
    assert (len(data.train), len(data.test), data.train.shape) == (8, 2, (1, 6, 6))
    assert load(pictures, size=4).train.shape == (1, 4, 4)


def test_torch_datasets_that_are_refused() -> None:
    zeros = torch.zeros(1, 4, 4)
    with pytest.raises(DataError, match="training image 1 differs from the first"):
        load(Items([zeros, torch.zeros(1, 5, 4)], [0, 1]))
    with pytest.raises(DataError, match="training image 0 is a str"):
        load(Items(["file.png"], [0]))
    with pytest.raises(DataError, match="has no length"):
        load(Items([], []))
    with pytest.raises(DataError, match="must be a torch Dataset"):
        load(Items([zeros] * 4, [0, 1, 0, 1]), test=(zeros, [0]))


def test_labelled_sets_go_in_as_they_are() -> None:
    train, test = small(12), small(6)
    data = load(train, test=test)
    assert data.train is train
    assert data.test.mean == train.mean
    drawn = load(train)
    assert (len(drawn.train), len(drawn.test)) == (9, 3)
    assert drawn.train.mean == measure(drawn.train.images)[0] != train.mean
    with pytest.raises(DataError, match="make shapes and class names match"):
        load(train, test=small(6, 2))
    with pytest.raises(UsageError, match="this LabelledSet is 3×5×4"):
        load(train, size=5)


def test_loaded_data_are_returned_as_they_are() -> None:
    data = load("digits")
    assert load(data) is data
    assert load(data, size=8, channels=1) is data
    assert load(data, flip=True).flip
    with pytest.raises(UsageError, match="loaded as 1×8×8"):
        load(data, size=16)
    with pytest.raises(UsageError, match="at least 4 pixels"):
        load("digits", size=2)
    with pytest.raises(UsageError, match="channels must be 1 or 3"):
        load("digits", channels=2)


def test_the_default_network_follows_the_longer_side() -> None:
    sides = (8, 32, 33, 64, 65, 128, 129)
    nets = [default_net(64, s) for s in sides]
    assert nets == ["convnet3"] + ["convnet4"] * 3 + ["convnet5"] * 2 + ["resnetap10"]


def test_the_default_network_is_no_deeper_than_the_shorter_side() -> None:
    nets = [default_net(side, 32) for side in (1, 2, 4, 7, 8, 32)]
    assert nets == ["convnet1", "convnet1", "convnet2", "convnet2", "convnet3", "convnet3"]
    assert [default_net(side, 200) for side in (1, 16, 31, 32)] == [
        "convnet1",
        "convnet4",
        "convnet4",
        "resnetap10",
    ]
    for shape in [(3, 32, 129), (3, 31, 129), (1, 2, 200), (3, 129, 129)]:
        with torch.device("meta"):
            build(default_net(*shape[1:]), shape, 10)


def test_describe_and_json_say_the_same() -> None:
    data = load("digits")
    facts = json.loads(json.dumps(as_json(data)))
    assert facts["train"]["images"] == sum(facts["train"]["counts"]) == 1438
    assert facts["train"]["fingerprint"] == data.train.fingerprint
    assert facts["mean"] == list(data.train.mean)
    assert (facts["normalisation"], facts["flip"], facts["bytes"]) == ("measured", False, 1438 * 64)
    text = "\n".join(describe(data))
    for part in (
        "1438 images, 139 to 146 per class",
        "8×8 pixels, grey, uint8",
        "convnet3",
        "flip: no",
    ):
        assert part in text
    assert (
        f"mean {data.train.mean[0]:.4f}, std {data.train.std[0]:.4f} (measured on training)" in text
    )
    assert data.source_bytes == 1438 * 64
