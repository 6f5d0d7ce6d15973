"""ZCA whitening against its definition, and sets that are made and tested under it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from condensery import CondensedSet, DataError, UsageError, evaluate, load, select_random
from condensery.cli.main import main
from condensery.runtime.plan import exact_plan
from tests.conftest import tiny

EXACT = exact_plan("cpu", 1)


def test_whitened_images_are_those_of_the_definition() -> None:
    data = tiny((60, 50, 70), side=4)
    white = load(data, zca=True)
    assert white.zca
    assert not white.published
    assert white.train.images.dtype == torch.float32
    plain = data.train.images.flatten(1).numpy() / 255.0
    mean, covariance = plain.mean(0), np.cov(plain.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    turn = vectors @ np.diag((values + 0.1 * values.mean()) ** -0.5) @ vectors.T
    for split, images in ((white.train, data.train.images), (white.test, data.test.images)):
        expected = (images.flatten(1).numpy() / 255.0 - mean) @ turn
        np.testing.assert_allclose(split.images.flatten(1).numpy(), expected, atol=1e-5)
        assert (split.mean, split.std) == (white.train.mean, white.train.std)
    found = np.cov(white.train.images.flatten(1).numpy().T, bias=True)
    away = found - np.diag(np.diag(found))
    assert np.abs(away).max() < np.abs(covariance - np.diag(np.diag(covariance))).max() * 10
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvalsh(found)),
        np.sort(values / (values + 0.1 * values.mean())),
        atol=1e-4,
    )
    assert load(white, zca=True) is white


def test_the_test_split_does_not_decide() -> None:
    data = tiny()
    train = data.train
    other = load(
        (train.images, train.labels), test=(train.images[:3] * 0, train.labels[:3]), zca=True
    )
    assert torch.equal(other.train.images, load(data, zca=True).train.images)


def test_large_images_are_refused() -> None:
    images = np.zeros((4, 1, 128, 128), np.uint8)
    images[::2] = 200
    with pytest.raises(UsageError, match="smaller --size"):
        load((images, np.array([0, 1, 0, 1])), zca=True)


def test_sets_remember_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    small = ["--ipc", "1", "--iterations", "2", "--plan", "exact", "--real-batch", "4"]
    net = ["--supply.net", "convnet1:width=4"]
    assert main(["condense", "--zca", *small, *net, "--out", run]) == 0
    assert "whitened (ZCA)" in capsys.readouterr().out
    assert CondensedSet.load(run).about.config["zca"] is True
    how = ["--net", "convnet1:width=4", "--nets", "1", "--epochs", "2", "--plan", "exact"]
    assert main(["evaluate", run, *how]) == 0
    again = ["condense", "--config", run, "--plan", "exact", "--out", str(tmp_path / "again")]
    assert main(again) == 0
    files = [(Path(r) / "condensed.safetensors").read_bytes() for r in (run, tmp_path / "again")]
    assert files[0] == files[1]
    assert main(["select", "random", "--zca", "--ipc", "1", "--out", str(tmp_path / "random")]) == 0
    assert main(["evaluate", run, str(tmp_path / "random"), *how]) == 0
    plain = tmp_path / "plain"
    assert main(["select", "random", "--ipc", "1", "--out", str(plain)]) == 0
    assert main(["evaluate", str(plain), run, *how]) == 1
    assert "evaluate with the flags it was made with" in capsys.readouterr().err


def test_a_mixture_is_refused_in_python() -> None:
    data = tiny()
    white = load(data, zca=True)
    plain = select_random(data, ipc=1)
    with pytest.raises(DataError, match="are whitened here"):
        evaluate(plain, white, network="convnet1:width=4", repeats=1, epochs=1, plan=EXACT)
    with pytest.raises(DataError, match="are not whitened here"):
        evaluate(select_random(white, ipc=1), data, network="mlp", repeats=1, epochs=1, plan=EXACT)
