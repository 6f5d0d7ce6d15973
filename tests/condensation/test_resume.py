"""Nothing is lost: kills, signals, full disks, damaged checkpoints, locks, time limits."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from condensery import CondensedSet, Data, UsageError
from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.condensation.divergence import Drift, FirstBreak
from condensery.condensation.loop import Condenser
from condensery.errors import DataError
from condensery.runtime.plan import exact_plan
from condensery.utils.checkpoint import Checkpoints, Every, load_state, save_state
from condensery.utils.files import whole_file
from condensery.utils.locks import in_use
from tests.conftest import tiny
from tests.programs import Program

SMALL = ["--ipc", "1", "--real-batch", "4", "--supply.net", "convnet1:width=4", "--plan", "exact"]
SMALL += ["--threads", "1", "--data", "three.npz"]
DM = ["condense", "--recipe", "dm", *SMALL]

#: Every kind of formation, objective and supply, and a network with batch statistics.
KILLED = {
    "dm": ["--recipe", "dm"],
    "dsa": ["--recipe", "dsa", "--supply.steps", "3", "--supply.epochs", "1"],
    "gm_mdo": ["--recipe", "gm_mdo", "--supply.net", "convnet1:width=4,norm=batch"],
    "cafe": ["--recipe", "cafe", "--supply.step_cap", "3", "--supply.query", "4"],
    "idc": ["--recipe", "idc", "--supply.steps", "3", "--supply.images", "9"],
    "fsrcnn": ["--recipe", "dm", "--formation.kind", "fsrcnn", "--optimizer.rate", "0.1"],
    "pool": ["--recipe", "dm", "--supply.kind", "pool"],
    "mmd": ["--recipe", "mmd"],
}
ITERATIONS = 12


def _command(arguments: list[str], slowly: bool) -> int:
    """What a child process does: the command, with writing that takes long where it is asked."""
    if slowly:
        from condensery.utils import checkpoint

        at_once = whole_file

        @contextlib.contextmanager
        def torn(path: Path) -> Any:
            with at_once(path) as temporary:
                temporary.write_bytes(b"half of it")
                time.sleep(0.1)
                yield temporary

        vars(checkpoint)["whole_file"] = torn
    return main(arguments)


def _lines(out: Path) -> list[dict[str, Any]]:
    file = out / "metrics.jsonl"
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        with contextlib.suppress(ValueError):  # the last one may be half written
            found.append(json.loads(line))
    return found


def _killed(arguments: list[str], out: Path, until: int, writing: bool) -> int | None:
    """Run a command and kill it at an iteration, or while it writes a checkpoint after that.

    The exit code where it ended before that, None where it was killed.
    """
    process = Program(_command, arguments, writing)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        lines = _lines(out)
        if lines and lines[-1]["iteration"] >= until:
            half = list((out / "checkpoints").glob(".state*-writing-*/*"))
            if half or not writing:
                process.kill()
                return None
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(1)
    return process.returncode


@pytest.fixture(scope="module", autouse=True)
def _data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The current folder holds three classes of images: digits have ten, which take longer."""
    train = tiny((30, 30, 30)).train
    folder, before = tmp_path_factory.mktemp("data"), Path.cwd()
    np.savez(folder / "three.npz", images=train.images.numpy(), labels=train.labels.numpy())
    os.chdir(folder)
    yield
    os.chdir(before)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pool") / "p"
    small = ["--net", "convnet1:width=4", "--count", "3", "--epochs", "1", "--plan", "exact"]
    small += ["--data", "three.npz", "--threads", "1"]
    assert main(["pool", *small, "--out", str(out), "--quiet"]) == 0
    return out


#: The others are killed, and many more times, by ``benchmarks/kills.py``.
QUICK = ("dsa",)


@pytest.mark.xdist_group("forked")
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in KILLED],
)
def test_a_killed_run_goes_on_to_the_same_bytes(name: str, pool: Path, tmp_path: Path) -> None:
    """Three kills each, one of them while a checkpoint is written."""
    named = KILLED[name] + (["--supply.path", str(pool)] if name == "pool" else [])
    # A later flag wins, so that a recipe may choose its own network.
    arguments = ["condense", *SMALL, *named, "--iterations", str(ITERATIONS)]
    if name == "pool":
        arguments = [a for a in arguments if a not in ("--supply.net", "convnet1:width=4")]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*arguments, "--out", str(whole), "--quiet"]) == 0
    dice = random.Random(name)
    kills = 0
    for number, least in enumerate((1, 4, 8)):
        until = least + dice.randrange(3)
        again = ["resume", str(killed)] if number else [*arguments, "--out", str(killed)]
        again += ["--checkpoint-every", "1it" if number == 1 else "2steps", "--quiet"]
        code = _killed(again, killed, until, writing=number == 1)
        assert code is None, (name, number, code)
        kills += 1
    assert not (killed / "condensed.safetensors").exists()
    assert main(["resume", str(killed), "--quiet"]) == 0
    files = [p / "condensed.safetensors" for p in (whole, killed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    steps = [[line["step"] for line in _lines(p)] for p in (whole, killed)]
    assert steps[0] == steps[1]
    assert not list(killed.glob("**/.*-writing-*"))
    assert kills == 3


def test_killed_before_the_first_checkpoint(tmp_path: Path) -> None:
    """What is left by a kill between any two of the first files starts over."""
    whole = tmp_path / "whole"
    arguments = [*DM, "--iterations", "2", "--quiet"]
    assert main([*arguments, "--out", str(whole)]) == 0
    files = ("checkpoints/000000.safetensors", "recipe.yaml", "run.json")
    for left in range(len(files)):
        out = tmp_path / str(left)
        shutil.copytree(whole, out)
        for file in out.glob("**/*"):
            name = str(file.relative_to(out))
            if file.is_file() and name not in files[left + 1 :]:
                file.unlink()
        if left == 0:
            assert main(["resume", str(out), "--quiet"]) == 0
        else:
            assert main([*arguments, "--out", str(out)]) == 0
        name = "condensed.safetensors"
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_state_files(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "a": torch.arange(6.0).reshape(2, 3),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.zeros(0),
        "flag": torch.tensor(True),
        "below": {"b": torch.tensor(3), "values": [1, "x", None], "deep": {"c": 0.1}},
    }
    save_state(state, tmp_path / "s.safetensors")
    held = load_state(tmp_path / "s.safetensors")
    assert held["below"]["values"] == [1, "x", None]
    assert held["below"]["deep"] == {"c": 0.1}
    for found, wanted in ((held["a"], state["a"]), (held["half"], state["half"])):
        assert torch.equal(found, wanted)
        assert found.dtype == wanted.dtype
    assert held["none"].shape == (0,)
    assert (bool(held["flag"]), int(held["below"]["b"])) == (True, 3)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9, 0.999])
def test_one_flipped_bit_is_noticed(where: float, tmp_path: Path) -> None:
    file = tmp_path / "s.safetensors"
    save_state({"a": torch.arange(64.0), "b": {"c": 7}}, file)
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        load_state(file)


def test_the_last_two_states_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    assert kept.load() == (None, [])
    for number in range(4):
        kept.save({"n": number, "t": torch.full((3,), float(number))})
    assert [load_state(p)["n"] for p in kept.files] == [3, 2]
    kept.newest.write_bytes(kept.newest.read_bytes()[:-4])
    state, notes = kept.load()
    assert state is not None
    assert state["n"] == 2
    assert "resuming from the previous one" in notes[0]
    kept.before.write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        kept.load()
    # A kill between the two renames: the next one is there, and is the newest.
    kept.save({"n": 5, "t": torch.zeros(1)})
    kept.newest.replace(kept._next)
    state, notes = kept.load()
    assert state is not None
    assert (state["n"], notes) == (5, [])


def test_a_torn_checkpoint_falls_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert main([*DM, "--iterations", "6", "--out", str(whole), "--quiet"]) == 0
    few = [*DM, "--iterations", "4", "--out", str(torn), "--checkpoint-every", "1it", "--quiet"]
    assert main([*few, "--keep-checkpoints"]) == 0
    (torn / "condensed.safetensors").unlink()
    newest = torn / "checkpoints" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    with (torn / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 5, "st')  # a torn line, too
    capsys.readouterr()
    assert main(["resume", str(torn), "--iterations", "6"]) == 0
    assert yaml.safe_load((torn / "recipe.yaml").read_text())["iterations"] == 6
    assert "resuming from the previous one" in capsys.readouterr().err
    name = "condensed.safetensors"
    assert (torn / name).read_bytes() == (whole / name).read_bytes()
    assert [line["iteration"] for line in _lines(torn)] == list(range(1, 7))


def test_iterations_may_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    assert main([*DM, "--iterations", "6", "--out", str(whole), "--quiet"]) == 0
    assert main([*DM, "--iterations", "2", "--out", str(grown), "--quiet"]) == 0
    early = (grown / "condensed.safetensors").read_bytes()
    assert main(["resume", str(grown)]) == 0
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert main([*DM, "--iterations", "4", "--out", str(grown), "--quiet"]) == 0
    assert main(["resume", str(grown), "--iterations", "6", "--quiet"]) == 0
    name = "condensed.safetensors"
    assert (grown / name).read_bytes() == (whole / name).read_bytes()
    assert (grown / "checkpoints" / "000002.safetensors").read_bytes() == early
    assert [line["iteration"] for line in _lines(grown)] == list(range(1, 7))
    for fewer in (["resume", str(grown), "--iterations", "3"], [*DM, "--iterations", "3"]):
        code = main([*fewer, *([] if fewer[0] == "resume" else ["--out", str(grown)])])
        assert code == 2
        assert "iterations there: 6, here: 3" in capsys.readouterr().err
    for file in (grown / "checkpoints").glob("state*"):
        file.unlink()
    assert main(["resume", str(grown), "--iterations", "9"]) == 2
    assert "last checkpoint is missing" in capsys.readouterr().err


def test_a_finished_run_keeps_one_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    often = [*DM, "--iterations", "8", "--checkpoint-every", "1it", "--out"]
    pruned, kept = tmp_path / "pruned", tmp_path / "kept"
    assert main([*often, str(pruned)]) == 0
    said = capsys.readouterr().out
    states = sorted(p.name for p in (pruned / "checkpoints").glob("state*"))
    assert states == ["state.safetensors"]
    assert "kept for resume --iterations N: the last checkpoint" in said
    assert "--keep-checkpoints" in said
    # Sets of the past, which a report draws, stay.
    assert len(list((pruned / "checkpoints").glob("0*.safetensors"))) == 4
    assert main([*often, str(kept), "--keep-checkpoints"]) == 0
    assert "kept for resume" not in capsys.readouterr().out
    assert len(list((kept / "checkpoints").glob("state*"))) == 2
    for run in (pruned, kept):
        assert main(["resume", str(run), "--iterations", "9", "--quiet"]) == 0
    name = "condensed.safetensors"
    assert (pruned / name).read_bytes() == (kept / name).read_bytes()


def test_the_state_before_stays_where_the_newest_is_damaged(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for n in range(2):
        kept.save({"n": n, "t": torch.zeros(3)})
    whole = kept.newest.read_bytes()
    kept.newest.write_bytes(whole[:-1] + b"x")
    kept.prune()
    assert kept.before.exists()
    kept.newest.write_bytes(whole)
    kept.prune()
    assert kept.files == [kept.newest]


def test_iterations_that_grow_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, told of more iterations, and stopped again: a plain resume knows how many."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main([*DM, "--iterations", "9", "--out", str(whole), "--quiet"]) == 0
    step = Condenser.step
    stops = [2, 5]

    def stopping(self: Condenser) -> None:
        step(self)
        if self.steps in stops:
            stops.remove(self.steps)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Condenser, "step", stopping)
    assert main([*DM, "--iterations", "4", "--out", str(out), "--quiet"]) == 130
    assert main(["resume", str(out), "--iterations", "9", "--quiet"]) == 130
    assert main(["resume", str(out), "--quiet"]) == 0
    name = "condensed.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_finished_run_with_damaged_checkpoints_keeps_its_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    assert main([*DM, "--iterations", "3", "--out", str(out), "--quiet"]) == 0
    before = (out / "condensed.safetensors").read_bytes()
    for file in (out / "checkpoints").glob("state*"):
        file.write_bytes(file.read_bytes()[:50])
    assert main(["resume", str(out), "--iterations", "5"]) == 1
    assert "its set is left as it is" in capsys.readouterr().err
    assert (out / "condensed.safetensors").read_bytes() == before
    assert yaml.safe_load((out / "recipe.yaml").read_text())["iterations"] == 3
    assert main(["resume", str(out)]) == 0


def test_all_sets_that_were_asked_for_are_resumed(tmp_path: Path) -> None:
    """The first two were begun when two were wanted; the third when there were to be four."""
    out = tmp_path / "s"
    small = [*DM, "--iterations", "1", "--out", str(out), "--quiet"]
    assert main([*small, "--sets", "2"]) == 0
    assert main([*small, "--sets", "3"]) == 0
    (out / "2" / "condensed.safetensors").unlink()
    assert main(["resume", str(out), "--quiet"]) == 0
    assert (out / "2" / "condensed.safetensors").exists()
    assert main(["resume", str(out), "--iterations", "2", "--quiet"]) == 0
    done = [CondensedSet.load(out / str(n)).about.iterations for n in range(3)]
    assert done == [2, 2, 2]


def test_what_to_evaluate_may_be_said_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    arguments = [*DM, "--iterations", "6", "--out", str(out), "--quiet"]
    step = Condenser.step
    stops = [2, 4]

    def stopping(self: Condenser) -> None:
        step(self)
        if self.steps in stops:
            stops.remove(self.steps)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Condenser, "step", stopping)
    assert main(arguments) == 143
    short = ["--evaluate-at", "5", "--evaluate-nets", "1", "--evaluate-epochs", "1"]
    assert main([*arguments, *short]) == 143
    assert main(["resume", str(out), "--quiet"]) == 0
    (row,) = json.loads((out / "accuracy.json").read_text())["results"]
    assert row["iteration"] == 5
    assert row["plan"].startswith("exact (cpu, 1 thread,")


def test_no_room_at_the_very_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    arguments = [*DM, "--iterations", "2", "--out", str(out)]
    with monkeypatch.context() as patch:
        _FullDisk(patch, "000000", 0)
        assert main(arguments) == 1
    err = capsys.readouterr().err
    assert f"{out} cannot be written (No space left on device); free some space" in err
    assert not out.exists()
    assert main([*arguments, "--quiet"]) == 0


def test_several_sets_are_resumed_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    arguments = [*DM, "--iterations", "2", "--sets", "2", "--quiet"]
    assert main([*arguments, "--out", str(one)]) == 0
    shutil.copytree(one / "0", two / "0")
    assert main(["resume", str(two), "--quiet"]) == 0
    name = "1/condensed.safetensors"
    assert (two / name).read_bytes() == (one / name).read_bytes()


def test_minutes_end_with_a_set_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, timed = tmp_path / "whole", tmp_path / "timed"
    steps = ["--recipe", "dc", "--supply.steps", "2", "--supply.epochs", "1"]
    arguments = ["condense", *SMALL, *steps, "--iterations", "4"]
    assert main([*arguments, "--out", str(whole), "--quiet"]) == 0

    # A clock that a step moves on by ten seconds.
    now = [0.0]
    step = Condenser.step

    def slow(self: Condenser) -> None:
        step(self)
        now[0] += 10.0

    monkeypatch.setattr(Condenser, "step", slow)
    monkeypatch.setattr("condensery.condensation.recorder.time.monotonic", lambda: now[0])
    limited = [*arguments, "--out", str(timed), "--minutes", "0.5"]
    assert main(limited) == 0
    assert "time limit reached after 1 of 4 iterations" in capsys.readouterr().out
    assert CondensedSet.load(timed).about.iterations == 1
    held = json.loads((timed / "run.json").read_text())
    assert (held["status"], held["ended"], held["seconds"]) == ("finished", "minutes", 30.0)
    assert main(limited) == 0  # the same command: its time was over before
    assert "is finished in its 0.5 minutes; nothing to do; condensery" in capsys.readouterr().out
    assert main(["resume", str(timed), "--minutes", "0.6"]) == 0
    assert CondensedSet.load(timed).about.iterations == 2
    assert main(["resume", str(timed), "--quiet"]) == 0
    assert json.loads((timed / "run.json").read_text())["ended"] == "iterations"
    name = "condensed.safetensors"
    assert (timed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, Every()),
        ("60s", Every(seconds=60.0, asked=True)),
        ("0.5m", Every(seconds=30.0, asked=True)),
        ("2h", Every(seconds=7200.0, asked=True)),
        ("200it", Every(seconds=None, iterations=200, asked=True)),
        ("1step", Every(seconds=None, steps=1, asked=True)),
        ("50steps", Every(seconds=None, steps=50, asked=True)),
    ],
)
def test_checkpoint_intervals(text: str | None, wanted: Every) -> None:
    assert Every.parse(text) == wanted


@pytest.mark.parametrize("text", ["", "60", "it", "0it", "1.5it", "-3s", "0s", "5 days", "sixty s"])
def test_wrong_intervals_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="such as 60s"):
        Every.parse(text)


@pytest.mark.parametrize(
    ("every", "saved"), [("2it", [4, 8, 12, 12]), ("3steps", [3, 6, 9, 12, 12]), ("1h", [12])]
)
def test_checkpoints_come_when_they_are_asked_for(
    every: str, saved: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps per iteration, six iterations; the last one is that of the end."""
    seen: list[int] = []
    save = Checkpoints.save

    def noting(self: Checkpoints, state: dict[str, Any]) -> None:
        seen.append(state["steps"])
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", noting)
    steps = ["--recipe", "dc", "--supply.steps", "2", "--supply.epochs", "1", "--iterations", "6"]
    often = ["--checkpoint-every", every, "--out", str(tmp_path / "r"), "--quiet"]
    assert main(["condense", *SMALL, *steps, *often]) == 0
    assert seen == saved


def test_a_folder_belongs_to_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    arguments = [*DM, "--iterations", "2", "--out", str(out)]
    with in_use(out):
        assert main(arguments) == 2
        assert "is in use by process" in capsys.readouterr().err
    assert not out.exists()  # nothing was written, and nothing is left
    out.mkdir()
    (out / "checkpoints").mkdir()
    # What a killed process leaves: its lock's file, which nobody holds.
    (out / "checkpoints" / ".lock").touch()
    (out / "checkpoints" / ".lock.json").write_text('{"process": 1, "host": "gone"}')
    (out / "checkpoints" / ".state-writing-abc").mkdir()
    assert main([*arguments, "--quiet"]) == 0
    assert not (out / "checkpoints" / ".state-writing-abc").exists()


class _FullDisk:
    """No room from some write on, for the files that a pattern names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
        self.left = after
        self.name = name
        write = Path.write_bytes

        def failing(path: Path, content: bytes) -> int:
            if self.name in path.name:
                self.left -= 1
                if self.left < 0:
                    raise OSError(28, "No space left on device", str(path))
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", failing)


def test_a_full_disk_costs_no_more_than_it_must(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "r"
    assert main([*DM, "--iterations", "6", "--out", str(whole), "--quiet"]) == 0
    arguments = [*DM, "--iterations", "6", "--out", str(out), "--checkpoint-every", "1it"]
    with monkeypatch.context() as patch:
        _FullDisk(patch, "state", 2)
        assert main(arguments) == 0  # the run continues without checkpoints, and says so once
    err = capsys.readouterr().err
    assert err.count("a checkpoint could not be written (No space left on device)") == 1
    name = "condensed.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()
    (out / name).unlink()
    with monkeypatch.context() as patch:
        _FullDisk(patch, "condensed", 0)
        assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert "free some space and run the same command again" in err
    assert not (out / name).exists()
    assert main([*arguments, "--quiet"]) == 0
    assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_memory_that_runs_out_names_what_shrinks_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    arguments = [*DM, "--iterations", "6", "--out", str(out), "--checkpoint-every", "1it"]
    step = Condenser.step
    fails_at = [0]

    def failing(self: Condenser) -> None:
        if self.steps == fails_at[0]:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        step(self)

    monkeypatch.setattr(Condenser, "step", failing)
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "out of memory in the first step; use less with --plan.chunk" in err
    assert not out.exists()
    fails_at[0] = 3
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "out of memory at step 4" in err
    assert "--real-batch 2" in err
    fails_at[0] = -1
    assert main([*arguments, "--quiet"]) == 0
    assert [line["iteration"] for line in _lines(out)] == list(range(1, 7))


def test_a_run_that_breaks_keeps_its_last_good_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    arguments = [*DM, "--iterations", "8", "--out", str(out), "--checkpoint-every", "2it"]
    step = Condenser.step

    def breaking(self: Condenser) -> None:
        if self.steps == 4:  # the fifth step
            with torch.no_grad():
                self.stored[[0, 2]] = float("nan")
        step(self)

    monkeypatch.setattr(Condenser, "step", breaking)
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert (
        "NaN or inf at step 5 (iteration 5), first in classes '0', '2'; lower --optimizer.rate"
        in err
    )
    good = out / "checkpoints" / "000004.safetensors"
    assert f"The last good set, of step 4, is {good}" in err
    assert torch.isfinite(CondensedSet.load(good).stored).all()
    assert load_state(out / "checkpoints" / "state.safetensors")["steps"] == 4
    assert not (out / "condensed.safetensors").exists()


def test_the_watch_remembers_the_first_break() -> None:
    stored = torch.zeros(4, 2, 1, 3, 3)
    watch = FirstBreak(stored)
    watch.look(1, 1, torch.tensor(1.0), stored)
    assert watch.found() is None
    bad = stored.clone()
    bad[2, 1, 0, 1, 1] = float("inf")
    watch.look(2, 1, torch.tensor(1.0), bad)
    watch.look(3, 2, torch.tensor(float("nan")), torch.full_like(stored, float("nan")))
    found = watch.found()
    assert found is not None
    assert (found.step, found.iteration, found.classes) == (2, 1, (2,))
    loss_only = FirstBreak(stored)
    loss_only.look(7, 3, torch.tensor(float("inf")), stored)
    found = loss_only.found()
    assert found is not None
    assert (found.step, found.iteration, found.classes) == (7, 3, ())


def test_divergence_warns_once() -> None:
    drift = Drift()
    calm = [1.0, 2.0, 3.0, 19.0, 19.0, 19.0, 19.0, 19.0, 19.0]
    assert [drift.add(loss) for loss in calm] == [None] * len(calm)
    high = [drift.add(21.0) for _ in range(9)]
    assert [warning is not None for warning in high] == [False] * 4 + [True] + [False] * 4
    assert "10 times its start (2)" in str(high[4])
    broken = Drift()
    bumps = [1.0] * 3 + [50.0] * 4 + [1.0] + [50.0] * 4
    assert [broken.add(loss) for loss in bumps] == [None] * len(bumps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_says_how_to_go_on(
    number: signal.Signals,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "r"
    step = Condenser.step

    def stopping(self: Condenser) -> None:
        step(self)
        if self.steps == 3:
            signal.raise_signal(number)

    monkeypatch.setattr(Condenser, "step", stopping)
    code = main([*DM, "--iterations", "6", "--out", str(out)])
    assert code == 128 + number
    assert f"stopped by {number.name}" in (err := capsys.readouterr().err)
    assert f"condensery resume {out}" in err
    assert load_state(out / "checkpoints" / "state.safetensors")["steps"] == 3
    monkeypatch.undo()
    assert main(["resume", str(out), "--quiet"]) == 0


def test_resume_refuses_what_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pool: Path
) -> None:
    picked = tmp_path / "picked"
    assert main(["select", "random", "--ipc", "1", "--out", str(picked), "--quiet"]) == 0
    (tmp_path / "empty").mkdir()
    for place, words in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "holds no run"),
        (picked, "is a selection"),
        (pool, "is a pool"),
    ):
        assert main(["resume", str(place)]) == 2
        assert words in capsys.readouterr().err


def test_a_rehearsal_says_what_it_takes_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, answer = tmp_path / "r", tmp_path / "answer.json"
    arguments = ["condense", *SMALL, *KILLED["idc"], "--iterations", "50", "--out", str(out)]
    assert main([*arguments, "--dry-run", "--json", str(answer)]) == 0
    said = capsys.readouterr().out
    assert "plan: exact" in said
    assert "3 steps per iteration" in said
    assert not out.exists()
    (found,) = json.loads(answer.read_text())["runs"]
    told = found["dry_run"]
    assert (told["steps"], told["decoded_images"]) == (3, 12)
    assert told["stored_bytes"] == 3 * 64 * 4
    expected = 50 * (3 * told["step_seconds"] + told["network_seconds"])
    assert told["seconds"] >= expected > 0
    assert main([*arguments, "--quiet", "--iterations", "1"]) == 0
    assert main([*arguments, "--iterations", "1", "--seed", "1", "--dry-run"]) == 2  # refused, too
    assert "holds another run" in capsys.readouterr().err


def test_leaving_a_network_goes_on_with_the_next(tiny_data: Data) -> None:
    small = {"ipc": 1, "iterations": 3, "supply.net": "convnet1:width=4", "supply.steps": 4}
    run = Condenser(tiny_data, configure(tiny_data, "dc", small), exact_plan("cpu", 1))
    run.step()
    run.leave_network()
    assert (run.iteration, run.step_in_iteration) == (1, 0)
    run.leave_network()  # between networks there is none to leave
    assert run.iteration == 1


def test_accuracy_over_time_is_taken_after_the_fact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    arguments = [*DM, "--iterations", "6"]
    assert main([*arguments, "--out", str(plain), "--quiet"]) == 0
    watching = ["--evaluate-at", "0,3,6,50", "--evaluate-nets", "2", "--evaluate-epochs", "2"]
    answer = tmp_path / "a.json"
    more = ["--out", str(watched), *watching, "--json", str(answer)]
    assert main([*arguments, *more]) == 0
    assert "no set was kept at iteration 50" in capsys.readouterr().out
    name = "condensed.safetensors"
    assert (watched / name).read_bytes() == (plain / name).read_bytes()
    held = json.loads((watched / "accuracy.json").read_text())["results"]
    assert [row["iteration"] for row in held] == [0, 3, 6]
    assert json.loads(answer.read_text())["runs"][0]["accuracy_at"] == held
    # The same sets, evaluated by hand.
    short = ["--nets", "2", "--epochs", "2", "--plan", "exact", "--threads", "1", "--quiet"]
    for row in held:
        by_hand = ["evaluate", str(watched / row["set"]), *short, "--json", str(answer)]
        assert main(by_hand) == 0
        (found,) = json.loads(answer.read_text())["results"]
        assert found["accuracies"] == row["accuracies"]
        assert found["protocol"] == row["protocol"] == "dsa+epochs=2"
    # Known accuracies are not taken again: they are found in the file, changed or not.
    held[0]["mean"] = 12.34
    (watched / "accuracy.json").write_text(json.dumps({"results": held}))
    capsys.readouterr()
    assert main(["resume", str(watched)]) == 0
    assert "12.3" in capsys.readouterr().out
    for text in ("a,b", "", "1;2", "-1"):
        assert main([*arguments, "--evaluate-at", text, "--out", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()
