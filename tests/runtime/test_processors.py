"""How many processors a process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condensery.cli.main import main
from condensery.runtime import processors as asked
from condensery.runtime.plan import automatic, choose_plan, passes_in
from condensery.runtime.processors import default_threads, processors, quota


def groups(folder: Path, own: str, files: dict[str, str]) -> float | None:
    """The quota that some files of control groups give."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        file = folder / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return quota(folder / "own", folder / "mounted")


@pytest.mark.parametrize(
    ("own", "files", "allowed"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        # A group inside another one has no more than that.
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "cpu.max": "50000 100000"}, 0.5),
        (
            "4:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "300000",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        # In a container of version 1 the group's path is the host's, and its files are on top.
        (
            "1:cpu:/docker/f00\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "50000"},
            2.0,
        ),
        (
            "1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("2:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("", {}, None),
    ],
)
def test_quotas_of_both_versions(
    own: str, files: dict[str, str], allowed: float | None, tmp_path: Path
) -> None:
    assert groups(tmp_path, own, files) == allowed


def test_a_quota_limits_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for allowed, count in ((None, 8), (2.9, 2), (0.4, 1), (99.0, 8)):
        monkeypatch.setattr(asked, "quota", lambda allowed=allowed: allowed)
        assert processors() == count


def test_torchs_own_number_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "processors", lambda: 6)
    monkeypatch.delenv("RANK", raising=False)
    before = torch.get_num_threads()
    try:
        for number, expected in ((1, 1), (4, 4), (32, 6)):
            torch.set_num_threads(number)
            assert default_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("variable", "expected"), [("", 4), ("1", 4), ("2", 2), ("16", 4)])
def test_torchruns_own_1_is_no_wish(
    variable: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "processors", lambda: 8)
    launched = {"RANK": "0", "MASTER_ADDR": "here", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**launched, "OMP_NUM_THREADS": variable}.items():
        monkeypatch.setenv(name, value)
    assert default_threads() == expected


@pytest.mark.slow  # the test above asks without a process
def test_the_variable_is_honoured() -> None:
    line = "from condensery.runtime.plan import choose_plan as c;"
    line += "print(c('exact', shape=(1, 8, 8), images=1.0, device='cpu').threads)"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", line], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"


def test_a_short_run_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, many = (3, 64, 64), 1e9
    assert passes_in(None, many, shape, 2) == many
    assert passes_in(4, many, shape, 2) == 4 * 2 * 50_000 / 4
    assert passes_in(4, 10.0, shape, 2) == 10.0
    assert passes_in(4, many, shape, 64) == passes_in(4, many, shape, 2), "it takes as long"
    monkeypatch.setattr("condensery.runtime.plan.has_compiler", lambda device: True)
    plans = [
        choose_plan("auto", shape=shape, images=passes_in(m, many, shape, 1), device="cpu")
        for m in (3, 30, None)
    ]
    assert [plan.compile for plan in plans] == [False, True, True]


def test_a_plan_that_compiles_needs_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("condensery.runtime.plan.shutil.which", lambda name: None)
    line = ["condense", "--ipc", "1", "--iterations", "1", "--out", str(tmp_path / "r")]
    assert main([*line, "--plan.compile", "true"]) == 2
    assert "this machine has no C++ compiler" in capsys.readouterr().err
    assert not (tmp_path / "r" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("threads", "side", "chunk"), [(1, 32, 32), (2, 32, 64), (16, 32, 256), (2, 96, 7), (1, 512, 4)]
)
def test_every_thread_has_a_chunk_that_its_cache_holds(threads: int, side: int, chunk: int) -> None:
    assert automatic("cpu", threads, (3, side, side), 0.0).chunk == chunk
