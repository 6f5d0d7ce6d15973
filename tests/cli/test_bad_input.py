"""Mistakes that people make: each gets one clear sentence, the right exit code and no traceback."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from condensery import CondensedSet, DataError, UsageError, condense, evaluate, export, load
from condensery.cli.main import main
from condensery.data import LabelledSet

SMALL = ["--ipc", "1", "--iterations", "1", "--supply.net", "convnet1:width=4", "--plan", "exact"]
SMALL += ["--threads", "1"]
RNG = np.random.default_rng(0)


def _pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), size: int = 12) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(5):
            pixels = RNG.integers(0, 255, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def _edited(source: Path, target: Path, **changes: Any) -> None:
    """A condensed set whose description is changed."""
    with safe_open(source, framework="pt") as opened:
        (key,) = opened.metadata()
        about = json.loads(opened.metadata()[key])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for name, value in changes.items():
        about[name] = value
    save_file(tensors, target, {key: json.dumps(about, sort_keys=True)})


def _header(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content


def _arrays(folder: Path) -> None:
    images = RNG.integers(0, 255, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(folder / "own.npz", images=images, labels=labels)
    np.savez(folder / "gap.npz", images=images, labels=labels * 2)
    np.savez(folder / "negative.npz", images=images, labels=labels - 1)
    np.savez(folder / "halves.npz", images=images, labels=labels / 2)
    np.savez(folder / "unlabelled.npz", images=images)
    np.savez(folder / "short.npz", images=images, labels=labels[:7])
    np.savez(folder / "five.npz", images=images[None, None], labels=labels)
    np.savez(folder / "two.npz", images=RNG.random((20, 2, 8, 8)), labels=labels)
    np.savez(folder / "nothing.npz", images=images[:0], labels=labels[:0])
    np.savez(folder / "one_class.npz", images=images, labels=labels * 0)
    broken = RNG.random((20, 8, 8)).astype(np.float32)
    broken[3, 2, 1] = np.nan
    np.savez(folder / "nan.npz", images=broken, labels=labels)
    np.savez(folder / "words.npz", images=np.array([["a"] * 8] * 20), labels=labels)
    objects = np.empty(20, dtype=object)
    np.savez(folder / "objects.npz", images=objects, labels=labels)
    content = (folder / "own.npz").read_bytes()
    (folder / "torn.npz").write_bytes(content[: len(content) // 2])
    (folder / "text.npz").write_text("not an archive")


def _folders(folder: Path) -> None:
    _pictures(folder / "photos")
    _pictures(folder / "corrupt")
    picture = folder / "corrupt" / "cat" / "0.png"
    picture.write_bytes(picture.read_bytes()[:60])
    _pictures(folder / "empty_class")
    (folder / "empty_class" / "bird").mkdir()
    _pictures(folder / "mixed")
    Image.new("RGB", (30, 9)).save(folder / "mixed" / "cat" / "wide.png")
    _pictures(folder / "alone", ("cat",))
    (folder / "no_pictures" / "cat").mkdir(parents=True)
    (folder / "no_pictures" / "cat" / "notes.txt").write_text("meow")
    (folder / "nothing_at_all").mkdir()
    (folder / "a_file").write_text("x")


def _sets(folder: Path) -> None:
    assert main(["condense", *SMALL, "--out", str(folder / "run"), "--quiet"]) == 0
    good = folder / "run" / "condensed.safetensors"
    content = good.read_bytes()
    (folder / "torn.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "text.safetensors").write_text("hello")
    (folder / "huge_header.safetensors").write_bytes(_header(b"{}", 2**62))
    claims = {"stored": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
    (folder / "huge_claim.safetensors").write_bytes(_header(json.dumps(claims).encode()))
    other = folder / "foreign.safetensors"
    save_file({"weight": CondensedSet.load(good).stored}, other)
    _edited(good, folder / "future.safetensors", format=99)
    _edited(good, folder / "few.safetensors", class_names=["only", "two"])
    _edited(good, folder / "code.safetensors", formation={"kind": "os:system"})
    _edited(good, folder / "kind.safetensors", formation={"kind": "no_such"})
    _edited(good, folder / "ipc.safetensors", ipc="many")
    _edited(good, folder / "std.safetensors", std=[0.0])
    shutil.copytree(folder / "run", folder / "unfinished")
    (folder / "unfinished" / "condensed.safetensors").unlink()
    shutil.copytree(folder / "run", folder / "half")
    (folder / "half" / "condensed.safetensors").write_bytes(content[:100])


def _recipes(folder: Path) -> None:
    texts = {
        "list": "- a\n- b\n",
        "broken": "a: [",
        "unknown_field": "recipe: dm\nipcs: 3\n",
        "unknown_recipe": "recipe: dmm\nipc: 3\n",
        "unknown_kind": "recipe: dm\nobjective: {kind: mean_feature}\n",
        "unknown_setting": "recipe: dm\nsupply: {net: mlp, nett: mlp}\n",
        "wrong_type": "recipe: dm\noptimizer: {rate: fast}\n",
        "wrong_section": "recipe: dm\noptimizer: 3\n",
        "code": "recipe: dm\nsupply: !!python/object/apply:os.system ['touch PWNED']\n",
        "incomplete": "formation: {kind: pixels}\n",
        "itself": "recipe: itself\nipc: 3\n",
        "plan": "devise: cpu\n",
        "plan_type": "chunk: many\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "binary.yaml").write_bytes(bytes(range(256)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of everything that can be wrong."""
    folder = tmp_path_factory.mktemp("world")
    _arrays(folder)
    _folders(folder)
    _sets(folder)
    _recipes(folder)
    return folder


CONDENSE = ["condense", *SMALL, "--out", "new"]
PLAIN = ["condense", "--ipc", "1", "--out", "new"]

#: Arguments, exit code, and words of the sentence.
MISTAKES: list[tuple[list[str], int, str]] = [
    # What is typed.
    (["--version=2"], 2, ""),
    (["evaluat", "run"], 2, "did you mean evaluate"),
    (["resum", "run"], 2, "did you mean resume"),
    ([*CONDENSE, "--real-batch", "0"], 2, "real_batch must be at least 1"),
    ([*CONDENSE, "--iterations", "-1"], 2, "iterations must be at least 0"),
    ([*CONDENSE, "--iterations", "1.5"], 2, "--iterations must be a whole number"),
    ([*CONDENSE, "--window", "3"], 2, "window must be at least 10"),
    ([*CONDENSE, "--until", "tomorrow"], 2, "--until must be"),
    ([*CONDENSE, "--size", "2"], 2, "size must be at least 4"),
    ([*CONDENSE, "--minutes", "0"], 2, "--minutes must be positive"),
    ([*CONDENSE, "--minutes", "nan"], 2, "--minutes must be a number"),
    ([*CONDENSE, "--minutes", "soon"], 2, "--minutes must be a number"),
    ([*CONDENSE, "--checkpoint-every", "often"], 2, "such as 60s"),
    ([*CONDENSE, "--checkpoint-every", "0it"], 2, "such as 60s"),
    ([*CONDENSE, "--evaluate-at", "first"], 2, "separated by commas"),
    ([*CONDENSE, "--evaluate-plot", "a.png"], 2, "add --evaluate-at"),
    ([*CONDENSE, "--evaluate-at", "1", "--evaluate-plot", "a"], 2, "--evaluate-plot must end in"),
    ([*CONDENSE, "--evaluate-at", "1", "--evaluate-protocol", "dcc"], 2, "did you mean 'dc'"),
    ([*CONDENSE, "--evaluate-at", "1", "--evaluate-nets", "0"], 2, "--evaluate-nets"),
    ([*CONDENSE, "--sets", "two"], 2, "--sets must be a whole number"),
    ([*CONDENSE, "--seed", "-1"], 2, "seed must"),
    ([*CONDENSE, "--supply.net", "convnet3:widht=4"], 2, "width"),
    ([*CONDENSE, "--supply.net", "convnet99"], 2, "convnet"),
    ([*CONDENSE, "--supply.net", "os:getcwd"], 2, "os:getcwd"),
    ([*CONDENSE, "--supply.kind", "frehs"], 2, "did you mean 'fresh'"),
    ([*PLAIN, "--supply.kind", "pool", "--supply.path", "nowhere"], 2, "holds no pool"),
    ([*PLAIN, "--supply.kind", "pool"], 2, "supply.path"),
    ([*CONDENSE, "--supply.kind", "no.such.module:Thing"], 2, "cannot be imported"),
    ([*CONDENSE, "--formation.start_from", "nosie"], 2, "start_from"),
    ([*CONDENSE, "--formation.kind", "multi_formation", "--formation.factor", "0"], 2, "factor"),
    ([*CONDENSE, "--formation.factor", "2"], 2, "other kinds of formation"),
    ([*CONDENSE, "--objective.distance", "mse"], 2, "other kinds of objective"),
    (
        [*CONDENSE, "--optimizer.momentum", "1"],
        2,
        "optimizer.momentum must be at least 0 and below 1",
    ),
    ([*CONDENSE, "--optimizer.momentum", "no"], 2, "optimizer.momentum"),
    ([*CONDENSE, "--optimizer.drops", "3"], 2, "optimizer.drops must be a list"),
    ([*CONDENSE, "--optimizer.rate", "-1"], 2, "optimizer.rate must be positive"),
    ([*CONDENSE, "--optimizer.rate", "null"], 2, "optimizer.rate needs a value"),
    ([*CONDENSE, "--augmentation.strategy", "contrast"], 2, "color"),
    ([*CONDENSE, "--augmentation.kind", "siamese"], 2, "did you mean 'siamese_op'"),
    ([*CONDENSE, "--plan.chunk", "0"], 2, "plan.chunk must be at least 1"),
    ([*CONDENSE, "--plan.chunks", "3"], 2, "plan.chunk"),
    ([*CONDENSE, "--plan.memory_gb", "-1"], 2, "plan.memory_gb must be positive"),
    ([*CONDENSE, "--plan", "plan.yaml"], 2, "plan.device"),
    ([*CONDENSE, "--plan", "plan_type.yaml"], 2, "plan.chunk must be"),
    ([*CONDENSE, "--plan", "list.yaml"], 2, "must hold a mapping"),
    ([*CONDENSE, "--device", "cuda:99"], 2, "not available here"),
    (
        [*CONDENSE, "--formation.start_from", "noise", "--ipc", "1000000000"],
        2,
        "use a smaller --ipc",
    ),
    # Recipes and configurations.
    ([*CONDENSE, "--recipe", "nowhere.yaml"], 2, "cannot be read"),
    ([*CONDENSE, "--recipe", "list.yaml"], 2, "must hold a mapping"),
    ([*CONDENSE, "--recipe", "broken.yaml"], 2, "not valid YAML"),
    ([*CONDENSE, "--recipe", "binary.yaml"], 2, "not valid YAML"),
    ([*CONDENSE, "--recipe", "unknown_field.yaml"], 2, "did you mean 'ipc'"),
    ([*CONDENSE, "--recipe", "unknown_recipe.yaml"], 2, "did you mean 'dm'"),
    ([*CONDENSE, "--recipe", "unknown_kind.yaml"], 2, "did you mean 'mean_features'"),
    ([*CONDENSE, "--recipe", "unknown_setting.yaml"], 2, "did you mean 'supply.net'"),
    ([*CONDENSE, "--recipe", "wrong_type.yaml"], 2, "optimizer.rate must be a number"),
    ([*CONDENSE, "--recipe", "wrong_section.yaml"], 2, "optimizer"),
    ([*CONDENSE, "--recipe", "code.yaml"], 2, "not valid YAML"),
    ([*CONDENSE, "--recipe", "incomplete.yaml"], 2, "lacks objective, supply"),
    ([*CONDENSE, "--recipe", "itself.yaml"], 2, "such as recipe: dm"),
    ([*CONDENSE, "--recipe", "photos"], 2, "unknown recipe"),
    ([*CONDENSE, "--recipe", ""], 2, "unknown recipe"),
    ([*CONDENSE, "--config", "run.json"], 2, ""),
    ([*CONDENSE, "--config", "incomplete.yaml"], 2, "lacks"),
    ([*CONDENSE, "--config", "photos"], 2, "cannot be read"),
    # Run folders.
    (["condense", *SMALL, "--out", "photos"], 2, "holds something else"),
    (["condense", *SMALL, "--out", "a_file"], 2, "is a file"),
    (["condense", *SMALL, "--out", "a_file/below"], 2, "cannot be made"),
    (["condense", *SMALL, "--out", "run", "--seed", "3"], 2, "seed there: 0, here: 3"),
    (["condense", *SMALL, "--out", "run", "--iterations", "0"], 2, "iterations there: 1, here: 0"),
    (["condense", *SMALL, "--out", "run", "--ipc", "2"], 2, "ipc there: 1, here: 2"),
    (["resume"], 2, "needs a run"),
    (["resume", "nowhere"], 2, "does not exist"),
    (["resume", "photos"], 2, "holds no run"),
    (["resume", "a_file"], 2, "holds no run"),
    (["resume", "run", "--iterations", "0"], 2, "iterations there: 1, here: 0"),
    (["resume", "run", "--seed", "2"], 2, "does not know --seed"),
    (["resume", "run", "--minutes", "-3"], 2, "--minutes must be positive"),
    # Data.
    ([*CONDENSE, "--data", "halves.npz"], 1, "label"),
    ([*CONDENSE, "--data", "unlabelled.npz"], 1, "labels"),
    ([*CONDENSE, "--data", "short.npz"], 1, "7"),
    ([*CONDENSE, "--data", "five.npz"], 1, "N×C×H×W"),
    ([*CONDENSE, "--data", "nothing.npz"], 1, "no images"),
    ([*CONDENSE, "--data", "one_class.npz"], 1, "class"),
    ([*CONDENSE, "--data", "nan.npz"], 1, "finite"),
    ([*CONDENSE, "--data", "words.npz"], 1, "of type"),
    ([*CONDENSE, "--data", "objects.npz"], 1, "objects.npz"),
    ([*CONDENSE, "--data", "torn.npz"], 1, "torn.npz"),
    ([*CONDENSE, "--data", "text.npz"], 1, "text.npz"),
    ([*CONDENSE, "--data", "absent.npz"], 1, "absent.npz"),
    ([*CONDENSE, "--data", "empty_class"], 1, "bird"),
    ([*CONDENSE, "--data", "mixed"], 1, "--size"),
    ([*CONDENSE, "--data", "alone"], 1, "class"),
    ([*CONDENSE, "--data", "no_pictures"], 1, "'cat' holds no images"),
    ([*CONDENSE, "--data", "nothing_at_all"], 1, "nothing_at_all"),
    ([*CONDENSE, "--data", "a_file"], 1, "a_file"),
    ([*CONDENSE, "--data", "hub:"], 1, "hub"),
    ([*CONDENSE, "--data", "hub:no slashes here"], 1, "hub"),
    ([*CONDENSE, "--data", "cifra10"], 1, "cifar10"),
    ([*CONDENSE, "--data", ""], 2, "--data is empty"),
    ([*CONDENSE, "--data", "photos", "--ipc", "50"], 1, "use --ipc"),
    ([*CONDENSE, "--data", "photos", "--channels", "4"], 2, "--channels"),
    (["data", "mixed"], 1, "--size"),
    (["data", "photos", "--size", "0"], 2, "size"),
    (["data"], 2, "needs a spec"),
    # Selections and pools.
    (["select"], 2, "needs a method"),
    (["select", "random", "--ipc", "1", "--out", "run"], 2, "holds something else"),
    (["select", "random", "--ipc", "1", "--sets", "0", "--out", "new"], 2, "--sets"),
    (["select", "random", "--data", "photos", "--ipc", "50", "--out", "new"], 1, "class"),
    (["pool", "--count", "0", "--out", "new"], 2, "--count must be at least 1"),
    (["pool", "--rate", "0", "--out", "new"], 2, "--rate must be positive"),
    (["pool", "--held-out", "2", "--out", "new"], 2, "--held-out"),
    (["pool", "--net", "convnt", "--out", "new"], 2, "convnet"),
    (["pool", "--snapshots", "50", "--epochs", "2", "--out", "new"], 2, "--snapshots"),
    (["pool", "--checkpoint-every", "3steps", "--out", "new"], 2, "60s or 5it"),
    (["pool", "--count", "1", "--out", "photos"], 2, "holds something else"),
    # Sets.
    (["show"], 2, "needs a run"),
    (["show", "photos"], 1, "photos"),
    (["show", "a_file"], 1, "not a condensed set"),
    (["show", "unfinished"], 1, "unfinished"),
    (["show", "half"], 1, "damaged"),
    (["show", "torn.safetensors"], 1, "damaged"),
    (["show", "empty.safetensors"], 1, "damaged"),
    (["show", "text.safetensors"], 1, "damaged"),
    (["show", "huge_header.safetensors"], 1, "damaged"),
    (["show", "huge_claim.safetensors"], 1, "damaged"),
    (["show", "foreign.safetensors"], 1, "not a condensed set"),
    (["show", "future.safetensors"], 1, "upgrade"),
    (["show", "few.safetensors"], 1, "few.safetensors"),
    (["show", "code.safetensors"], 1, "code.safetensors"),
    (["show", "kind.safetensors"], 1, "no_such"),
    (["show", "ipc.safetensors"], 1, "ipc.safetensors"),
    (["show", "std.safetensors"], 1, "std.safetensors"),
    (["show", "run", "--picture", "a_file/x.png"], 2, "cannot be made"),
    (["show", "run", "--picture", "."], 2, "--picture . is a folder"),
    (["export", "run", "--to", "jpeg", "--out", "new"], 2, "unknown export format"),
    (["export", "run", "--to", "images", "--out", "photos"], 2, "not empty"),
    (["export", "run", "--to", "images", "--stored", "--out", "new"], 2, "stored"),
    (["export", "torn.safetensors", "--out", "new"], 1, "damaged"),
    (["evaluate", "run", "--nets", "0"], 2, "--nets"),
    (["evaluate", "run", "--epochs", "0"], 2, "epoch"),
    (["evaluate", "run", "--net", "mpl"], 2, "mlp"),
    (["evaluate", "run", "--data", "photos", "--nets", "1"], 1, "classes"),
    (["evaluate", "run", "--data", "digits", "--size", "16", "--nets", "1"], 1, "--size"),
    (["evaluate", "run", "--zca", "--nets", "1"], 1, "whitened"),
    (["evaluate", "photos", "--nets", "1"], 2, "name it with --data"),
    (["evaluate", "run", "half", "--nets", "1"], 1, "damaged"),
    (["evaluate", ".", "--nets", "1"], 1, "holds runs, each a row of its own; name them: "),
    (["evaluate", "run", "--protocol", ""], 2, "protocol"),
    (["evaluate", "run", "--protocol", "dc+epoch=3"], 2, "did you mean 'epochs'"),
    (["evaluate", "run", "--protocol", "dc+strategy=crp"], 2, "did you mean 'crop'"),
    (["compare", "run", "--plot", "a.jpg"], 2, "--plot must end in"),
    (["reproduce", "dm/table1", "--list", "--plot", "a.png"], 2, "--list has none of ours"),
    (["compare", "run", "--protocol", "dc", "dc+batch=0"], 2, "batch must be at least 1"),
    (["evaluate", "run", "--json", "a_file/x.json"], 2, "cannot be made"),
    (["resume", "run", "--threads", "2"], 2, "see condensery resume --help"),
    (["evaluate", "run", "--optimizer.rate", "3"], 2, "only condense takes it"),
]


def _snapshot(folder: Path) -> set[tuple[str, int]]:
    return {
        (str(p.relative_to(folder)), p.stat().st_mtime_ns)
        for p in folder.glob("**/*")
        if p.is_file()
    }


def test_too_large_a_budget_is_refused_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def planned(*_: object, **__: object) -> None:
        raise AssertionError("planned")

    monkeypatch.setattr("condensery.condensation.configure.choose_plan", planned)
    command = ["condense", "--ipc", "500", "--out", str(tmp_path / "new")]
    for more in ([], ["--minutes", "1"], ["--optimizer.rate", "auto"], ["--dry-run"]):
        assert main([*command, *more]) == 1
        told = capsys.readouterr()
        assert "use --ipc 142 or less" in told.err
        assert "plan" not in told.out
    for rate in (1.0, "auto"):
        with pytest.raises(DataError, match="use ipc=142 or less"):
            condense("digits", ipc=500, overrides={"optimizer": {"rate": rate}})


def test_there_are_enough_of_them() -> None:
    assert len(MISTAKES) >= 120
    assert len({tuple(arguments) for arguments, _, _ in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize(
    ("arguments", "code", "words"), MISTAKES, ids=[" ".join(a)[-70:] for a, _, _ in MISTAKES]
)
def test_a_mistake_gets_one_sentence(
    arguments: list[str],
    code: int,
    words: str,
    world: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(world)
    monkeypatch.delenv("CONDENSERY_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = _snapshot(world)
    try:
        found = main(arguments)
    except SystemExit as stop:
        found = int(stop.code or 0)
    out, err = capsys.readouterr()
    after, made = _snapshot(world), (world / "new").exists()
    shutil.rmtree(world / "new", ignore_errors=True)  # the next one shall not stumble on it
    assert (found, words in err) == (code, True), (found, err)
    assert "Traceback" not in out + err
    assert err.startswith("condensery: ")
    assert err.count("\n") == 1, err
    assert len(err) < 600, err
    assert after == before, "something was written"
    assert not made


PYTHON: list[tuple[str, Any, type[Exception]]] = [
    ("no data", lambda: load(_any(None)), DataError),
    ("a number", lambda: load(_any(3)), DataError),
    ("three arrays", lambda: load(_any((1, 2, 3))), DataError),
    ("lengths", lambda: load((np.zeros((4, 8, 8), np.uint8), np.zeros(3, int))), DataError),
    ("empty", lambda: load((np.zeros((0, 8, 8), np.uint8), np.zeros(0, int))), DataError),
    ("words", lambda: load((np.array(["a"] * 4), np.zeros(4, int))), DataError),
    ("size", lambda: load("digits", size=1), UsageError),
    ("budget", lambda: condense("digits", ipc=0), UsageError),
    ("half a budget", lambda: condense("digits", ipc=1.5), UsageError),  # type: ignore[arg-type]
    ("truth", lambda: condense("digits", ipc=True), UsageError),
    ("recipe", lambda: condense("digits", "dmm"), UsageError),
    ("field", lambda: condense("digits", overrides={"rat": 1}), UsageError),
    ("iterations", lambda: condense("digits", iterations=-1), UsageError),
    ("until", lambda: condense("digits", until="late"), UsageError),  # type: ignore[arg-type]
    ("plan", lambda: condense("digits", iterations=0, plan="quick"), UsageError),
    ("networks", lambda: evaluate("whole", "digits", repeats=0), UsageError),
    ("nothing", lambda: evaluate([], "digits"), UsageError),
    ("no set", lambda: evaluate("nowhere", "digits"), DataError),
    ("open", lambda: CondensedSet.load("nowhere"), DataError),
    ("labels", lambda: LabelledSet.of(_zeros(3), _long(3, 7), ("a", "b"), "x"), DataError),
    ("types", lambda: LabelledSet.of(_zeros(3).double(), _long(3), ("a",), "x"), DataError),
]


def _any(value: Any) -> Any:
    """A value whose type a program would not be warned of."""
    return value


def _zeros(n: int) -> Any:
    import torch

    return torch.zeros(n, 1, 8, 8)


def _long(n: int, value: int = 0) -> Any:
    import torch

    return torch.full((n,), value)


@pytest.mark.parametrize(("call", "kind"), [p[1:] for p in PYTHON], ids=[p[0] for p in PYTHON])
def test_a_mistake_in_python_is_a_value_error(call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind) as found:
        call()
    assert isinstance(found.value, ValueError)
    assert 10 < len(str(found.value)) < 500


def test_a_corrupt_picture_is_named(world: Path) -> None:
    """Left out with a note, or refused: never silently wrong."""
    with pytest.raises(DataError, match=r"0\.png"):
        load(str(world / "corrupt"))


def test_gaps_between_labels_are_named_and_not_filled(world: Path) -> None:
    assert load(str(world / "gap.npz")).train.class_names == ("0", "2")
    assert load(str(world / "negative.npz")).train.class_names == ("-1", "0")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    _pictures(tmp_path / "photos")
    strange = os.fsencode(str(tmp_path / "photos")) + b"/cat/\xff\xfe.png"
    try:
        shutil.copy(os.fsencode(tmp_path / "photos" / "cat" / "0.png"), strange)
    except OSError:
        pytest.skip("this file system takes no such names")
    try:
        data = load(str(tmp_path / "photos"))
    except DataError as error:
        str(error).encode()
    else:
        assert len(data.train) + len(data.test) in (10, 11)


HOSTILE = ["../../escape", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "nul\0l", "CON", "x" * 300]


def test_an_export_stays_in_its_folder(world: Path, tmp_path: Path) -> None:
    names = [*HOSTILE[:9], HOSTILE[9]]
    file = tmp_path / "hostile.safetensors"
    _edited(world / "run" / "condensed.safetensors", file, class_names=names)
    inside = tmp_path / "inside"
    inside.mkdir()
    try:
        condensed = CondensedSet.load(file)
    except DataError:
        return
    export(condensed, "images", inside / "out")
    (folder,) = inside.iterdir()
    assert {p.name for p in tmp_path.iterdir()} == {"hostile.safetensors", "inside"}
    classes = list(folder.iterdir())
    assert len(classes) == 10
    assert all(p.resolve().parent == folder.resolve() for p in classes)
    assert sum(1 for p in folder.glob("**/*.png")) == len(condensed)


def test_a_recipe_runs_no_code(world: Path) -> None:
    assert not (world / "PWNED").exists()
    held = yaml.safe_load((world / "run" / "recipe.yaml").read_text())
    assert held["recipe"] == "dm"


def test_opening_a_file_allocates_nothing_that_it_does_not_hold(world: Path) -> None:
    """The claims are of 4 EiB: an attempt to allocate them would not come back with a sentence."""
    for name in ("huge_header", "huge_claim"):
        file = world / f"{name}.safetensors"
        assert file.stat().st_size < 1000
        with pytest.raises(DataError, match="damaged"):
            CondensedSet.load(file)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data", "digits", "--size", "1" + "0" * 30], "size must be at most 16384 pixels"),
        (["evaluate", "whole", "--nets", "1" + "0" * 30], "--nets must be at most 100000"),
    ],
)
def test_absurd_counts_are_refused_at_once(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err
