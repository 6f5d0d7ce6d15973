"""The page about runs, sets and results."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from condensery import CondensedSet, load, select_random
from condensery.cli.main import main
from condensery.errors import DataError, UsageError
from condensery.reports import report
from condensery.reports.neighbours import neighbours
from condensery.reports.pictures import gallery
from condensery.reports.sources import SetPart, read_parts
from condensery.reports.tables import interval
from condensery.sets.picture import bare_picture

EVIL = "<script>alert(1)</script>"
ROW = {
    "set": EVIL,
    "recipe": "dm",
    "ipc": 10,
    "data": "mnist",
    "net": "convnet3",
    "protocol": "dsa+epochs=300",
    "n": 4,
    "mean": 90.0,
    "std": 1.0,
    "sets": [[89.0, 91.0], [90.0, 90.0]],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two iterations with its accuracies over time."""
    out = tmp_path_factory.mktemp("report") / "run"
    words = ["condense", "--ipc", "2", "--iterations", "4", "--real-batch", "4", "--threads", "1"]
    words += ["--supply.net", "convnet1:width=4", "--plan", "exact", "--quiet", "--out", str(out)]
    words += ["--evaluate-at", "0,2", "--evaluate-nets", "1", "--evaluate-epochs", "1"]
    assert main(words) == 0
    return out


class Tags(HTMLParser):
    """Every tag with its attributes, and every text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.words.append(data)


def written(tmp_path: Path, name: str, content: Any) -> Path:
    file = tmp_path / name
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_run(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    size = report([run], out)
    text = out.read_text(encoding="utf-8")
    assert size == out.stat().st_size < 5_000_000
    page = Tags(text)
    # Nothing comes from elsewhere.
    for tag, given in page.tags:
        for name in ("src", "href", "data"):
            value = given.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    # Every picture has words.
    assert all(given.get("alt") for tag, given in page.tags if tag == "img")
    assert all(given.get("aria-label") for tag, given in page.tags if tag == "figure")
    words = " ".join(page.words)
    for told in ("dm of digits, 2 per class", "4 iterations", "Matching loss", "Nearest training"):
        assert told in words
    assert "--config run/recipe.yaml" in words
    assert str(run.parent) not in text
    assert "peak memory" in words
    assert "(the process)" in words
    assert "kind: mean_features" in words


def test_the_pictures_are_the_sets_images(run: Path) -> None:
    (part,) = read_parts([str(run)])
    assert isinstance(part, SetPart)
    found = gallery(part)
    assert found.iterations == (0, 1, 2, 3, 4)
    condensed = CondensedSet.load(run)
    first = CondensedSet.load(run / "checkpoints" / "000000.safetensors")
    for at, held in ((0, first), (-1, condensed)):
        strip = pixels_of(found.strips[3].frames[at])
        wanted = (held.pixels()[6:8, 0].clamp(0, 1) * 255).round().numpy()
        np.testing.assert_array_equal(strip[:, :8], wanted[0])
        np.testing.assert_array_equal(strip[:, 9:], wanted[1])


def pixels_of(uri: str) -> Any:
    content = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)))


def test_the_nearest_image_of_a_real_one_is_itself(tmp_path: Path) -> None:
    data = load("digits")
    chosen = select_random(data, ipc=1, seed=3)
    chosen.save(tmp_path / "set")
    (part,) = read_parts([str(tmp_path / "set")])
    assert isinstance(part, SetPart)
    found = neighbours(part, None)
    assert found.missing is None
    assert [one.name for one in found.classes] == list(data.train.class_names)
    for one in found.classes:
        (pair,) = one.pairs
        assert pair.distance == pytest.approx(0, abs=1e-3)
        assert pair.condensed == pair.real
    # Another image of the class is about as far as two images usually are.
    other = CondensedSet(chosen.stored.roll(1, 0), chosen.about)
    far = neighbours(SetPart("x", other, 1, 0, ((0, other),)), None)
    assert min(pair.distance for one in far.classes for pair in one.pairs) > 0.2


def test_real_images_are_read_as_they_were(tmp_path: Path) -> None:
    """Floating images with a range, last axis first: the same images, and not others."""
    images = np.random.default_rng(0).uniform(0, 255, (40, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(40) % 2)
    line = ["condense", "--data", str(tmp_path / "own.npz"), "--range", "0,255", "--layout", "NHWC"]
    made = ["--ipc", "1", "--iterations", "0", "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*line, *made]) == 0
    (part,) = read_parts([str(tmp_path / "run")])
    assert isinstance(part, SetPart)
    assert neighbours(part, None).missing is None


def test_other_data_are_not_shown(run: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "other.npz", images=images, labels=np.arange(20) % 10)
    (part,) = read_parts([str(run)])
    assert isinstance(part, SetPart)
    assert "other images" in str(neighbours(part, str(tmp_path / "other.npz")).missing)
    assert "could not be read" in str(neighbours(part, str(tmp_path / "none")).missing)


def test_a_file_alone_says_what_is_missing(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((run / "condensed.safetensors").read_bytes())
    report([alone], tmp_path / "r.html")
    words = " ".join(Tags((tmp_path / "r.html").read_text(encoding="utf-8")).words)
    for told in ("run.json: when", "metrics.jsonl: the loss", "condense with --evaluate-at"):
        assert told in words
    assert "Repeat it" not in words


def test_a_page_names_no_folders_of_this_machine(run: Path, tmp_path: Path) -> None:
    """Neither of the run, nor of its data, nor in results; what is relative stays as it was."""
    place = tmp_path / "secret" / "own"
    place.parent.mkdir()
    place.mkdir()
    for name in ("condensed.safetensors", "run.json"):
        (place / name).write_bytes((run / name).read_bytes())
    text = (run / "recipe.yaml").read_text(encoding="utf-8")
    data = f"data: {tmp_path}/secret/photos\nsupply:\n  path: pools/a\n  list: ['C:\\secret\\b']\n"
    (place / "recipe.yaml").write_text(
        re.sub("(?m)^data: .*\n", "", text).split("supply:")[0] + data
    )
    rows = [{**ROW, "set": f"{place}"}, {**ROW, "set": "runs/b"}]
    content = {"results": [{**row, "confusion": [[3, 1], [0, 4]]} for row in rows]}
    report([place, written(tmp_path, "r.json", content)], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "secret" not in page
    for told in ("data: photos", "path: pools/a", "--data photos", "runs/b", "- b\n"):
        assert told in page


def test_words_from_elsewhere_stay_words(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8)).astype(np.uint8)
    names = np.array([EVIL, "a\"b'&c"])[np.arange(12) % 2]
    chosen = select_random(load((images, names)), ipc=1)
    chosen.save(tmp_path / "set")
    file = written(tmp_path, "r.json", {"results": [ROW, {**ROW, "set": 'x" onload="1'}]})
    report([tmp_path / "set", file], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert EVIL not in text
    page = Tags(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(name.startswith("on") for _, given in page.tags for name in given)
    assert EVIL in " ".join(page.words)


def test_accuracies() -> None:
    values = [90.0, 91.0]  # means of sets
    found = interval([[89.0, 91.0], [90.0, 92.0]])
    assert found is not None
    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((wanted.low, wanted.high))
    alone = interval([[89.0, 90.0, 94.0]])
    wanted = stats.ttest_1samp([89.0, 90.0, 94.0], 0).confidence_interval(0.95)
    assert alone == pytest.approx((wanted.low, wanted.high))
    assert interval([[90.0]]) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"results": [ROW], "tested_on": 359}, ["2×2", "90.0 ± 1.0", "one is worth 0.28 points"]),
        (
            {
                "results": [
                    {**ROW, "difference": 2.0, "interval": [1.0, 3.0], "p_corrected": 0.01}
                ],
                "reference": "random",
            },
            ["+2.0 (+1.0 to +3.0)", "difference to random", "0.010"],
        ),
        (
            {
                "results": [{**ROW, "difference": 2.0, "these_sets_only": True}],
                "reference": "random",
            },
            ["+2.0 †", "speaks of these sets only"],
        ),
        (
            {
                "results": [
                    {
                        "method": "herding",
                        "strategy": "gdumb",
                        "memory": 10,
                        "steps": [
                            {"classes": 2, "mean": 80.0, "std": 1.0},
                            {"classes": 4, "mean": 60.0, "std": 2.0},
                        ],
                        "mean": 70.0,
                    }
                ]
            },
            ["Continual learning", "80.0 ± 1.0", "60.0 ± 2.0", "Accuracy while classes arrive"],
        ),
        (
            {"results": [{"method": "none", "ipc": None, "mean": 50.0, "std": 1.0, "n": 5}] * 2},
            ["Domain adaptation", "50.0 ± 1.0"],
        ),
        (
            {
                "results": [
                    {"proxy": "dm", "networks": 24, "best": "convnet3", "best_accuracy": 80.0}
                ]
            },
            ["Architecture search", "convnet3", "80.00"],
        ),
    ],
)
def test_results(content: dict[str, Any], told: list[str], tmp_path: Path) -> None:
    file = written(tmp_path, "result.json", content)
    report([file], tmp_path / "r.html")
    words = " ".join(Tags((tmp_path / "r.html").read_text(encoding="utf-8")).words)
    for one in told:
        assert one in words


def test_rows_without_a_budget_are_named_without_one(tmp_path: Path) -> None:
    row = {"method": "none", "ipc": None, "mean": 50.0, "std": 1.0, "n": 5}
    content = {"results": [row, {**row, "method": "dm", "ipc": 10}]}
    report([written(tmp_path, "r.json", content)], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "none 50.0 ± 1.0; dm, 10 50.0 ± 1.0" in text


def test_confusion(tmp_path: Path) -> None:
    row = {**ROW, "confusion": [[3, 1], [0, 4]]}
    content = {"results": [row], "class_names": ["cat", "dog"]}
    report([written(tmp_path, "r.json", content)], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    cells = re.findall(r'--share: ([\d.]+)"(?: class="right")?>(\d*)<', text)
    assert cells == [("0.750", "75"), ("0.250", "25"), ("0.000", ""), ("1.000", "100")]
    assert "Hardest first:\ncat 75, dog 100" in text


def test_mistakes(tmp_path: Path, run: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; name run folders"):
        report([tmp_path / "none"], tmp_path / "r.html")
    with pytest.raises(UsageError, match=r"must end in \.html"):
        report([run], tmp_path / "r.pdf")
    with pytest.raises(DataError, match="holds no results"):
        report([written(tmp_path, "x.json", {"a": 1})], tmp_path / "r.html")
    with pytest.raises(DataError, match="of no kind that a report knows"):
        report([written(tmp_path, "y.json", {"results": [{"a": 1}]})], tmp_path / "r.html")
    (tmp_path / "z.txt").write_text("x")
    with pytest.raises(UsageError, match="is not a run folder"):
        report([tmp_path / "z.txt"], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_large_sets_fit(tmp_path: Path) -> None:
    """Noise compresses badly: the past is left out, and then images."""
    noise = np.random.default_rng(0).integers(0, 255, (76, 3, 96, 96)).astype(np.uint8)
    chosen = select_random(load((noise, np.arange(76) % 2)), ipc=30)
    frames = tuple((k, chosen) for k in range(6))
    found = gallery(SetPart("x", chosen, 1, 0, frames))
    assert sum(len(uri) for strip in found.strips for uri in strip.frames) <= 1_500_000
    assert found.iterations[-1] == 5
    third = gallery(SetPart("x", chosen, 1, 0, frames), 3)
    assert sum(len(uri) for strip in third.strips for uri in strip.frames) <= 500_000
    assert found.strips[0].count < 30


def test_recordings_can_be_heard(tmp_path: Path) -> None:
    images = torch.rand(6, 1, 64, 64).numpy().astype(np.float32) * 2 - 5
    chosen = select_random(load((images, np.arange(6) % 2)), ipc=1)
    part = SetPart("x", chosen, 1, 0, ((0, chosen),), settings={"sample_rate": 2000})
    for strip in gallery(part).strips:
        assert strip.sound is not None
        sound = base64.b64decode(strip.sound.partition("base64,")[2])
        assert sound[:4] == b"RIFF"
        assert len(sound) == 44 + 2 * 2000


def test_spectrograms_are_shown_as_pictures_of_sets_show_them(tmp_path: Path) -> None:
    images = torch.rand(6, 1, 64, 64).numpy().astype(np.float32) * 2 - 5
    one = select_random(load((images, np.arange(6) % 2)), ipc=1)
    config = {**one.about.config, "sample_rate": 2000}
    chosen = CondensedSet(one.stored, dataclasses.replace(one.about, config=config))
    found = gallery(SetPart("x", chosen, 1, 0, ((0, chosen),)))
    assert found.scale is not None
    sheet = np.asarray(bare_picture(chosen))
    for row, strip in enumerate(found.strips):
        top = 2 + row * 66
        np.testing.assert_array_equal(pixels_of(strip.frames[0]), sheet[top : top + 64, 2:66])


def test_the_command(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(run), "--json", "r.json"]) == 0
    assert "report.html" in capsys.readouterr().out
    told = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert told == {"report": "report.html", "bytes": Path("report.html").stat().st_size}
    assert main(["report", "nothing"]) == 2
