"""The ladder of recipe ``best``: commands, records, resuming, and its drawing over minutes."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from types import ModuleType

import pytest

from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.data import load


def _script(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "best" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ladder() -> ModuleType:
    return _script("ladder")


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
        text = f"recipe: x\npath: {where['CONDENSERY_CACHE']}/pools\n"
        (run / "recipe.yaml").write_text(text, encoding="utf-8")

    monkeypatch.setattr(ladder, "_condensery", command)
    out = tmp_path / "ladder.jsonl"
    few = ["--only", "random", "dm", "--out", str(out), "--minutes", "2", "--data", "digits"]
    ladder.main(few)
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [record["name"] for record in records] == ["random", "dm"]
    assert records[0]["results"][0]["accuracies"] == [40.0]
    assert "path: CACHE/pools" in records[0]["recipe"]
    assert "PLACE/run" in records[1]["command"]
    assert [("--minutes" in one) for one in called] == [False, False, True, False]
    ladder.main(few)
    assert len(called) == 4, "nothing is measured again"
    ladder.main([*few, "--seed", "1"])
    assert len(called) == 8, "another seed is another rung"


def test_accuracy_is_drawn_over_minutes(tmp_path: Path) -> None:
    script = _script("over_minutes")
    told = [("random", 10.0, 30.0), ("best", 1.0, 50.0), ("best", 10.0, 58.0), ("best", 10.0, 60.0)]
    file = tmp_path / "ladder.jsonl"
    rows = [
        {
            "name": name,
            "minutes": minutes,
            "results": [{"net": "convnet3", "mean": mean, "std": 1.0}, {"net": "mlp", "mean": 0.0}],
        }
        for name, minutes, mean in told
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    level, curve = script.lines(script.measured([file], ["random", "best"], "convnet3"))
    assert (level.x, level.y) == ((1.0, 10.0), (30.0, 30.0)), "it takes no minutes"
    assert (curve.x, curve.y, curve.spread) == ((1.0, 10.0), (50.0, 60.0), (1.0, 1.0))
    out = tmp_path / "minutes.png"
    script.main([str(file), "--names", "random", "best", "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="no result of dm through convnet3"):
        script.main([str(file), "--names", "dm", "--out", str(out)])


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
            found = configure(data, named["--recipe"], numbers)
            assert found.recipe == Path(named["--recipe"]).stem


def test_the_command_knows_every_flag_of_every_rung(
    ladder: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in ladder.RUNGS.items():
        about = ("--data", "nowhere", "--ipc", "10", "--out", str(tmp_path / "run"))
        assert main([*words, *about]) != 0
        error = capsys.readouterr().err
        assert "nowhere" in error, f"{name}: {error}"


def _plain(value: str) -> float | int | str:
    return int(value) if value.isdigit() else value
