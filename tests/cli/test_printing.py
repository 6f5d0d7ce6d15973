"""What is computed is kept where printing fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from condensery.cli.main import main
from condensery.utils.output import put, put_error
from tests.utils.test_search_path import plant, ran_in

FEW = ["--net", "mlp", "--nets", "1", "--epochs", "1", "--plan", "exact", "--threads", "1"]


class Full:
    """A standard output of which every line fails."""

    encoding = "utf-8"

    def __init__(self, error: OSError) -> None:
        self.error = error
        self.lines = 0

    def write(self, text: str) -> int:
        self.lines += 1
        raise self.error

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        raise OSError


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 1), (BrokenPipeError(), 141)]
)
def test_numbers_are_written_before_anything_is_printed(
    error: OSError,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["select", "random", "--ipc", "1", "--out", "s", "--quiet"]) == 0
    lines: list[tuple[list[str], list[str]]] = [
        (["data", "digits"], ["--json"]),
        (["show", "s"], ["--json"]),
        (["evaluate", "s", *FEW], ["--json"]),
        (["compare", "s", *FEW], ["--json", "--csv", "--markdown"]),
        (["select", "random", "--ipc", "1", "--sets", "2", "--out", "two"], ["--json"]),
        (["reproduce", "--status"], ["--json", "--markdown"]),
    ]
    for line, flags in lines:
        files = [f"{line[0]}{flag}" for flag in flags]
        pairs = [word for pair in zip(flags, files, strict=True) for word in pair]
        full = Full(error)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            assert main([*line, *pairs]) == code, line
        assert full.lines > 0
        assert all(Path(file).stat().st_size for file in files), line
        told = capsys.readouterr().err
        assert ("could not be printed (No space" in told) == (code == 1)
    assert Path("two/1/condensed.safetensors").exists()
    # Nothing is remembered of it.
    assert main(["data", "digits", "--quiet"]) == 0


def test_numbers_are_printed_where_they_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["select", "random", "--ipc", "1", "--out", "s", "--quiet"]) == 0

    def full(path: Path, value: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("condensery.cli.telling.write_json", full)
    assert main(["evaluate", "s", *FEW, "--json", "r.json"]) == 1
    told = capsys.readouterr()
    assert "accuracy %" in told.out
    assert "No space left on device: r.json" in told.err


PROGRAM = [sys.executable, "-m", "condensery", "data", "digits", "--json", "r.json"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_a_program_whose_output_finds_no_room(tmp_path: Path) -> None:
    """In a folder that someone else made: none of its modules runs."""
    plant(tmp_path)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), ""])}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            PROGRAM,
            cwd=tmp_path,
            env=env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran_in(tmp_path) == ""
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "the output could not be printed (No space left on device)" in done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["name"] == "digits"


@pytest.mark.slow  # as above, and the code for each error is tested without a process
def test_a_program_whose_output_nobody_reads(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        PROGRAM, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert (tmp_path / "r.json").exists()


def test_escape_codes_and_lines_in_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put("a\nb\x1b[31m", "c")
    put_error("d\x9b31m\r")
    told = capsys.readouterr()
    assert told.out == "a\\nb\\x1b[31m\nc\n"
    assert told.err == "d\\x9b31m\\r\n"
    monkeypatch.chdir(tmp_path)
    assert main(["show", "no\x1b[31m\nsuch"]) == 1
    assert "no\\x1b[31m\\nsuch" in capsys.readouterr().err
