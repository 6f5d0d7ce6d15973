"""What there is by name, and the pages of help."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import pytest

from condensery import nets
from condensery.cli.catalogue import LISTS, facts
from condensery.cli.computed_facts import computed
from condensery.cli.examples import EXAMPLES
from condensery.cli.main import COMMANDS, main
from condensery.config.data_sets import known_names
from condensery.config.recipes import recipe_names
from condensery.training.protocol import protocol_names

COUNTS = {
    "recipes": len(recipe_names()),
    "protocols": len(protocol_names()),
    "data": len(known_names()),
    "selections": 6,
}


@pytest.mark.parametrize("kind", LISTS)
def test_lists(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "list.json"
    assert main(["list", kind, "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))[kind]
    names = [one["name"] for one in found]
    assert len(set(names)) == len(names) >= COUNTS.get(kind, 10)
    assert all(len(one["about"]) > 12 for one in found)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    assert [name for name in names if not any(line.startswith(name) for line in shown)] == []


def test_what_is_listed_is_what_the_code_has() -> None:
    listed = {kind: facts(kind) for kind in LISTS if kind != "data"}
    assert json.loads(json.dumps(computed())) == listed, "run: make facts"


def test_a_network_has_options_too() -> None:
    (found,) = facts("networks", "convnet1:width=4")
    network = nets.build("convnet1:width=4", (3, 32, 32), 10)
    assert found["parameters"] == sum(p.numel() for p in network.parameters())


def test_a_recipe_costs_what_its_passes_come_to(capsys: pytest.CaptureFixture[str]) -> None:
    """Passes of ``dc`` and ``dm`` at ten images per class, counted by hand."""
    # dm: 20 000 iterations of 256 real images a class, and 10 synthetic ones with a pass back.
    dm = 20_000 * 10 * (256 + 3 * 10)
    # dc: 1000 networks of 10 steps through gradients (two more passes), and 50 epochs after each
    # step but the last.
    dc = 1000 * (10 * 3 * 10 * (256 + 3 * 10) + 3 * 9 * 50 * 100)
    (found,) = facts("recipes", "dc")
    assert found["cost"] == pytest.approx(dc / dm, rel=0.05)
    assert main(["list", "recipes", "dc"]) == 0
    assert "ICLR 2021" in capsys.readouterr().out


def test_a_recipe_that_fits_a_time_has_no_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """Its few iterations without ``--minutes`` say nothing of what it takes with them."""
    costs = {one["name"]: one["cost"] for one in facts("recipes")}
    assert [name for name, cost in costs.items() if cost is None] == ["best"]
    assert main(["list", "recipes"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "best - Features" in out
    assert "-: as much as --minutes allows" in out
    assert main(["list", "recipes", "best"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "cost" not in out
    assert "budget pool 0.4," in out
    assert "easy (objective.classification 0, supply.kind fresh," in out
    assert main(["list", "recipes", "dm"]) == 0
    assert "budget" not in capsys.readouterr().out


def test_a_recipe_on_top_of_another_has_its_own_card() -> None:
    told = [one["about"] for one in facts("recipes")]
    assert len(set(told)) == len(told)


def test_parameters_are_those_of_the_network() -> None:
    (found,) = facts("networks", "lenet")
    network = nets.build("lenet", (3, 32, 32), 10)
    assert found["parameters"] == sum(p.numel() for p in network.parameters())


def test_names_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "recipe"]) == 2
    assert "did you mean 'recipes'?" in capsys.readouterr().err
    assert main(["list", "recipes", "dmm"]) == 2
    assert "did you mean 'dm'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_explained_and_grouped(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    page = capsys.readouterr().out
    settings = COMMANDS[command][0]
    for item in dataclasses.fields(settings):
        assert f"--{item.name.replace('_', '-')}" in page
    assert "(type:" not in page
    assert "null" not in page
    assert page.count("condensery " + command) >= 2
    if command == "condense":
        order = [page.index(f"\n{group}:\n") for group in ("main", "budget", "data", "machine")]
        assert order == sorted(order)


def test_examples_parse() -> None:
    from condensery.cli.main import _parse

    for settings, lines in EXAMPLES.items():
        assert len(lines) == 2, settings
        for line in lines:
            command, values, _ = _parse(shlex.split(line))
            assert command in COMMANDS
            assert values.quiet is False


def test_defaults_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    page = " ".join(capsys.readouterr().out.split())
    assert "Networks per set (default 5)." in page
    assert "augmentation (default 0)." in page
