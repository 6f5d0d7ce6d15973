"""What ``condensery data`` prints is in its JSON, whatever was read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from condensery.cli.main import main
from condensery.data import load
from condensery.utils.text import size_text


def pictures(root: Path, modes: list[str], *, junk: bool = False) -> Path:
    for name, mode in zip(("cat", "dog", "emu"), modes, strict=False):
        (root / name).mkdir(parents=True)
        for k in range(6):
            Image.new(mode, (8, 8), 50 + k if mode == "L" else (90, k, 30)).save(
                root / name / f"{k}.png"
            )
    if junk:
        (root / "cat" / "readme.txt").write_text("hello")
        (root / "loose.md").write_text("hello")
    return root


def sounds(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("yes", "no"):
        (root / name).mkdir(parents=True)
        for k in range(4):
            wavfile.write(root / name / f"{k}.wav", 8000, rng.normal(0, 999, 9000).astype(np.int16))
    return root


def arrays(path: Path, **more: Any) -> Path:
    images = np.random.default_rng(0).uniform(-1, 1, (20, 8, 8, 2)).astype(np.float32)
    np.savez(path, images=images, labels=np.arange(20) % 2 + 3, **more)
    return path


def inputs(root: Path) -> dict[str, list[str]]:
    """Name → words of the command."""
    left = {"images_val": np.zeros((4, 8, 8, 2), np.float32), "labels_val": np.array([3, 4, 3, 4])}
    own = {"images_test": np.zeros((2, 8, 8, 2), np.float32), "labels_test": np.array([3, 3])}
    return {
        "digits": ["digits"],
        "grey": [str(pictures(root / "g", ["L", "L"]))],
        "mixed": [str(pictures(root / "m", ["L", "RGB", "RGB"], junk=True)), "--no-flip"],
        "coloured": [str(pictures(root / "c", ["L", "RGB"])), "--channels", "3", "--size", "16"],
        "sound": [str(sounds(root / "s")), "--sample-rate", "4000"],
        "arrays": [str(arrays(root / "a.npz")), "--range", "-1,1", "--layout", "NHWC"],
        "both": [str(arrays(root / "b.npz", **left, **own))],
        "white": [str(arrays(root / "z.npz")), "--zca"],
    }


def expected(said: dict[str, Any]) -> list[str]:
    """The screen's lines, written from the JSON alone."""

    def counted(part: dict[str, Any]) -> str:
        least, most = min(part["counts"]), max(part["counts"])
        each = str(least) if least == most else f"{least} to {most}"
        return f"{part['images']} images, {each} per class"

    def numbers(values: list[float]) -> str:
        return " ".join(f"{value:.4f}" for value in values)

    names, spec = said["class_names"], said["data"]
    channels = {1: "grey", 3: "colour"}.get(said["channels"], f"{said['channels']} channels")
    asked = [f"range: {said['range']} (black and white)"] if said["range"] else []
    asked += [f"layout: {said['layout']}"] if said["layout"] else []
    how = "published" if said["normalisation"] == "published" else "measured on training"
    sizes = [size_text(said[part]["bytes"]) for part in ("train", "test")]
    return [
        f"data: {said['name']}" + (f" ({spec})" if spec != said["name"] else ""),
        f"train: {counted(said['train'])}",
        f"test: {counted(said['test'])}",
        f"classes: {said['classes']} ({', '.join(names)})",
        *([f"recordings: one second each, {said['rate']} samples per second"] * bool(said["rate"])),
        f"images: {said['width']}×{said['height']} pixels, {channels}, {said['dtype']}",
        *([", ".join(asked)] if asked else []),
        f"size when decoded: train {sizes[0]}, test {sizes[1]}",
        *([f"size of the files: {size_text(said['file_bytes'])}"] if said["file_bytes"] else []),
        f"normalisation: mean {numbers(said['mean'])}, std {numbers(said['std'])} ({how})",
        f"flip: {'yes' if said['flip'] else 'no'}",
        f"default network: {said['net']}",
        *(f"note: {note}" for note in said["notes"]),
    ]


def test_the_screen_says_nothing_that_json_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noted = 0
    for name, words in inputs(tmp_path).items():
        file = tmp_path / f"{name}.json"
        assert main(["data", *words, "--json", str(file)]) == 0
        shown = capsys.readouterr()
        said = json.loads(file.read_text())
        assert shown.out.splitlines() == expected(said), name
        assert shown.err == ""
        noted += len(said["notes"])
    assert noted > len(inputs(tmp_path / "again"))


def test_notes_are_logged_a_line_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, (spec, *more) in inputs(tmp_path).items():
        how: dict[str, Any] = {"size": 16} if "--size" in more else {}
        caplog.clear()
        with caplog.at_level(logging.WARNING, "condensery.data"):
            data = load(spec, cache=False, **how)
        told = [r.getMessage() for r in caplog.records]
        assert told == [f"{data.name}: {note}" for note in data.notes], name
        assert not any("\n" in line for line in told)
