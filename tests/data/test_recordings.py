"""Recordings: WAV and FLAC files, parquet, the hub, and the spectrograms made of them."""

from __future__ import annotations

import io
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import signal
from scipy.io import wavfile

from condensery.config.schema import Choice
from condensery.data import DataError, as_json, cache_folder, describe, load
from condensery.data.images import UnreadableError
from condensery.data.sound import samples
from condensery.data.spectrograms import frames, magnitudes, one_second, spectrogram
from condensery.errors import UsageError
from condensery.sets.about import About, Source
from condensery.sets.condensed import CondensedSet
from condensery.sets.export import export
from condensery.sets.picture import picture

Floats = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _own_data(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("CONDENSERY_DATA", raising=False)


def tone(hertz: float, rate: int = 16000, seconds: float = 1.0) -> Floats:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def wav(x: NDArray[Any], rate: int = 16000) -> bytes:
    """A WAV file of the type of the array; float64 becomes 16-bit PCM."""
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, np.rint(x * 32767).astype(np.int16) if x.dtype == float else x)
    return buffer.getvalue()


def by_hand(
    tag: int, bits: int, data: bytes, *, rate: int = 16000, extensible: bool = False
) -> bytes:
    """A one-channel WAV file, chunk by chunk."""
    width = bits // 8
    said = 0xFFFE if extensible else tag
    fmt = struct.pack("<HHIIHH", said, 1, rate, rate * width, width, bits)
    if extensible:
        guid = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x008\x9bq"
        fmt += struct.pack("<HHIH", 22, bits, 4, tag) + guid
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"LIST" + struct.pack("<I", 4) + b"INFO"
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def spoken(
    root: Path,
    *,
    classes: tuple[str, ...] = ("no", "yes"),
    n: int = 8,
    rate: int = 16000,
    seconds: float = 1.0,
) -> Path:
    """Class folders of tones."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(n):
            x = tone(300 + 700 * c + 20 * i, rate, seconds)
            (root / name / f"{i}.wav").write_bytes(wav(x, rate))
    return root


def table(rows: list[bytes | None], labels: list[int], names: list[str] | None = None) -> Any:
    import datasets
    import pyarrow as pa

    label = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    features = datasets.Features({"audio": datasets.Audio(decode=False), "label": label})
    held = {"audio": [{"bytes": raw, "path": None} for raw in rows], "label": labels}
    # Not from_dict, which encodes recordings and needs torchcodec for it.
    return datasets.Dataset(pa.Table.from_pydict(held, schema=features.arrow_schema))


# One recording ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("extensible", [False, True])
def test_integers_of_every_width(bits: int, extensible: bool) -> None:
    steps = np.array([-(2 ** (bits - 1)), -1, 0, 1, 2 ** (bits - 2), 2 ** (bits - 1) - 1])
    if bits == 8:  # the only width without signs
        data = (steps + 128).astype(np.uint8).tobytes()
    else:
        data = b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in steps)
    x, rate = samples(by_hand(1, bits, data, extensible=extensible), "x")
    assert rate == 16000
    assert np.array_equal(x, steps / 2 ** (bits - 1))


@pytest.mark.parametrize("bits", [32, 64])
def test_floats_keep_their_scale(bits: int) -> None:
    values = np.array([-1.0, 0.25, 1.5], dtype=f"<f{bits // 8}")
    x, _ = samples(by_hand(3, bits, values.tobytes()), "x")
    assert np.array_equal(x, values)


def test_the_standard_library_agrees(tmp_path: Path) -> None:
    left, right = (np.rint(tone(h) * 2**22).astype("<i4") for h in (440, 600))
    both = np.stack([left, right], axis=1)
    three_bytes = both.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(22050)
        file.writeframes(three_bytes)
    x, rate = samples(tmp_path / "x.wav", "x")
    assert rate == 22050
    assert np.allclose(x, both.mean(axis=1) / 2**23, atol=1e-12)


def test_an_unknown_length_is_read_to_the_end() -> None:
    raw = bytearray(wav(tone(440)))
    raw[4:8] = struct.pack("<I", 0xFFFFFFFF)  # as programs declare that write to a pipe
    assert len(samples(bytes(raw), "x")[0]) == 16000


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"not a recording at all", "no recording"),
        (b"RIFF", "torn"),
        (wav(tone(440))[:-100], "torn"),
        (b"RIFF\x04\x00\x00\x00WAVE", "damaged"),
        (b"RIFF\x0c\x00\x00\x00WAVEdata\x00\x00\x00\x00", "damaged"),
        (wav(np.zeros(0)), "no samples"),
        (by_hand(1, 16, b"\x00\x00" * 9, rate=0), "0 samples per second"),
        (by_hand(1, 16, b"\x00\x00" * 9, rate=10**9), "1000000000 samples per second"),
        (wav(np.array([0.0, np.nan], dtype=np.float32)), "NaN"),
    ],
)
def test_what_cannot_be_read_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(UnreadableError, match=why):
        samples(raw, "x")


def test_damaged_headers_end_in_a_refusal() -> None:
    good = wav(tone(440, seconds=0.01))
    rng = np.random.default_rng(0)
    for _ in range(300):
        raw = bytearray(good)
        for at in rng.integers(0, 44, 3):
            raw[at] = rng.integers(256)
        try:
            x, _ = samples(bytes(raw), "x")
        except (UnreadableError, DataError):
            continue
        assert np.isfinite(x).all()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"fLaC\x00\x00\x00\x22", "FLAC"),
        (b"OggS\x00\x02", "Ogg"),
        (b"ID3\x04\x00", "MP3"),
        (b"\x00\x00\x00\x20ftypM4A ", "MP4"),
        (by_hand(7, 8, b"\x00" * 90), "a WAV file of codec mu-law"),
        (by_hand(0x11, 8, b"\x00" * 90), "a WAV file of codec IMA ADPCM"),
        (by_hand(0x161, 16, b"\x00" * 90), "a WAV file of codec 0x0161"),
    ],
)
def test_without_the_library_the_remedy_is_named(
    raw: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError) as caught:
        samples(raw, "no/1.flac")
    assert str(caught.value) == (
        f"'no/1.flac' is {kind}, which needs the soundfile library: pip install soundfile, or "
        "convert the recordings to 16-bit PCM WAV"
    )


def test_flac_and_odd_codecs_through_the_library() -> None:
    soundfile = pytest.importorskip("soundfile")
    x = tone(440)
    for kind, subtype, within in (("FLAC", "PCM_16", 2**-15), ("WAV", "ULAW", 0.02)):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.stack([x, x], axis=1), 16000, format=kind, subtype=subtype)
        read, rate = samples(buffer.getvalue(), "x")
        assert rate == 16000
        assert np.abs(read - x).max() <= within
    with pytest.raises(UnreadableError, match="damaged"):
        samples(b"fLaC\x00\x00\x00\x22torn", "x")
    with pytest.raises(DataError, match="'x' is a WAV file of codec 0x0161, which cannot be dec"):
        samples(by_hand(0x161, 16, b"\x00" * 90), "x")


# Its spectrogram --------------------------------------------------------------------------------


def test_magnitudes_are_those_of_an_explicit_transform() -> None:
    x = np.random.default_rng(0).normal(size=16000)
    found = magnitudes(x)
    assert found.shape == (128, 125)
    n = np.arange(255)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 255)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(128), n) / 255)
    padded = np.concatenate([x, np.zeros(255)])
    for t in (0, 1, 77, 123, 124):  # the last ones reach beyond the second
        expected = np.abs(turns @ (window * padded[128 * t : 128 * t + 255]))
        assert np.allclose(found[:, t], expected, atol=1e-9)


@pytest.mark.parametrize(("rate", "columns"), [(16000, 125), (8000, 63), (16384, 128), (11025, 87)])
def test_magnitudes_are_those_of_scipy(rate: int, columns: int) -> None:
    x = np.random.default_rng(1).normal(size=rate)
    whole = np.pad(x, (0, 128 * (columns - 1) + 255 - rate))
    _, _, expected = signal.stft(
        whole, window="hann", nperseg=255, noverlap=127, boundary=None, padded=False
    )
    scale = signal.get_window("hann", 255).sum()  # scipy divides by it
    assert frames(rate) == columns
    assert np.allclose(magnitudes(x), np.abs(expected) * scale, atol=1e-9)


def test_the_image_is_the_log_of_means_of_four() -> None:
    x = tone(1000) + 0.1 * np.random.default_rng(2).normal(size=16000)
    padded = np.zeros((128, 128))
    padded[:, :125] = magnitudes(x)
    # Half the size, bilinearly between pixel centres, is the mean of 2×2.
    expected = np.log(padded.reshape(64, 2, 64, 2).mean(axis=(1, 3)) + 1e-3)
    image = spectrogram(x, 64)
    assert image.dtype == np.float32
    assert np.allclose(image, expected, atol=1e-6)
    assert np.allclose(image[:, 63], np.log(1e-3))
    assert (image[:, :62].argmax(axis=0) == round(1000 / 16000 * 255) // 2).all()


def test_silence_is_flat() -> None:
    assert np.allclose(spectrogram(np.zeros(16000), 64), np.log(1e-3))


def test_lengths_are_cut_and_padded_at_the_end() -> None:
    x = np.arange(1.0, 20001)
    assert np.array_equal(one_second(x, 16000, 16000), x[:16000])
    short = one_second(x[:5], 16000, 16000)
    assert len(short) == 16000
    assert np.array_equal(short[:5], x[:5])
    assert not short[5:].any()


@pytest.mark.parametrize("native", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone(native: int) -> None:
    x = one_second(tone(1000, native, 1.5), native, 16000)
    assert len(x) == 16000
    assert np.abs(x - tone(1000))[200:].max() < 5e-3
    # What comes long after the second has no say in it.
    loud = np.concatenate([tone(1000, native, 1.2), np.ones(native)])
    assert np.array_equal(one_second(loud, native, 16000), x)


# Sets of them -----------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    root = spoken(tmp_path / "words", n=10)
    (root / "no" / "short.wav").write_bytes(wav(tone(300, seconds=0.5)))
    (root / "yes" / "long.wav").write_bytes(wav(tone(900, seconds=1.5)))
    (root / "cover.png").write_bytes(b"a picture of something")
    data = load(root)
    assert (data.name, data.rate, data.flip, data.net) == ("words", 16000, False, "convnet4")
    assert data.train.class_names == ("no", "yes")
    assert data.train.images.shape[1:] == (1, 64, 64)
    assert data.train.images.dtype == torch.float32
    assert len(data.train) + len(data.test) == 22
    assert not data.published
    assert data.train.mean[0] == pytest.approx(float(data.train.images.double().mean()))
    assert data.train.std[0] == pytest.approx(float(data.train.images.double().std(correction=0)))
    assert data.test.mean == data.train.mean
    expected = spectrogram(samples(root / "no" / "3.wav", "x")[0], 64)
    held = torch.cat([data.train.images, data.test.images])
    assert any(np.array_equal(image[0], expected) for image in held.numpy())
    assert "left out, not recordings: cover.png (1 in all)" in data.notes
    text = "\n".join(describe(data))
    assert "recordings: one second each, 16000 samples per second" in text
    assert "128 frequencies × 125 frames (n_fft 255, hop 128), padded with zeros to 128×" in text
    cut = [n for n in data.notes if "brought to one second" in n]
    assert sum(int(n.split("second: ")[1].split(" of")[0]) for n in cut) == 1
    assert sum(int(n.split("end, ")[1].split(" padded")[0]) for n in cut) == 1
    assert as_json(data)["rate"] == 16000


def test_train_and_test_folders_and_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken(tmp_path / "words" / "train", n=4)
    spoken(tmp_path / "words" / "test", n=2, rate=8000)
    data = load(tmp_path / "words")
    assert (len(data.train), len(data.test), data.rate) == (8, 4, 16000)
    assert "test recordings resampled to 16000 Hz: 4 of 4 (from 8000 Hz)" in data.notes
    monkeypatch.setattr("condensery.data.recordings.samples", None)  # nothing is decoded again
    again = load(tmp_path / "words")
    assert again.train.fingerprint == data.train.fingerprint
    assert torch.equal(again.test.images, data.test.images)
    assert (again.notes, again.rate, again.flip) == (data.notes, 16000, False)
    assert len(list((cache_folder() / "data").iterdir())) == 1


def test_the_first_training_recording_gives_the_rate(tmp_path: Path) -> None:
    assert load(spoken(tmp_path / "low", rate=8000)).rate == 8000
    assert load(spoken(tmp_path / "high", rate=44100)).rate == 16000
    chosen = load(tmp_path / "low", sample_rate=12000)
    assert chosen.rate == 12000
    assert any("resampled to 12000 Hz: 12 of 12 (from 8000 Hz)" in n for n in chosen.notes)
    assert load(tmp_path / "low", size=32).train.shape == (1, 32, 32)


def test_options_that_do_not_go_with_recordings(tmp_path: Path) -> None:
    root = spoken(tmp_path / "words")
    with pytest.raises(UsageError, match="spectrograms have one channel; leave channels out"):
        load(root, channels=3)
    for rate in (999, 16385):
        with pytest.raises(UsageError, match="sample rate must be from 1000 to 16384"):
            load(root, sample_rate=rate)
    with pytest.raises(
        UsageError, match="sample rate applies to recordings, but 'digits' holds images"
    ):
        load("digits", sample_rate=16000)
    data = load(root)
    assert load(data, sample_rate=16000) is data
    with pytest.raises(UsageError, match="load it again to change its rate"):
        load(data, sample_rate=8000)


def test_a_few_bad_files_are_left_out_by_name(tmp_path: Path) -> None:
    root = spoken(tmp_path / "words", n=20)
    (root / "no" / "0.wav").write_bytes(b"")
    (root / "yes" / "4.wav").write_bytes(wav(tone(400))[:200])
    data = load(root)
    assert len(data.train) + len(data.test) == 38
    told = " ".join(n for n in data.notes if n.startswith("left out"))
    assert "no/0.wav: empty" in told
    assert "yes/4.wav: torn" in told


def test_many_bad_files_are_refused(tmp_path: Path) -> None:
    root = spoken(tmp_path / "words")
    for i in range(5):
        (root / "no" / f"{i}.wav").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"recordings cannot be read \(no/\d.wav: no recording, "):
        load(root)
    for path in (root / "no").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no training recording of class 'no' can be read"):
        load(root)
    for path in (root / "no").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="class folder 'no' holds no recordings; add some"):
        load(root)


def test_flac_in_a_folder_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    root = spoken(tmp_path / "words")
    for path in list(root.rglob("*.wav")):
        path.write_bytes(b"fLaC")
        path.rename(path.with_suffix(".flac"))
    with pytest.raises(DataError, match=r"'no/\d.flac' is FLAC, .* pip install soundfile"):
        load(root)


@pytest.mark.parametrize("with_features", [True, False])
def test_parquet(tmp_path: Path, with_features: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [wav(tone(300 + 50 * i, 8000), 8000) for i in range(10)]
    labels = [0, 1] * 5
    if with_features:
        table([*rows], labels, ["no", "yes"]).to_parquet(tmp_path / "train.parquet")
    else:  # written by anything but the datasets library
        audio = [{"bytes": raw, "path": "x.wav"} for raw in rows]
        pq.write_table(pa.table({"audio": audio, "label": labels}), tmp_path / "train.parquet")
    data = load(tmp_path)
    assert data.train.class_names == (("no", "yes") if with_features else ("0", "1"))
    assert (data.rate, len(data.train), len(data.test)) == (8000, 8, 2)


def test_mistakes_in_tables(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = [wav(tone(300 + 50 * i, seconds=0.02)) for i in range(120)]
    table([None, *good], [0] + [0, 1] * 60).to_parquet(tmp_path / "none.parquet")
    data = load(tmp_path / "none.parquet")
    assert any("row 0: no encoded recording" in n for n in data.notes)
    for name, column in (("words", ["a"] * 4), ("numbers", [[0.0, 0.5]] * 4)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"audio": column, "label": [0, 1, 0, 1]}), path)
        with pytest.raises(DataError, match="not encoded recordings; write it with the feature Au"):
            load(path)
    pq.write_table(pa.table({"voice": [1], "label": [0]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"no image column .* name it 'image' \('audio' for rec"):
        load(tmp_path / "other.parquet")


# Names ------------------------------------------------------------------------------------------

COMMANDS = ("down", "go", "left", "no", "right", "stop", "up", "yes")


def test_mini_speech_commands_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    names = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "bed"]
    labels = [c for c in range(len(names)) for _ in range(8)]
    rows = [wav(tone(200 + 9 * i, seconds=0.1)) for i in range(len(labels))]
    whole = table([*rows], labels, names)
    # As the hub gives it: it would decode, were it not told otherwise.
    whole = whole.cast_column("audio", datasets.Audio(sampling_rate=16000))
    held = {"train": whole, "validation": whole, "test": whole}
    asked: list[tuple[str, str | None]] = []

    def load_dataset(repository: str, config: str | None = None) -> Any:
        asked.append((repository, config))
        return held

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = load("mini_speech_commands")
    assert asked == [("google/speech_commands", "v0.01")]
    assert data.train.class_names == COMMANDS
    assert (len(data.train), len(data.test), data.rate) == (64, 64, 16000)
    assert not data.flip
    assert "left out: split 'validation'" in data.notes
    down = spectrogram(one_second(samples(rows[24], "x")[0], 16000, 16000), 64)
    assert np.array_equal(data.train.images[data.train.index[0][0], 0], down)
    held = {"train": whole}
    again = load("mini_speech_commands")
    assert again.train.counts == (7,) * 8
    assert again.test.counts == (1,) * 8
    assert any(n.startswith("no test split was given: an eighth of every") for n in again.notes)


def test_mini_speech_commands_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDENSERY_DATA", str(tmp_path))
    folder = tmp_path / "mini_speech_commands"
    spoken(folder, classes=(*COMMANDS, "bed"), rate=8000, seconds=0.1)
    data = load("mini_speech_commands")
    assert data.train.class_names == COMMANDS
    assert (data.train.counts, data.test.counts) == ((7,) * 8, (1,) * 8)
    assert data.rate == 16000
    again = load("mini_speech_commands", cache=False)
    assert again.train.fingerprint == data.train.fingerprint


def test_fsdd_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"put it in \$CONDENSERY_DATA/fsdd as parquet files or"):
        load("fsdd")


@pytest.mark.xdist_group("fsdd")
def test_real_spoken_digits(real_data: Path) -> None:
    import pyarrow.parquet as pq

    if not (real_data / "fsdd").is_dir():
        pytest.skip("there is no fsdd in CONDENSERY_DATA")
    data = load("fsdd")
    assert (len(data.train), len(data.test), data.rate) == (2700, 300, 8000)
    assert data.train.counts == (270,) * 10
    assert not data.flip
    assert any("18 of 2700 cut at the end, 2682 padded" in n for n in data.notes)
    (path,) = (real_data / "fsdd").glob("test-*.parquet")
    rows = pq.read_table(path).to_pylist()
    for n in (0, 123, 299):
        with wave.open(io.BytesIO(rows[n]["audio"]["bytes"])) as file:
            x = np.frombuffer(file.readframes(8000), "<i2") / 32768
        assert np.array_equal(data.test.images[n, 0], spectrogram(one_second(x, 8000, 8000), 64))
        assert int(data.test.labels[n]) == rows[n]["label"]
    # Spectrograms tell the digits apart: nearest neighbours say mostly the same digit.
    seen, asked = (part.normalised().flatten(1) for part in (data.train, data.test))
    nearest = data.train.labels[torch.cdist(asked, seen).argmin(dim=1)]
    assert float((nearest == data.test.labels).float().mean()) > 0.8


# What is condensed of them ----------------------------------------------------------------------


def condensed_of(root: Path) -> tuple[CondensedSet, Floats]:
    """A set of one real spectrogram per class, and these on their own scale."""
    data = load(root)
    rows = torch.stack([r[0] for r in data.train.index])
    train = data.train
    about = About(
        method="real",
        formation=Choice("pixels", {}),
        ipc=1,
        seed=0,
        iterations=0,
        class_names=train.class_names,
        mean=train.mean,
        std=train.std,
        flip=data.flip,
        source=Source(data.name, train.fingerprint, len(train), train.nbytes),
        config={},
    )
    return CondensedSet(train.normalised(rows)[:, None], about), train.images[rows].double().numpy()


def test_exports_keep_the_scale_or_refuse(tmp_path: Path) -> None:
    condensed, own = condensed_of(spoken(tmp_path / "words"))
    with np.load(export(condensed, "npz", tmp_path / "set")) as held:
        assert np.allclose(held["images"], own, atol=1e-4)
        assert held["mean"] == pytest.approx(condensed.about.mean)
        assert held["std"] == pytest.approx(condensed.about.std)
    for kind in ("images", "parquet"):
        with pytest.raises(UsageError, match="in 8 bits, not this scale; use npz"):
            export(condensed, kind, tmp_path / kind)
    sheet = np.asarray(picture(condensed))
    assert sheet.min() < 10
    assert len(np.unique(sheet)) > 50


def test_a_loud_set_is_not_taken_for_pictures(tmp_path: Path) -> None:
    # Noise whose log magnitudes lie about 0 to 1, where the pixels of pictures do.
    root = tmp_path / "noise"
    rng = np.random.default_rng(0)
    for c, name in enumerate(("hiss", "roar")):
        (root / name).mkdir(parents=True)
        for i in range(4):
            x = rng.normal(size=16000) * (0.15 + 0.1 * c)
            (root / name / f"{i}.wav").write_bytes(wav(x.clip(-1, 1)))
    condensed, _ = condensed_of(root)
    assert float(((condensed.pixels() > -0.5) & (condensed.pixels() < 1.5)).float().mean()) > 0.5
    with pytest.raises(UsageError, match="in 8 bits, not this scale; use npz"):
        export(condensed, "images", tmp_path / "images")
