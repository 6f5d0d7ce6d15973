"""Sound from spectrograms, and sample rates from the flag to the file."""

from __future__ import annotations

import io
import json
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy import signal
from scipy.io import wavfile

from condensery.cli.main import main
from condensery.condensation.api import condense
from condensery.data import load
from condensery.data.spectrograms import magnitudes, one_second, spectrogram
from condensery.errors import DataError, UsageError
from condensery.evaluation.api import evaluate
from condensery.selection import select_random
from condensery.sets.condensed import CondensedSet
from condensery.sets.export import export
from condensery.sets.sound import griffin_lim, samples_of, transform
from tests.data.test_recordings import spoken

NET = {"supply.net": "convnet1:width=8"}


def chirp(rate: int) -> Any:
    """A tone that rises and fades, and silence after it."""
    time = np.arange(rate) / rate
    x = 0.5 * np.sin(2 * np.pi * (0.03 * rate * time + 0.1 * rate * time**2)) * np.exp(-3 * time)
    x[int(0.8 * rate) :] = 0
    return x


def seen(x: Any, size: int = 64) -> Any:
    """The magnitudes of an image, by scipy's transform and explicit means of 2×2 (size 64)."""
    window = torch.hann_window(255, dtype=torch.float64).numpy()
    n = -(-len(x) // 128)
    padded = np.concatenate([x, np.zeros(128 * (n - 1) + 255 - len(x))])
    _, _, found = signal.stft(padded, window=window, nperseg=255, noverlap=127, boundary=None,
                              padded=False)  # fmt: skip
    held = np.zeros((128, 128))
    held[:, :n] = np.abs(found[:, :n]) * window.sum()
    return held.reshape(size, 128 // size, size, 128 // size).mean((1, 3))


def error(given: Any, image: Any) -> float:
    """Spectral convergence: the distance of magnitudes over their length."""
    wanted = np.exp(image.double().numpy()[0]) - 1e-3
    return float(np.linalg.norm(seen(given) - wanted) / np.linalg.norm(wanted))


# The algorithm ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16000, 11025])
def test_the_transform_is_that_of_the_images_and_is_undone(rate: int) -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, rate)))
    spectrum = transform(x)
    for one, row in zip(x, spectrum, strict=True):
        assert np.allclose(row.abs().numpy(), magnitudes(one.numpy()), atol=1e-10)
    # The first samples lie where the window is next to nothing.
    assert torch.allclose(samples_of(spectrum, rate)[:, 40:], x[:, 40:], atol=1e-9)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_the_sound_has_the_spectrogram_that_was_given(rate: int) -> None:
    images = torch.from_numpy(spectrogram(chirp(rate), 64))[None, None]
    (x,) = griffin_lim(images, rate).numpy()
    assert x.shape == (rate,)
    assert error(x, images[0]) < 0.01
    (unlearned,) = griffin_lim(images, rate, iterations=1).numpy()
    assert error(unlearned, images[0]) > 0.1  # random phases alone are not enough


@pytest.mark.parametrize("size", [32, 48, 128])
def test_other_sizes_of_images(size: int) -> None:
    images = torch.from_numpy(spectrogram(chirp(8000), size))[None, None]
    (x,) = griffin_lim(images, 8000, iterations=60).numpy()
    again = np.exp(spectrogram(x, size)) - 1e-3
    wanted = images[0, 0].exp().numpy() - 1e-3
    assert np.linalg.norm(again - wanted) < 0.03 * np.linalg.norm(wanted)


def test_the_same_seed_gives_the_same_sound() -> None:
    image = torch.from_numpy(spectrogram(chirp(8000), 64))[None, None]
    images = image.repeat(2, 1, 1, 1)
    x = griffin_lim(images, 8000, seed=3, iterations=2)
    assert torch.equal(x, griffin_lim(images, 8000, seed=3, iterations=2))
    assert not torch.equal(x[0], x[1])
    assert not torch.equal(x, griffin_lim(images, 8000, seed=4, iterations=2))
    # An image's sound does not depend on those after it.
    assert torch.allclose(x[:1], griffin_lim(image, 8000, seed=3, iterations=2))


def test_silence_and_wild_numbers_stay_finite() -> None:
    silence = torch.full((1, 1, 64, 64), float(np.log(1e-3)))
    assert float(griffin_lim(silence, 8000, iterations=3).abs().max()) < 1e-6
    wild = torch.from_numpy(np.random.default_rng(0).normal(0, 300, (1, 1, 64, 64)))
    assert bool(griffin_lim(wild, 8000, iterations=3).isfinite().all())


def test_real_recordings(real_data: Path) -> None:
    import pyarrow.parquet as pq

    if not (real_data / "fsdd").is_dir():
        pytest.skip("there is no fsdd in CONDENSERY_DATA")
    (path,) = (real_data / "fsdd").glob("test-*.parquet")
    rows = pq.read_table(path).to_pylist()
    images = []
    for n in range(4):
        with wave.open(io.BytesIO(rows[n]["audio"]["bytes"])) as file:
            x = np.frombuffer(file.readframes(8000), "<i2") / 32768
        images.append(torch.from_numpy(spectrogram(one_second(x, 8000, 8000), 64))[None])
    for image, x in zip(images, griffin_lim(torch.stack(images), 8000).numpy(), strict=True):
        assert error(x, image) < 0.02  # of 300 test recordings the worst 40 have up to .0075


# Files --------------------------------------------------------------------------------------------


def test_a_set_becomes_class_folders_of_sound(tmp_path: Path) -> None:
    condensed = select_random(spoken(tmp_path / "words", rate=8000), ipc=2)
    folder = export(condensed, "wav", tmp_path / "sound", iterations=30)
    assert sorted(p.name for p in folder.iterdir()) == ["no", "yes"]
    own = condensed.pixels()
    for number, (name, k) in enumerate((c, k) for c in ("no", "yes") for k in range(2)):
        rate, x = wavfile.read(folder / name / f"{k:05d}.wav")
        assert (rate, x.dtype, len(x)) == (8000, np.int16, 8000)
        wanted, found = np.exp(own[number, 0].double().numpy()) - 1e-3, seen(x / 32767)
        if np.abs(x).max() == 32767:  # made less loud
            found *= (found * wanted).sum() / (found**2).sum()
        assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)
    # The folder is a data set again.
    assert load(folder).train.class_names == ("no", "yes")
    first = (folder / "no" / "00000.wav").read_bytes()
    again = export(condensed, "wav", tmp_path / "again", iterations=30)
    assert (again / "no" / "00000.wav").read_bytes() == first


def test_what_is_too_loud_is_made_less_loud(tmp_path: Path) -> None:
    condensed = select_random(spoken(tmp_path / "words", rate=8000), ipc=1)
    louder = CondensedSet(condensed.stored + 2, condensed.about)
    folder = export(louder, "wav", tmp_path / "sound", iterations=5)
    _, x = wavfile.read(folder / "no" / "00000.wav")
    assert np.abs(x).max() == 32767
    assert (np.abs(x) == 32767).sum() < 3  # scaled, not clipped


def test_pictures_have_no_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = select_random("digits", ipc=1)
    with pytest.raises(UsageError, match="this set holds pictures; use another --to"):
        export(pictures, "wav", tmp_path / "sound")
    for rate in (3, 10**9, True, "8000"):
        config = {**pictures.about.config, "sample_rate": rate}
        odd = CondensedSet(pictures.stored, replace(pictures.about, config=config))
        with pytest.raises(UsageError, match="this set holds pictures"):
            export(odd, "wav", tmp_path / "sound")
    with pytest.raises(UsageError, match="need --to wav"):
        export(pictures, "npz", tmp_path / "set", iterations=3)
    words = select_random(spoken(tmp_path / "words"), ipc=1)
    with pytest.raises(UsageError, match="--iterations must be at least 1"):
        export(words, "wav", tmp_path / "sound", iterations=0)
    assert not (tmp_path / "sound").exists()
    assert main(["data", "digits", "--sample-rate", "8000"]) == 2
    assert "'digits' holds images; leave --sample-rate" in capsys.readouterr().err


# Sample rates -------------------------------------------------------------------------------------


def test_the_rate_goes_from_the_flag_to_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = str(spoken(tmp_path / "words"))
    run, table = str(tmp_path / "run"), tmp_path / "table.json"
    flags = ["--data", words, "--sample-rate", "8000"]
    small = ["--ipc", "1", "--iterations", "1", "--supply.net", "convnet1:width=8"]
    command = ["condense", *flags, *small, "--plan", "exact", "--threads", "1", "--out", run]
    assert main(command) == 0
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["sample_rate"] == 8000
    assert CondensedSet.load(run).about.config["sample_rate"] == 8000
    assert main(command) == 0
    assert "is finished" in capsys.readouterr().out
    assert main([a for a in command if a not in ("--sample-rate", "8000")]) == 2
    assert "sample_rate there: 8000" in capsys.readouterr().err
    again = ["condense", "--config", run, "--plan", "exact", "--threads", "1", "--quiet"]
    assert main([*again, "--out", str(tmp_path / "again")]) == 0
    same = [(Path(p) / "condensed.safetensors").read_bytes() for p in (run, tmp_path / "again")]
    assert same[0] == same[1]
    picked = ["select", "random", *flags, "--ipc", "1", "--out", str(tmp_path / "picked")]
    assert main(picked) == 0
    how = ["--nets", "1", "--epochs", "1", "--net", "convnet1:width=8", "--plan", "exact"]
    sets = [run, str(tmp_path / "picked")]
    assert main(["evaluate", *sets, *how, "--json", str(table)]) == 0
    assert len(json.loads(table.read_text())["results"]) == 2
    capsys.readouterr()
    assert main(["evaluate", run, *how, "--sample-rate", "16000"]) == 1
    assert "evaluate with --sample-rate 8000" in capsys.readouterr().err
    assert main(["evaluate", run, *how, "--data", "digits"]) == 1
    assert "was made from recordings, and digits holds images" in capsys.readouterr().err
    assert main(["data", words, "--sample-rate", "8000"]) == 0
    assert "8000 samples per second" in capsys.readouterr().out
    assert main(["data", words, "--sample-rate", "800000"]) == 2
    assert main(["condense", "--data", "digits", "--sample-rate", "8000"]) == 2


def test_a_rate_that_was_found_is_kept(tmp_path: Path) -> None:
    words = spoken(tmp_path / "words", rate=44100)
    made = condense(words, ipc=1, iterations=0, plan="exact", overrides=NET)
    assert made.about.config["sample_rate"] == 16000
    other = condense(words, ipc=1, iterations=0, sample_rate=8000, plan="exact", overrides=NET)
    assert other.about.config["sample_rate"] == 8000
    with pytest.raises(DataError, match="recordings of 8000 samples per second"):
        evaluate(other, load(words))
    with pytest.raises(UsageError, match="sample_rate 8000 is requested"):
        condense(words, iterations=0, overrides={"sample_rate": 8000})
    pictures = condense("digits", ipc=1, iterations=0, plan="exact", overrides=NET)
    assert pictures.about.config["sample_rate"] is None
