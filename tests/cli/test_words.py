"""Words that people use, and what the command answers."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from condensery.cli.completion import SHELLS, script
from condensery.cli.main import COMMANDS, main
from condensery.cli.words import FLAGS
from condensery.data import load
from condensery.errors import DataError, UsageError
from condensery.utils.python_words import in_python, python_words


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("condense --method dm", "condense does not know --method; did you mean --recipe?"),
        ("condense --model convnet3", "--supply.net (condense)"),
        ("condense --lr 0.1", "--optimizer.rate (condense)"),
        ("condense --ratio 0.01", "did you mean --ipc N, images per class?"),
        ("condense --images-per-class 10", "did you mean --ipc?"),
        ("condense --images_per_class 10", "did you mean --ipc?"),
        ("condense --dataset mnist", "did you mean --data?"),
        ("condense --verbose", "it needs nothing: progress is shown"),
        ("evaluate a --gpu", "did you mean --device cuda?"),
        ("show a --iterationz 4", "show does not know --iterationz; see condensery show --help"),
        ("dm", "dm is a recipe; the command is: condensery condense --recipe dm"),
        ("condense --device gpu --data nowhere", "an NVIDIA GPU is called cuda"),
        ("condense --device mps --data nowhere", "Apple's GPUs are not; use cpu"),
        ("evaluate nowhere --plan fast", "--plan must be auto, exact or a .yaml file"),
        ("select random --threads 0 --data nowhere", "--threads must be at least 1"),
        ("--print-completion powershell", "needs the shell: bash, zsh, fish"),
    ],
)
def test_a_word_of_other_programs_gets_its_name_here(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(line.split())
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_name_of_the_hub_is_told_as_one() -> None:
    with pytest.raises(DataError, match="write hub:ylecun/mnist"):
        load("ylecun/mnist")
    with pytest.raises(DataError, match="check the path"):
        load("./nowhere/at/all")


def test_every_word_leads_to_a_flag_that_exists() -> None:
    known = {
        f"--{name.replace('_', '-')}"
        for settings, _, _ in COMMANDS.values()
        for name in settings.__dataclass_fields__
    }
    of_condense = {f"--{name}" for name in COMMANDS["condense"][0].__dataclass_fields__}
    for word, hint in FLAGS.items():
        assert word not in of_condense
        first = hint.split()[0]
        assert first in known or "." in first or first == "nothing:", (word, hint)


def test_errors_in_python_name_arguments() -> None:
    assert in_python("--sample-rate must be 1 (--nets 2)") == "sample_rate must be 1 (repeats=2)"

    @python_words
    def wrong() -> None:
        raise UsageError("--nets must be at least 1")

    with pytest.raises(UsageError, match=r"^repeats must be at least 1$"):
        wrong()


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_every_flag(shell: str) -> None:
    made = script(shell, COMMANDS)
    for name, (settings, _, _) in COMMANDS.items():
        marks = (f' {name}"', f" {name})")
        lines = [line for line in made.splitlines() if any(mark in line for mark in marks)]
        for field in settings.__dataclass_fields__:
            assert field.replace("_", "-") in "\n".join(lines), (shell, name, field)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes() -> None:
    asked = "COMP_WORDS=(condensery condense --ip); _condensery condensery --ip;"
    asked += ' echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script("bash", COMMANDS) + asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["--ipc"]
