"""The ladder of recipe ``best``: commands, records, and going on where it stopped."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from types import ModuleType

import pytest

from condensery.condensation.configure import configure
from condensery.data import load


@pytest.fixture
def ladder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "best" / "ladder.py"
    spec = importlib.util.spec_from_file_location("ladder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rungs_are_measured_once(
    ladder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, ...]] = []

    def command(arguments: tuple[str, ...], where: dict[str, str]) -> None:
        called.append(arguments)
        named = dict(itertools.pairwise(arguments))
        if arguments[0] == "evaluate":
            row = {"net": "convnet3", "n": 1, "mean": 40.0, "std": 0.0, "accuracies": [40.0]}
            Path(named["--json"]).write_text(json.dumps({"results": [row]}), encoding="utf-8")
            return
        run = Path(named["--out"])
        run.mkdir(parents=True)
        (run / "run.json").write_text("{}", encoding="utf-8")
        (run / "recipe.yaml").write_text("recipe: x\n", encoding="utf-8")

    monkeypatch.setattr(ladder, "_condensery", command)
    out = tmp_path / "ladder.jsonl"
    few = ["--only", "random", "dm", "--out", str(out), "--minutes", "2", "--data", "digits"]
    ladder.main(few)
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["name"] for record in records] == ["random", "dm"]
    assert records[0]["results"][0]["accuracies"] == [40.0]
    assert [("--minutes" in one) for one in called] == [False, False, True, False]
    ladder.main(few)
    assert len(called) == 4, "nothing is measured again"
    ladder.main([*few, "--seed", "1"])
    assert len(called) == 8, "another seed is another rung"


def test_every_rung_can_be_configured(ladder: ModuleType) -> None:
    data = load("digits")
    for words in ladder.RUNGS.values():
        if words[0] == "condense":
            named = dict(zip(words[1::2], words[2::2], strict=True))
            fields = {
                name.removeprefix("--").replace("-", "_") if "." not in name else name[2:]: value
                for name, value in named.items()
                if name != "--recipe"
            }
            numbers = {k: _plain(v) for k, v in fields.items()}
            assert configure(data, named["--recipe"], numbers).recipe == named["--recipe"]


def _plain(value: str) -> float | int | str:
    return int(value) if value.isdigit() else value
