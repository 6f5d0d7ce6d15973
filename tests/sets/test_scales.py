"""Images of sets from elsewhere on a scale that their format does not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from condensery import DataError, export, select_random
from condensery.data import load
from condensery.sets.foreign import open_foreign


@pytest.mark.parametrize(
    ("scale", "words"),
    [("normalised", "look like normalised images"), ("signed", "look like images from -1 to 1")],
)
def test_another_scale_is_not_taken_for_pixels(tmp_path: Path, scale: str, words: str) -> None:
    data = load("digits")
    chosen = select_random(data, ipc=3)
    pixels = chosen.images * data.train.std[0] + data.train.mean[0]
    images = chosen.images if scale == "normalised" else 2 * pixels - 1
    held = {"labels": chosen.labels.numpy(), "images": images.numpy()}
    np.savez(tmp_path / "set.npz", **held)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=rf"range from -[\d.]+ to [\d.]+ and {words}; say so with --range"
    ):
        open_foreign(tmp_path / "set.npz", data)
    # So does the range, said by the user.
    said = load("digits", value_range="normalised" if scale == "normalised" else (-1, 1))
    (found,) = open_foreign(tmp_path / "set.npz", said)
    torch.testing.assert_close(found.images, chosen.images, rtol=1e-4, atol=1e-5)
    # Mean and std beside them settle it: 0 and 1 for normalised images.
    stated = (0.0, 1.0) if scale == "normalised" else (2 * data.train.mean[0] - 1, 1.0)
    beside = {"mean": np.array(stated[:1]), "std": np.array(stated[1:])}
    np.savez(tmp_path / "set.npz", **held, **beside)  # type: ignore[arg-type]
    (found,) = open_foreign(tmp_path / "set.npz", data)
    torch.testing.assert_close(found.images, images - stated[0])


def test_learned_pixels_may_leave_black_and_white(tmp_path: Path) -> None:
    data = load("digits")
    chosen = select_random(data, ipc=3)
    noise = torch.randn(chosen.images.shape, generator=torch.Generator().manual_seed(0))
    pixels = (chosen.images + 0.5 * noise) * data.train.std[0] + data.train.mean[0]
    assert float(((pixels < -0.02) | (pixels > 1.02)).float().mean()) > 0.1
    np.savez(tmp_path / "set.npz", images=pixels.numpy(), labels=chosen.labels.numpy())
    (found,) = open_foreign(tmp_path / "set.npz", data)
    torch.testing.assert_close(found.images, chosen.images + 0.5 * noise)
    written = export(chosen, "npz", tmp_path / "ours")
    torch.testing.assert_close(open_foreign(written, data)[0].images, chosen.images)


def test_channels_last_of_a_set_are_told_by_the_data(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 4), dtype=np.uint8)
    labels = np.arange(20) % 2
    data = load((images, labels), test=(images, labels))
    np.savez(tmp_path / "set.npz", images=images, labels=labels, mean=[0.0] * 4, std=[1.0] * 4)
    (found,) = open_foreign(tmp_path / "set.npz", data)
    expected = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255))
    torch.testing.assert_close(found.images, expected)


def test_a_pair_of_files_as_mtt_saves_it(tmp_path: Path) -> None:
    data = load("digits")
    chosen = select_random(data, ipc=2)
    torch.save(chosen.images.clone(), tmp_path / "images_best.pt")
    torch.save(chosen.labels.clone(), tmp_path / "labels_best.pt")
    for place in (tmp_path, tmp_path / "images_best.pt"):
        (found,) = open_foreign(place, data)
        torch.testing.assert_close(found.images, chosen.images)
        assert torch.equal(found.labels, chosen.labels)
    torch.save(torch.eye(10)[chosen.labels] * 3 - 1, tmp_path / "labels_best.pt")
    with pytest.warns(UserWarning, match=r"labels_best.pt holds soft labels"):
        (found,) = open_foreign(tmp_path, data)
    assert torch.equal(found.labels, chosen.labels)
    torch.save([1], tmp_path / "labels_best.pt")
    with pytest.raises(DataError, match="must each hold one tensor"):
        open_foreign(tmp_path, data)
