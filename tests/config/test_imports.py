"""Import paths: what is typed may be imported, what a file names may not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from condensery import UsageError, condense
from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.config.imports import import_paths
from condensery.data import Data

#: Says that it was imported, and that it was called.
CODE = """
from pathlib import Path

from torch import nn

Path("IMPORTED").touch()


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.last = nn.Linear(64, classes)

    def forward(self, images):
        return self.last(images.flatten(1))


def function(**options):
    Path("CALLED").touch()


class Other:
    def __init__(self, **options):
        Path("CALLED").touch()
"""
SMALL = ["--data", "digits", "--ipc", "1", "--iterations", "1", "--real-batch", "4"]
SMALL += ["--plan", "exact", "--threads", "1", "--out", "run"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code_of_a_stranger.py").write_text(CODE)
    monkeypatch.delitem(sys.modules, "code_of_a_stranger", raising=False)
    return tmp_path


NET = "code_of_a_stranger:Net"
#: Where a recipe file can name code, and the field of the sentence.
PLACES: list[tuple[dict[str, Any], str]] = [
    ({"supply": {"net": NET}}, "supply.net"),
    ({"supply": {"net": "code_of_a_stranger.Net"}}, "supply.net"),
    ({"supply": {"net": "code_of_a_stranger:function:x=1"}}, "supply.net"),
    ({"supply": {"kind": NET}}, "supply.kind"),
    ({"objective": {"kind": NET}}, "objective.kind"),
    ({"formation": {"kind": NET}}, "formation.kind"),
    ({"augmentation": NET}, "augmentation.kind"),
    ({"supply": {"kind": "pool", "path": "pool", "module": NET}}, "supply.module"),
    ({"cases": [{"when": {"ipc": 1}, "set": {"supply.net": NET}}]}, "supply.net"),
    (
        {
            "cases": [
                {
                    "when": {"ipc": 1},
                    "set": {"cases": [{"when": {"ipc": 1}, "set": {"supply.net": NET}}]},
                }
            ]
        },
        "supply.net",
    ),
]


@pytest.mark.parametrize(("content", "field"), PLACES)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_file_may_not_name_code(
    content: dict[str, Any],
    field: str,
    more: list[str],
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / "got.yaml").write_text(yaml.safe_dump({"recipe": "dm", **content}))
    assert main(["condense", "--recipe", "got.yaml", *SMALL, *more]) == 2
    told = capsys.readouterr().err
    if "field 'cases'" not in told:  # cases do not nest
        assert field in told
        assert "code_of_a_stranger" in told
        assert "--trust-imports" in told
    assert sorted(p.name for p in here.iterdir()) == ["code_of_a_stranger.py", "got.yaml"]


def test_what_is_to_be_typed_is_quoted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = f"{NET}:x=1;touch PWNED\x1b[2K"
    (here / "got.yaml").write_text(yaml.safe_dump({"recipe": "dm", "supply": {"net": wild}}))
    assert main(["condense", "--recipe", "got.yaml", *SMALL]) == 2
    assert f"or type --supply.net '{NET}:x=1;touch PWNED\\x1b[2K'" in capsys.readouterr().err


def test_a_change_of_kind_does_not_carry_the_file_s_network(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "got.yaml").write_text(yaml.safe_dump({"recipe": "dc", "supply": {"net": NET}}))
    typed = ["--supply.kind", "fresh"]
    assert main(["condense", "--recipe", "got.yaml", *SMALL, *typed]) == 2
    assert "--trust-imports" in capsys.readouterr().err
    assert not (here / "IMPORTED").exists()


def test_what_is_typed_may_be_imported_and_resumed_when_trusted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["condense", *SMALL, "--supply.net", NET]
    assert main(line) == 0
    assert (here / "IMPORTED").exists()
    assert main(line) == 0
    assert "nothing to do" in capsys.readouterr().out
    (here / "IMPORTED").unlink()
    again = ["condense", "--config", "run", *SMALL, "--out", "other"]
    for command in (["resume", "run", "--iterations", "2"], again):
        sys.modules.pop("code_of_a_stranger", None)
        assert main(command) == 2
        assert "supply.net is the import path" in capsys.readouterr().err
        assert not (here / "IMPORTED").exists()
        assert main([*command, "--trust-imports"]) == 0
        assert (here / "IMPORTED").exists()
        (here / "IMPORTED").unlink()
        capsys.readouterr()


def test_the_same_path_typed_for_a_file_is_allowed(here: Path) -> None:
    (here / "got.yaml").write_text(yaml.safe_dump({"recipe": "dm", "supply": {"net": NET}}))
    assert main(["condense", "--recipe", "got.yaml", *SMALL, "--supply.net", NET]) == 0


@pytest.mark.parametrize("name", ["function", "Other"])
def test_only_classes_of_networks_are_called(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["condense", *SMALL, "--supply.net", f"code_of_a_stranger:{name}"]) == 2
    assert "not a subclass of torch.nn.Module" in capsys.readouterr().err
    assert not (here / "CALLED").exists()


def test_programs(here: Path, tiny_data: Data) -> None:
    content = {"recipe": "dm", "supply": {"net": NET}}
    (here / "got.yaml").write_text(yaml.safe_dump(content))
    given: dict[str, Any] = {"iterations": 0, "ipc": 1, "plan": "exact", "threads": 1}
    with pytest.raises(UsageError, match="trust_imports=True"):
        condense(tiny_data, "got.yaml", **given)
    assert not (here / "IMPORTED").exists()
    assert len(condense(tiny_data, content, **given)) == 3
    assert len(condense(tiny_data, "got.yaml", trust_imports=True, **given)) == 3
    assert list(import_paths(configure(tiny_data, content))) == [NET]
    assert list(import_paths(configure(tiny_data, "dc"))) == []


def test_looking_at_a_run_imports_nothing(here: Path) -> None:
    assert main(["condense", *SMALL, "--supply.net", NET, "--quiet"]) == 0
    (here / "IMPORTED").unlink()
    sys.modules.pop("code_of_a_stranger", None)
    assert main(["show", "run", "--quiet"]) == 0
    few = ["--nets", "1", "--epochs", "1", "--plan", "exact", "--threads", "1", "--quiet"]
    assert main(["evaluate", "run", *few]) == 0
    assert main(["compare", "run", *few]) == 0
    assert not (here / "IMPORTED").exists()
    assert "code_of_a_stranger" not in sys.modules
