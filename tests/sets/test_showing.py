"""Sets, data and tables as Python shows them."""

from __future__ import annotations

import base64
import io
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import condensery
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.evaluation.comparison import compare
from condensery.evaluation.result import Result
from condensery.runtime.plan import exact_plan
from condensery.selection import select_random
from condensery.utils.plotting import pyplot

EXACT = exact_plan("cpu", 1)


def test_a_set_is_one_line_and_a_page(tiny_data: Data) -> None:
    chosen = select_random(tiny_data, ipc=2)
    name = tiny_data.name
    assert repr(chosen) == (
        f"CondensedSet(6 images of 1×8×8, 2 per class in 3 classes, by random from {name})"
    )
    assert chosen.classes == tiny_data.classes == ("0", "1", "2")
    assert (chosen.ipc, len(chosen)) == (2, 6)
    page = chosen._repr_html_()
    assert "6 images of 1×8×8" in page
    found = re.search(r"base64,([^\"]+)", page)
    assert found
    drawn = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert drawn.size == chosen.picture().size


def test_names_in_a_page_are_text() -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    images[::2] = 200
    data = load((images, np.array([0, 0, 1, 1])))
    chosen = select_random(data, ipc=1)
    object.__setattr__(chosen.about, "class_names", ("<script>", "b"))
    assert "<script>" not in chosen._repr_html_()
    assert "&lt;script&gt;" in chosen._repr_html_()


def test_data_are_one_line_and_have_images(tiny_data: Data) -> None:
    train = tiny_data.train
    assert repr(tiny_data) == (
        f"Data({tiny_data.name!r}: 28 training and 14 test images of 1×8×8, 3 classes)"
    )
    assert "28 images of 1×8×8, 3 classes" in repr(train)
    everything = train.normalised()
    for place in (0, 5, 27, -1):
        image, label = train[place]
        assert torch.equal(image, everything[place])
        assert label == int(train.labels[place])
    with pytest.raises(IndexError, match="none at 28"):
        train[28]
    assert sum(1 for _ in train) == 28  # type: ignore[attr-defined, misc]


def test_tables_are_printed_and_are_data_frames(tiny_data: Data) -> None:
    pandas = pytest.importorskip("pandas")
    sets = {"a": select_random(tiny_data, ipc=1), "b": select_random(tiny_data, ipc=2)}
    table = compare(sets, tiny_data, network="mlp", repeats=2, epochs=1, plan=EXACT)
    assert str(table) == table.text()
    assert repr(table).count("\n") == 0
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["set"]) == ["a", "b"]
    assert list(frame["mean"]) == [row.result.mean for row in table.rows]


def test_a_result_is_one_line() -> None:
    one = Result("a", "dm", 1, "digits", "mlp", "dc", ((50.0, 60.0),), 0, 1, 1.0, "exact")
    assert repr(one) == "Result('a' on 'digits': 55.0 ± 5.0 %, n=2, mlp, dc)"


def test_without_matplotlib_one_sentence_says_what_to_install(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(UsageError, match=r'pip install "condensery\[plots\]"'):
        select_random(tiny_data, ipc=1).plot()
    with pytest.raises(UsageError):
        pyplot()


def test_help_names_the_functions() -> None:
    text = condensery.__doc__ or ""
    for name in ("load", "condense", "select", "evaluate", "compare", "export", "CondensedSet"):
        assert name in text
        assert getattr(condensery, name).__doc__


def test_a_file_that_is_left_out_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for k in range(6):
            Image.new("L", (8, 8), 20 * k).save(tmp_path / "p" / name / f"{k}.png")
    (tmp_path / "p" / "cat" / "notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING, "condensery.data"):
        data = load(tmp_path / "p")
    assert data.notes
    assert [record.getMessage() for record in caplog.records] == [
        f"{data.name}: {note}" for note in data.notes
    ]


def test_all_images_of_a_figure_have_one_scale(tiny_data: Data) -> None:
    made = select_random(tiny_data, ipc=2)
    drawn = [place.get_images()[0] for place in made.plot().axes]
    assert len(drawn) == len(made)
    assert {one.get_clim() for one in drawn} == {(0.0, 1.0)}
    for one, pixels in zip(drawn, made.pixels(), strict=True):
        assert torch.allclose(torch.tensor(one.get_array()), pixels[0].clamp(0, 1))
