"""What the README tells a newcomer works as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condensery.cli.main import _parse, main
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.draws import draw_step
from condensery.config.build import choice_class, kinds_of
from condensery.config.recipes import CHOICES
from condensery.nets import embed
from condensery.runtime.plan import exact_plan
from tests.conftest import tiny

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language; an empty one is a shell's."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
    return [block for name, block in found if name == language]


def commands(page: Path) -> list[str]:
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    return [line.split("#")[0].strip() for line in lines if line.startswith("condensery ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_documentation_parses(page: Path) -> None:
    for line in commands(page):
        command, _, _ = _parse(shlex.split(line)[1:])
        assert command == line.split()[1]


def test_an_outsiders_objective_needs_no_change_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "CONTRIBUTING.md"
    (code,) = [b for b in blocks(page, "python") if b.startswith("# moments.py")]
    (recipe,) = [b for b in blocks(page, "yaml") if "moments:Moments" in b]
    (tmp_path / "moments.py").write_text(code)
    (tmp_path / "moments.yaml").write_text(recipe)
    (line,) = commands(page)
    monkeypatch.chdir(tmp_path)
    short = line.replace("--iterations 20", "--iterations 2")
    assert short != line
    quick = ["--threads", "1", "--plan", "exact", "--real-batch", "8"]
    assert main([*short.split()[1:], *quick]) == 0
    assert ": moments, 2 iterations" in capsys.readouterr().out
    # It is the formula that its docstring states, and its settings are checked as any.
    monkeypatch.syspath_prepend(str(tmp_path))
    data = tiny()
    given = {"ipc": 2, "real_batch": 8, "supply.net": "convnet2:width=4"}
    run_ = Condenser(
        data,
        configure(data, "moments.yaml", given, trust_imports=True),
        exact_plan("cpu", 1, "float64"),
    )
    assert run_.config.objective.as_dict() == {"kind": "moments:Moments", "squares": 0.5}
    network, stored = run_.supply.new(0), run_.stored.detach()
    found = run_.matcher.gradient(network, stored, 0, 0)[1]
    leaf = stored.clone().requires_grad_()
    draws = draw_step(data.train, run_.augmentation, run_.task, 8, 0, 0)
    total = torch.zeros((), dtype=torch.float64)
    for c, rows in enumerate(draws.rows):
        images = data.train.normalised(rows, dtype=torch.float64)
        real, made = (
            embed(network, run_.augmentation.apply(x, draws.augmentation[c]))
            for x in (images, leaf[c])
        )
        total = total + (real.mean(0) - made.mean(0)).square().sum()
        total = total + 0.5 * (real.square().mean(0) - made.square().mean(0)).square().sum()
    torch.testing.assert_close(found, torch.autograd.grad(total, leaf)[0], rtol=1e-9, atol=1e-12)
    assert main([*line.split()[1:], "--objective.sqares", "2"]) == 2
    assert "objective.squares" in capsys.readouterr().err


@pytest.mark.parametrize("choice", CHOICES)
def test_every_kind_is_an_export_of_its_room(choice: str) -> None:
    for name, kind in kinds_of(choice).items():
        assert choice_class(choice, name) is kind


def test_there_are_commands_to_check() -> None:
    assert len(commands(ROOT / "README.md")) >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    # Pages of the reference are made by `make docs`, which checks the links to them.
    for target in re.findall(r"\]\((?!https?:|reference/)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def photos(folder: Path) -> None:
    """Two classes of pictures of different sizes, in the ways that people keep them."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for k in range(12):
            high, wide = 18 + k, 24 + 2 * k
            shade = rng.integers(0, 90, (high, wide, 3)) + 120 * number
            ending = "png" if k % 3 else "jpg"
            picture = Image.fromarray(shade.astype(np.uint8))
            picture.save(folder / name / f"{k}.{ending}")


def test_the_newcomers_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    # The README's own commands, made short.
    short = {
        "condense": ["--iterations", "3", "--supply.net", "convnet2:width=4"],
        "evaluate": ["--nets", "1", "--epochs", "2", "--net", "convnet2:width=4"],
    }
    journey = [line for line in commands(ROOT / "README.md") if "photos" in line]
    assert [line.split()[1] for line in journey] == [
        "data", "condense", "show", "evaluate", "export", "compare",
    ]  # fmt: skip
    for line in journey:
        line = line.replace("--size 64", "--size 16").replace("--ipc 10", "--ipc 2")
        line = line.replace("--epochs 30 --nets 2", "--epochs 2 --nets 1")
        line = line.replace("whole+epochs=24", "whole+epochs=1")
        line = line.replace("theirs.npz", "photos.npz --net convnet2:width=4")
        arguments = re.split(r"\s+", line)[1:]
        code = main([*arguments, *short.get(arguments[0], [])])
        captured = capsys.readouterr()
        assert code == 0, (line, captured.err)
    assert {p.name for p in tmp_path.iterdir()} >= {"runs", "photos.npz", "result.json"}

    (plain,) = (b for b in blocks(ROOT / "docs/exporting.md", "python") if "np.load" in b)
    assert "condensery" not in plain
    plain = plain.replace("range(300)", "range(3)") + "print(len(network(images)))"
    assert run(plain, capsys) == "4\n"


def run(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a program prints that knows nothing of this file."""
    capsys.readouterr()
    exec(compile(code, "example.py", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out


def test_the_python_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = (b for b in blocks(ROOT / "README.md", "python") if "CondensedSet" in b)
    example = example.replace("ipc=1)", "ipc=1, iterations=1)").replace("epochs=300", "epochs=2")
    said = run(example, capsys)
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d \(n=5, dsa\+epochs=2\)\n", said)


def test_the_memory_of_another_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = (b for b in blocks(ROOT / "docs/applications.md", "python") if "Memory" in b)
    assert run(example, capsys) == "[0, 1, 2, 3] 8\n"
