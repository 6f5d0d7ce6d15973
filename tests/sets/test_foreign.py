"""Sets from elsewhere are rows like ours, and nothing in their files is run."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from condensery import CondensedSet, DataError, UsageError, evaluate, export, select_random
from condensery.cli.main import main
from condensery.data import Data, load
from condensery.evaluation.rows import Row, rows_of, split_name
from condensery.runtime.plan import exact_plan
from condensery.sets.foreign import open_foreign
from condensery.sets.torch_files import open_torch
from tests.conftest import tiny

HOW: dict[str, Any] = {"nets": "mlp", "n": 2, "epochs": 5, "plan": exact_plan("cpu", 1)}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits")


@pytest.fixture(scope="module")
def ours(digits: Data) -> CondensedSet:
    return select_random(digits, ipc=2)


def accuracies(what: Any, data: Data) -> tuple[tuple[float, ...], ...]:
    (result,) = evaluate(what, data, **HOW)
    return result.sets


def test_our_npz_trains_as_the_set_itself(digits: Data, ours: CondensedSet, tmp_path: Path) -> None:
    written = export(ours, "npz", tmp_path / "set")
    (found,) = open_foreign(written, digits)
    torch.testing.assert_close(found.images, ours.images)
    assert torch.equal(found.labels, ours.labels)
    assert (found.ipc, found.stored_bytes, found.decoded) == (2, 20 * 64 * 4, 1.0)
    assert accuracies(written, digits) == accuracies(ours, digits)
    (result,) = evaluate(f"theirs={written}", digits, **HOW)
    assert (result.set, result.recipe, result.ipc) == ("theirs", "elsewhere (npz)", 2)


def test_what_the_published_programs_save_is_a_row_of_several_sets(
    digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    """DC's program: every experiment's images (normalised) and labels, and accuracies by numpy."""
    other = select_random(digits, ipc=2, seed=1)
    held = {
        "data": [[one.images.clone(), one.labels.clone()] for one in (ours, other)],
        "accs_all_exps": {"ConvNet": [np.float64(0.5), np.float32(0.25)], "MLP": [np.int64(3)]},
    }
    torch.save(held, tmp_path / "res.pt")
    assert open_torch(tmp_path / "res.pt")["accs_all_exps"] == held["accs_all_exps"]
    ours.save(tmp_path / "ours" / "0")
    other.save(tmp_path / "ours" / "1")
    assert accuracies(tmp_path / "res.pt", digits) == accuracies(tmp_path / "ours", digits)


def test_images_and_labels_alone_are_enough(
    digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    pixels = ours.pixels()
    assert 0 <= float(pixels.min()) <= float(pixels.max()) <= 1
    contents: dict[str, Any] = {
        "tuple.pt": (ours.images, ours.labels),
        "named.pt": {"images": ours.images, "labels": ours.labels, "note": "hello"},
        "pixels.pt": [pixels, ours.labels],  # as IDC's program saves them
        "ordered.pth": OrderedDict(x=ours.images.double(), y=ours.labels.int()),
        "bytes.pt": ((pixels * 255).round().byte(), ours.labels),
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    labels = ours.labels.numpy()
    np.savez(tmp_path / "float.npz", images=pixels.numpy(), labels=labels)
    last = np.moveaxis((pixels * 255).round().byte().numpy(), 1, 3)
    np.savez(tmp_path / "last.npz", images=last, labels=labels.astype(np.uint8))
    np.savez(tmp_path / "flat.npz", images=last[..., 0], labels=labels.astype(str))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    for file in files:
        (found,) = open_foreign(file, digits)
        torch.testing.assert_close(found.images, ours.images, rtol=1e-4, atol=1e-4)
        assert torch.equal(found.labels, ours.labels), file
        assert (found.mean, found.std) == (digits.train.mean, digits.train.std)
        assert found.images.dtype == torch.float32
        each = {"ordered.pth": 8, "bytes.pt": 1, "last.npz": 1, "flat.npz": 1}.get(file.name, 4)
        assert found.stored_bytes == 20 * 64 * each, file  # as they are in the file
    # A folder of such files is one row.
    assert [len(row.sets) for row in rows_of(tmp_path, digits)] == [8]


def test_an_own_normalisation_is_the_test_splits_as_well(
    digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    x, y = ours.pixels().numpy(), ours.labels.numpy()
    np.savez(tmp_path / "a.npz", images=x, labels=y, mean=np.array([0.5]), std=np.array([0.25]))
    (found,) = open_foreign(tmp_path / "a.npz", digits)
    assert (found.mean, found.std) == ((0.5,), (0.25,))
    torch.testing.assert_close(found.images, (ours.pixels() - 0.5) / 0.25)
    train, test = (
        dataclasses.replace(s, mean=(0.5,), std=(0.25,)) for s in (digits.train, digits.test)
    )
    other = dataclasses.replace(digits, train=train, test=test)
    expected = accuracies(select_random(other, ipc=2), other)
    assert accuracies(tmp_path / "a.npz", digits) == expected


def test_classes_are_found_by_their_names(ours: CondensedSet, tmp_path: Path) -> None:
    data = tiny()
    names = ("cat", "dog", "a/b")
    train, test = (dataclasses.replace(s, class_names=names) for s in (data.train, data.test))
    named = dataclasses.replace(data, train=train, test=test)
    images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)
    np.savez(tmp_path / "s.npz", images=images, labels=[0, 1, 2], class_names=["dog", "a/b", "cat"])
    (found,) = open_foreign(tmp_path / "s.npz", named)
    assert found.labels.tolist() == [1, 2, 0]
    # Folders cannot bear every class's name; our export's stand for it.
    condensed = select_random(named, ipc=2)
    folder = export(condensed, "images", tmp_path / "pictures")
    (pictures,) = open_foreign(folder, named)
    torch.testing.assert_close(pictures.images, found_images(condensed, pictures))


def found_images(condensed: CondensedSet, pictures: Any) -> torch.Tensor:
    """A set's images in the order of the pictures' labels, which are sorted by folder."""
    return torch.cat(
        [condensed.images[condensed.labels == c] for c in pictures.labels.unique_consecutive()]
    )


def test_a_folder_of_pictures_is_a_set_of_8_bits(
    digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    folder = export(ours, "images", tmp_path / "pictures")
    (found,) = open_foreign(folder, digits)
    # These are real images of 8 bits: nothing is lost.
    torch.testing.assert_close(found.images, ours.images)
    assert found.stored_bytes == 20 * 64
    assert accuracies(folder, digits) == accuracies(ours, digits)
    (folder / "3" / "more.txt").write_text("no picture")
    Image.new("L", (8, 8)).save(folder / "3" / "00009.png")
    (more,) = open_foreign(folder, digits)
    assert (torch.bincount(more.labels).tolist()[3], more.ipc) == (3, 3)
    Image.new("L", (9, 9)).save(folder / "3" / "00010.png")
    with pytest.raises(DataError, match="differ in size"):
        open_foreign(folder, digits)
    (folder / "3" / "00010.png").write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot be read; repair"):
        open_foreign(folder, digits)


def test_grey_pictures_of_colour_classes_become_colour(tmp_path: Path) -> None:
    data = tiny(channels=3)
    for name in data.train.class_names:
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), 51).save(tmp_path / name / "a.png")
    (found,) = open_foreign(tmp_path, data)
    shown = data.train.unnormalise(found.images)
    torch.testing.assert_close(shown, torch.full((3, 3, 8, 8), 0.2))


class Evil:
    """What opening a pickle must not run."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_a_hostile_pickle_is_refused_and_runs_nothing(digits: Data, tmp_path: Path) -> None:
    target = tmp_path / "made"
    torch.save({"data": Evil(target)}, tmp_path / "evil.pt")
    torch.save({"data": Evil(target)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Evil(target), protocol=2))
    (tmp_path / "new.pt").write_bytes(pickle.dumps(Evil(target), protocol=4))
    np.savez(tmp_path / "evil.npz", images=np.array([Evil(target)]), labels=np.array([0]))
    for name in ("evil.pt", "old.pt", "bare.pt", "new.pt"):
        with pytest.raises(DataError, match="rejected: it holds more than"):
            evaluate(tmp_path / name, digits, **HOW)
    with pytest.raises(DataError, match="damaged or holds objects"):
        evaluate(tmp_path / "evil.npz", digits, **HOW)
    assert not target.exists()
    with pytest.raises(FileExistsError):  # it would have been made
        target.mkdir()
        pickle.loads((tmp_path / "bare.pt").read_bytes())


class Strange:
    """A numpy scalar's pickle with a type and bytes of one's choice."""

    def __init__(self, dtype: Any, raw: bytes) -> None:
        self.held = (dtype, raw)

    def __reduce__(self) -> Any:
        return np.float64(0).__reduce__()[0], self.held


@pytest.mark.parametrize(
    ("dtype", "raw"),
    [("O", b"12345678"), ("V8", b"12345678"), ("S4", b"abcd"), ("f8", b"short"), ("f8", b"x" * 80)],
)
def test_numpy_scalars_that_are_no_numbers_are_refused(
    dtype: str, raw: bytes, tmp_path: Path
) -> None:
    torch.save({"accs": Strange(np.dtype(dtype), raw)}, tmp_path / "a.pt")
    with pytest.raises(DataError, match="rejected"):
        open_torch(tmp_path / "a.pt")


def test_what_does_not_fit_is_refused_in_a_sentence(
    digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    x, y = ours.pixels().numpy(), ours.labels.numpy()
    ten = [str(c) for c in range(10)]
    bad: dict[str, tuple[dict[str, Any], str]] = {
        "size": ({"images": np.zeros((10, 3, 9, 9), np.uint8), "labels": y[::2]}, "3×9×9"),
        "few": ({"images": x, "labels": y[:9]}, "20 images but 9 labels"),
        "high": ({"images": x, "labels": y + 1}, "range from 1 to 10"),
        "low": ({"images": x, "labels": y - 1}, "range from -1 to 8"),
        "missing": ({"images": x[:18], "labels": y[:18]}, "no image of class '9'"),
        "soft": ({"images": x, "labels": np.eye(10)[y]}, "one label per image"),
        "float": ({"images": x, "labels": y.astype(float)}, "whole numbers or strings"),
        "names": ({"images": x, "labels": y, "class_names": [*ten[:9], "cat"]}, "'cat'"),
        "scale": ({"images": x * 255, "labels": y}, "black 0 and white 1"),
        "nan": ({"images": x * np.nan, "labels": y}, "NaN"),
        "whole": ({"images": y, "labels": y}, "type int64"),
        "row": ({"images": x[:, 0, 0, 0], "labels": y}, "N×C×H×W"),
        "mean": ({"images": x, "labels": y, "mean": [0.1]}, "one of mean and std"),
        "means": ({"images": x, "labels": y, "mean": [0.1] * 3, "std": [0.1] * 3}, "per channel"),
        "std": ({"images": x, "labels": y, "mean": [0.1], "std": [0.0]}, "std positive"),
        "lacking": ({"x": x}, "images and labels are needed"),
        "stored": ({"stored": x, "labels": y}, "without --stored"),
    }  # fmt: skip
    for name, (content, message) in bad.items():
        np.savez(tmp_path / f"{name}.npz", **content)
        with pytest.raises(DataError, match=message) as refused:
            Row.of(tmp_path / f"{name}.npz", digits)
        assert name in str(refused.value), "the file is named"
    images, labels = ours.images, ours.labels
    wrong: dict[str, tuple[Any, str]] = {
        "one": (images, "no images with labels"),
        "empty": ({"data": []}, "no images with labels"),
        "other": ({"state": {"w": images}}, "no images with labels"),
        "huge": ((images * 255, labels), "normalised images are needed"),
        "sparse": ((images.to_sparse(), labels), "not plain arrays"),
        "short": ({"data": [(images, labels), (images[:5], labels)]}, "5 images but 20"),
    }
    for name, (held, message) in wrong.items():
        torch.save(held, tmp_path / f"{name}.pt")
        with pytest.raises(DataError, match=message):
            Row.of(tmp_path / f"{name}.pt", digits)


@pytest.mark.parametrize("name", ["a.pt", "a.npz"])
def test_torn_files_are_refused(
    name: str, digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    file = tmp_path / name
    if name == "a.pt":
        torch.save((ours.images, ours.labels), file)
    else:
        export(ours, "npz", file)
    whole = file.read_bytes()
    for part in (b"", b"hello", whole[:50], whole[: len(whole) // 2], whole[:-30]):
        file.write_bytes(part)
        with pytest.raises(DataError, match=r"damaged|refused"):
            open_foreign(file, digits)
    file.unlink()
    with pytest.raises(DataError, match="does not exist"):
        Row.of(file, digits)


def test_wrong_class_folders_are_refused(digits: Data, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "a.png")
    with pytest.raises(DataError, match=r"classes of set .* are not those of digits: 'cat'"):
        evaluate(tmp_path, digits, **HOW)


def test_a_folder_of_runs_is_not_taken_for_pictures(
    digits: Data, ours: CondensedSet, tmp_path: Path
) -> None:
    ours.save(tmp_path / "runs" / "a")
    Image.new("L", (8, 8)).save(tmp_path / "runs" / "a" / "images.png")
    with pytest.raises(DataError, match="holds runs, each a row of its own"):
        Row.of(tmp_path / "runs", digits)


def test_a_row_is_of_alike_sets(digits: Data, tmp_path: Path) -> None:
    """Files of a folder that differ in their size, or in their normalisation, are no one row."""
    small, large = (select_random(digits, ipc=n) for n in (2, 4))
    export(small, to="npz", out=tmp_path / "a")
    folder = tmp_path / "sets"
    folder.mkdir()
    (held,) = tmp_path.rglob("a*.npz")
    folder.joinpath("0.npz").write_bytes(held.read_bytes())
    folder.joinpath("1.npz").write_bytes(held.read_bytes())
    assert Row.of(str(folder), digits).count == 2
    arrays = dict(np.load(held))
    np.savez(folder / "1.npz", **{**arrays, "mean": arrays["mean"] + 0.1})
    with pytest.raises(DataError, match="differ in their normalisation"):
        Row.of(str(folder), digits)
    export(large, to="npz", out=tmp_path / "b")
    (other,) = tmp_path.rglob("b*.npz")
    folder.joinpath("1.npz").write_bytes(other.read_bytes())
    with pytest.raises(DataError, match=r"differ in their number of images \(20 and 40\)"):
        Row.of(str(folder), digits)


def test_a_folder_of_runs_says_which_to_name(digits: Data, tmp_path: Path) -> None:
    """Whether they lie in it or one deeper, and whether a run has several sets."""
    select_random(digits, ipc=1).save(tmp_path / "runs" / "one")
    select_random(digits, ipc=1).save(tmp_path / "runs" / "several" / "0")
    for place in (tmp_path, tmp_path / "runs"):
        with pytest.raises(DataError, match="holds runs, each a row of its own") as told:
            Row.of(str(place), digits)
        assert str(tmp_path / "runs" / "one") in str(told.value)
        if place.name == "runs":
            assert str(tmp_path / "runs" / "several") in str(told.value)
    assert Row.of(str(tmp_path / "runs" / "several"), digits).count == 1


def test_names_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_name("dm=runs/a") == ("dm", "runs/a")
    assert split_name("runs/a=b") == ("runs/a=b", "runs/a=b")
    assert split_name("whole(epochs=2)") == ("whole", "whole(epochs=2)")
    assert split_name("whole+epochs=2+rate=0.1") == ("whole", "whole+epochs=2+rate=0.1")
    assert split_name("long=whole+epochs=2") == ("long", "whole+epochs=2")
    assert split_name("upper bound=whole(epochs=2)") == ("upper bound", "whole(epochs=2)")
    Path("a=b").mkdir()
    assert split_name("a=b") == ("a=b", "a=b")
    with pytest.raises(UsageError, match="write whole"):
        split_name("whole(2)")


def test_the_command_evaluates_them_and_asks_for_their_data(
    ours: CondensedSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(export(ours, "npz", tmp_path / "theirs"))
    line = ["evaluate", f"theirs={file}", "--net", "mlp", "--nets", "1", "--epochs", "1"]
    assert main(line) == 2
    assert "name it with --data" in capsys.readouterr().err
    assert main([*line, "--data", "digits", "--threads", "1"]) == 0
    assert "theirs" in capsys.readouterr().out
