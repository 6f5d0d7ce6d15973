"""The augmentation of larger photographs: each part against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condensery.augment import augment_photos
from condensery.augment.photos import _jitter, crops
from condensery.data import Data
from condensery.runtime.plan import exact_plan
from condensery.training.protocol import Protocol
from condensery.training.trainer import Split, Trainer

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def test_crops_keep_half_the_area_at_least() -> None:
    theta = crops(4000, 96, 96, np.random.default_rng(0), flip=True)
    wide, high = np.abs(theta[:, 0, 0]), theta[:, 1, 1]
    area = wide * high
    assert area.min() > 0.49
    assert area.max() <= 1
    ratio = wide / high
    assert ratio.min() > 0.73
    assert ratio.max() < 1.36
    inside = np.abs(theta[:, :, 2]) + np.stack([wide, high], 1)
    assert inside.max() <= 1 + 1e-9, "no crop leaves the image"
    assert 0.47 < (theta[:, 0, 0] < 0).mean() < 0.53
    assert (crops(200, 32, 32, np.random.default_rng(0), flip=False)[:, 0, 0] > 0).all()


def test_an_image_that_no_crop_fits_is_taken_whole() -> None:
    theta = crops(50, 40, 4, np.random.default_rng(0), flip=False)
    whole = (theta[:, 0, 0] == 1) & (theta[:, 1, 1] == 1)
    assert whole.all(), "no crop of these sides has the ratio"


def slow_jitter(images: Tensor, factors: np.ndarray, light: np.ndarray) -> Tensor:
    """Brightness, contrast, saturation and lighting, image by image."""
    out = []
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype)
    for image, (b, c, s), shift in zip(images, factors, light, strict=True):
        image = image * b
        grey = (image * weights[:, None, None]).sum(0)
        image = grey.mean() + c * (image - grey.mean())
        grey = (image * weights[:, None, None]).sum(0)
        image = grey + s * (image - grey)
        out.append(image + torch.from_numpy(shift)[:, None, None])
    return torch.stack(out)


def test_jitter_is_the_slow_one() -> None:
    torch.manual_seed(0)
    images = torch.rand(5, 3, 6, 6, dtype=torch.float64)
    found = _jitter(images, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    factors = np.stack([rng.uniform(0.6, 1.4, 5) for _ in range(3)], 1)
    vectors = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    light = rng.normal(0, 0.1, (5, 3)) * np.array([0.2175, 0.0188, 0.0045]) @ vectors.T
    torch.testing.assert_close(found, slow_jitter(images, factors, light))
    assert (found - images).abs().mean() > 0.01
    grey = torch.rand(5, 1, 6, 6, dtype=torch.float64)
    assert _jitter(grey, np.random.default_rng(4)).shape == grey.shape


def test_the_whole_is_crop_then_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    images = torch.rand(3, 3, 12, 16, dtype=torch.float64)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    monkeypatch.setattr("condensery.augment.photos._jitter", lambda x, rng: x)
    found = augment_photos((images - mean) / std, np.random.default_rng(1), True, MEAN, STD)
    found = found * std + mean
    theta = crops(3, 12, 16, np.random.default_rng(1), True)
    for image, made, one in zip(images, found, theta, strict=True):
        w, h = round(abs(one[0, 0]) * 16), round(one[1, 1] * 12)
        left = round(((one[0, 2] + 1) * 16 - w) / 2)
        top = round(((one[1, 2] + 1) * 12 - h) / 2)
        piece = image[None, :, top : top + h, left : left + w]
        expected = interpolate(piece, (12, 16), mode="bilinear")[0]
        if one[0, 0] < 0:
            expected = expected.flip(2)
        # Beside a crop's border the image goes on, where the piece ends.
        torch.testing.assert_close(
            made[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], rtol=1e-6, atol=1e-6
        )


def test_networks_train_with_it(tiny_data: Data) -> None:
    one = Protocol(name="x", epochs=1, batch=8, augmentation="photos", cutmix=1.0)
    train = tiny_data.train
    trainer = Trainer(one, exact_plan("cpu", 1), flip=True, seed=0, mean=train.mean, std=train.std)
    linear = torch.nn.Linear(64, 3)
    before = linear.weight.detach().clone()
    trainer.train(torch.nn.Sequential(torch.nn.Flatten(), linear), Split(train), 0)
    assert torch.isfinite(linear.weight).all()
    assert not torch.equal(linear.weight, before)
