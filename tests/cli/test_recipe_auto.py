"""``--recipe auto``: a table of what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from condensery.cli import found_out
from condensery.cli.main import main
from condensery.config import measured
from condensery.config.measured import advice, table
from condensery.config.recipes import read_config, recipe_names
from condensery.training.protocol import protocol

FACTS: dict[str, Any] = {
    **{"data": "cifar10", "ipc": 10, "size": 32, "classes": 10, "audio": False},
    **{"device": "cpu", "minutes": 3},
}
ROOT = Path(__file__).parents[2]


def test_every_row_has_a_recipe_a_protocol_and_a_file_of_numbers() -> None:
    usual = {"net": "convnet", "norm": "other", "decoded": 1.0, **FACTS}
    for row in [*table()["rows"], *table()["otherwise"].values()]:
        assert row["recipe"] in recipe_names()
        assert protocol(row["protocol"], usual).epochs > 0
    for row in table()["rows"]:
        assert (ROOT / row["source"]).is_file()
        assert row["because"]
        assert set(row["when"]) <= set(FACTS)


def test_what_was_measured_is_taken_and_nothing_is_made_up() -> None:
    found = advice(FACTS)
    assert (found.recipe, found.protocol) == ("best", "idc+epochs=60")
    assert "60.8" in found.text()
    assert "best_holdouts.json" in found.text()
    for changed in ({"ipc": 11}, {"minutes": 7}, {"device": "cuda"}, {"data": ""}):
        assert (other := advice({**FACTS, **changed})).recipe == "best"
        assert "nothing was measured" in other.text()
    assert advice({**FACTS, "minutes": None}).recipe == "dm_mf"


@pytest.mark.parametrize("row", table()["rows"], ids=lambda row: str(row["when"]))
def test_rows_rest_on_training_images_that_were_set_aside(row: dict[str, Any]) -> None:
    when = row["when"]
    minutes = when["minutes"][0] if isinstance(when["minutes"], list) else when["minutes"]
    assert row["source"] == "benchmarks/results/best_holdouts.json", "and not on the test split"
    cell = {"data": when["data"], "ipc": when["ipc"], "minutes": minutes}
    results = json.loads((ROOT / row["source"]).read_text())["results"]
    found = [one for one in results if cell.items() <= one.items()]
    # Through a ConvNet and through an MLP, first its own recipe, then another one.
    said = [float(number) for number in re.findall(r"(?<!± )\b\d+\.\d", row["because"])]
    assert len(said) == 4
    nets = ["convnet3", "mlp"]
    for net, own, other in zip(nets, said[:2], said[2:], strict=True):
        through = [one for one in found if one["net"] == net]
        mine = [one["mean"] for one in through if one["recipe"] == row["recipe"]]
        rest = [one["mean"] for one in through if one["recipe"] != row["recipe"]]
        assert any(f"{mean:.1f}" == f"{own}" for mean in mine), "what the file has"
        assert any(f"{mean:.1f}" == f"{other}" for mean in rest), "what the file has"
        assert own >= max(rest) - 0.2, "ahead, or level"


def test_the_command_says_why_and_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["condense", "--recipe", "auto", "--data", "digits", "--ipc", "1", "--threads", "1"]
    few = ["--iterations", "0", "--supply.net", "convnet1:width=4", "--real-batch", "5"]
    assert main([*common, *few, "--out", str(tmp_path / "a")]) == 0
    told = capsys.readouterr().out
    assert "recipe: dm_mf, the default where nothing was measured" in told
    assert "test its sets with --protocol dsa" in told
    assert read_config(tmp_path / "a")["recipe"] == "dm_mf"
    row = {"when": {"data": "digits", "ipc": 1, "minutes": None}, "recipe": "mmd"}
    row |= {"protocol": "dc", "because": "a reason", "source": "a.json"}
    monkeypatch.setattr(measured, "table", lambda: {"rows": [row]})
    monkeypatch.setattr(found_out, "default_device", lambda: "cpu")
    assert main([*common, *few, "--out", str(tmp_path / "b")]) == 0
    assert "recipe: mmd, because of a reason: a.json" in capsys.readouterr().out
    assert read_config(tmp_path / "b")["recipe"] == "mmd"
