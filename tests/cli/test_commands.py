"""The command, as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from condensery import CondensedSet
from condensery.cli.catalogue import LISTS
from condensery.cli.main import COMMANDS, main, split_dotted
from condensery.config.recipes import read_config
from tests.programs import Program

QUICK = ["--supply.net", "convnet2:width=4", "--plan", "exact", "--threads", "1"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = int(stop.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


def test_the_whole_journey(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(
        capsys, "condense", "--ipc", "1", "--iterations", "4", "--out", "runs/a", *QUICK,
        "--json", "a.json",
    )  # fmt: skip
    assert (code, "runs/a/images.png" in out, "4/4 iterations" in err) == (0, True, True)
    made = json.loads(Path("a.json").read_text())["runs"][0]
    assert made["stored_bytes"] == 10 * 64 * 4
    folder = Path("runs/a")
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names >= {
        "condensed.safetensors", "recipe.yaml", "metrics.jsonl", "images.png", "run.json",
        "checkpoints/000000.safetensors", "checkpoints/000002.safetensors",
    }  # fmt: skip
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert set(lines[0]) == {"iteration", "step", "loss", "seconds", "supply"}
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["plan"]["name"] == "exact"
    assert facts["versions"]["torch"]

    # The same command again has nothing to do; another one is refused.
    again = ["condense", "--ipc", "1", "--iterations", "4", "--out", "runs/a", *QUICK]
    code, out, _ = run(capsys, *again)
    assert (code, "finished" in out) == (0, True)
    code, _, err = run(capsys, *again, "--seed", "1")
    assert (code, "another run (seed there: 0, here: 1)" in err) == (2, True)

    # recipe.yaml repeats the run to the same bytes.
    code, _, _ = run(
        capsys, "condense", "--config", "runs/a/recipe.yaml", "--out", "runs/b", "--quiet",
        "--plan", "exact", "--threads", "1",
    )  # fmt: skip
    assert code == 0
    same = [(Path("runs") / x / "condensed.safetensors").read_bytes() for x in ("a", "b")]
    assert same[0] == same[1]

    code, out, _ = run(capsys, "select", "random", "--ipc", "1", "--sets", "2", "--out", "runs/r")
    assert (code, Path("runs/r/1/images.png").exists()) == (0, True)
    code, out, err = run(
        capsys, "evaluate", "runs/a", "runs/r", "whole(epochs=1)", "--net", "convnet2:width=4",
        "mlp", "--nets", "2", "--epochs", "2", "--json", "e.json", "--threads", "1",
    )  # fmt: skip
    assert code == 0
    assert "dsa+epochs=2" in out
    assert "±" in out
    assert "16/16 networks" in err
    rows = json.loads(Path("e.json").read_text())["results"]
    assert [(r["set"], r["n"]) for r in rows] == [
        ("runs/a", 2), ("runs/a", 2), ("runs/r", 4), ("runs/r", 4),
        ("whole", 2), ("whole", 2),
    ]  # fmt: skip

    code, out, _ = run(capsys, "show", "runs/a", "--json", "s.json")
    assert code == 0
    assert "dm of digits" in out
    assert "2.6 kB" in out
    assert json.loads(Path("s.json").read_text())["decoded_images"] == 10
    code, _, _ = run(capsys, "show", "runs/a/condensed.safetensors", "--picture", "p.png")
    assert (code, Path("p.png").exists()) == (0, True)

    for to, written in (("npz", "x.npz"), ("images", "x"), ("parquet", "x.parquet")):
        code, out, _ = run(capsys, "export", "runs/a", "--to", to, "--out", "x")
        assert (code, written in out, Path(written).exists()) == (0, True, True)
    with np.load("x.npz") as held:
        assert held["images"].shape == (10, 1, 8, 8)
    code, out, _ = run(
        capsys, "export", "runs/a", "--out", "y", "--verify", "--nets", "1", "--epochs", "1"
    )
    assert (code, "8 bits cost" in out) == (0, True)


def test_several_sets_have_consecutive_seeds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["condense", "--ipc", "1", "--iterations", "1", "--sets", "2", "--seed", "4"]
    code, _, _ = run(capsys, *arguments, "--out", str(tmp_path / "s"), *QUICK, "--quiet")
    assert code == 0
    seeds = [CondensedSet.load(tmp_path / "s" / str(k)).about.seed for k in range(2)]
    assert seeds == [4, 5]


def test_runs_are_not_mixed_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)

    def own() -> None:
        images = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8)
        np.savez("own.npz", images=images, labels=np.arange(40) % 2)

    own()
    start = ["condense", "--data", "own.npz", "--ipc", "1", "--iterations", "2", *QUICK]
    assert run(capsys, *start, "--out", "r")[0] == 0
    code, _, err = run(capsys, *start, "--out", "r", "--sets", "2")
    assert (code, "holds a run of one set" in err) == (2, True)
    assert run(capsys, *start, "--out", "many", "--sets", "2")[0] == 0
    short = ["--nets", "1", "--epochs", "1", "--net", "convnet1:width=4", "--threads", "1"]
    # Where the data are is known from the run, for several sets and for selections, too.
    select = ["select", "random", "--data", "own.npz", "--ipc", "1", "--out", "picked"]
    assert run(capsys, *select)[0] == 0
    for name in ("r", "many", "picked", "r/checkpoints/000001.safetensors"):
        assert run(capsys, "evaluate", name, *short)[0] == 0, name
    code, out, _ = run(capsys, *select)
    assert (code, "finished" in out) == (0, True)
    code, _, err = run(capsys, *select, "--seed", "1")
    assert (code, "holds something else" in err) == (2, True)
    own()
    for arguments in ([*start, "--out", "r"], ["evaluate", "r", *short]):
        code, _, err = run(capsys, *arguments)
        assert (code, "training images" in err) == (1, True)


def test_metrics_of_a_run_that_begins_again_are_not_doubled(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "r"
    arguments = ["condense", "--ipc", "1", "--iterations", "2", "--out", str(out), *QUICK]
    assert run(capsys, *arguments)[0] == 0
    (out / "condensed.safetensors").unlink()
    assert run(capsys, *arguments)[0] == 0
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("recipe.yaml", "a: [", "choose another --out"),
        ("run.json", "[1]", ""),
        ("checkpoints/state.safetensors", "broken", "is damaged"),
    ],
)
def test_damaged_run_folders(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: str, message: str
) -> None:
    out = tmp_path / "r"
    arguments = ["condense", "--ipc", "1", "--iterations", "2", "--out", str(out), *QUICK]
    assert run(capsys, *arguments)[0] == 0
    (out / "condensed.safetensors").unlink()
    (out / name).write_text(content)
    code, _, err = run(capsys, *arguments)
    assert (code == 0) == (message == ""), err
    assert message in err
    assert "Traceback" not in err


def test_a_diverging_run_fails_with_the_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "r"
    arguments = ["condense", "--ipc", "1", "--iterations", "5", "--out", str(out), *QUICK]
    code, _, err = run(capsys, *arguments, "--optimizer.rate", "1e30")
    assert (code, "lower --optimizer.rate" in err) == (1, True)
    assert not (out / "condensed.safetensors").exists()
    assert "NaN" not in (out / "metrics.jsonl").read_text()


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["condense", "--ipc", "1", "--iterations", "1", "--out", str(tmp_path / "q")]
    assert run(capsys, *arguments, *QUICK, "--quiet") == (0, "", "")
    assert run(capsys, "data", "digits", "--quiet") == (0, "", "")


def test_data_says_what_it_understood(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "data", "digits", "--json", str(tmp_path / "d.json"))
    assert code == 0
    for word in ("train: 1438 images", "test: 359 images", "8×8"):
        assert word in out
    assert json.loads((tmp_path / "d.json").read_text())["name"] == "digits"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a command"),
        (["condens"], 2, "did you mean condense"),
        (["condense", "--ipk", "3"], 2, "did you mean --ipc"),
        (["condense", "--ipc", "three"], 2, "--ipc"),
        (["condense", "--ipc", "0"], 2, "ipc must be at least 1"),
        (["condense", "--channels", "2"], 2, "--channels"),
        (["condense", "--recipe", "dmm"], 2, "did you mean 'dm'"),
        (["condense", "--recipe", "dm", "--config", "x.yaml"], 2, "mutually exclusive"),
        (["condense", "--config", "x.yaml"], 2, "x.yaml cannot be read"),
        (["condense", "--seed", "18446744073709551616"], 2, "seed must lie in"),
        (["condense", "--optimizer.rate", ".inf"], 2, "optimizer.rate must be positive"),
        (["condense", "--out", ""], 2, "--out is empty"),
        (["condense", "--objective.kind", "os:path"], 2, "must be a dataclass"),
        (["condense", "--data.kind", "x"], 2, "unknown choice"),
        (["condense", "--device", "mps"], 2, "Apple's GPUs are not; use cpu"),
        (["select", "random", "--ipc", "0"], 2, "ipc must be at least 1"),
        (["select", "random", "--seed", "-1"], 2, "seed must lie in"),
        (["evaluate", "whole(epochs=0)"], 2, "at least 1 epoch"),
        (["evaluate", "whole", "--seed", "-1"], 2, "seed must lie in"),
        (["data", "digits", "--json", "."], 2, "is a folder"),
        (["evaluate", "whole(5)"], 2, "write whole(epochs=N)"),
        (["condense", "digits"], 2, "did you mean --data digits"),
        (["data", "--data", "digits"], 2, "condensery data SPEC"),
        (["condense", "--optimizer.rat", "3"], 2, "did you mean 'optimizer.rate'"),
        (["condense", "--optimizer.rate"], 2, "needs a value"),
        (["condense", "--sets", "0"], 2, "--sets"),
        (["condense", "--plan", "fast"], 2, "--plan must be auto, exact or a .yaml file"),
        (["condense", "--plan", "nowhere.yaml"], 2, "cannot be read"),
        (["condense", "--device", "gpu9"], 2, "device 'gpu9' is not supported"),
        (["condense", "--threads", "0"], 2, "--threads"),
        (["condense", "--data", "mnisst"], 1, "mnist"),
        (["condense", "--ipc", "500", "--plan", "exact"], 1, "500"),
        (["select", "randm"], 2, "did you mean 'random'"),
        (["select", "random", "--optimizer.rate", "1"], 2, "only condense takes it"),
        (["evaluate"], 2, "evaluate"),
        (["evaluate", "nowhere"], 1, "does not exist"),
        (
            ["evaluate", "whole", "--data", "digits", "--net", "convnt3", "--nets", "1"],
            2,
            "convnet",
        ),
        (["evaluate", "whole", "--data", "digits", "--protocol", "dss"], 2, "did you mean 'dsa'"),
        (["show", "nowhere"], 1, "does not exist"),
        (["export", "nowhere"], 1, "does not exist"),
        (["data", "nowhere"], 1, "nowhere"),
    ],
)
def test_mistakes_get_one_sentence_and_an_exit_code(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONDENSERY_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found, out, err = run(capsys, *arguments)
    assert (found, message in err) == (code, True), err
    assert "Traceback" not in err
    assert err.startswith("condensery: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "a refused command leaves nothing behind"


def test_dotted_overrides_are_yaml() -> None:
    rest, dotted = split_dotted(
        [
            "condense",
            "--a.b",
            "1",
            "--ipc",
            "3",
            "--c.d.e=[x, 2]",
            "--f.g",
            "-1.5",
            "--h.i",
            "no: [",
        ]
    )
    assert rest == ["condense", "--ipc", "3"]
    assert dotted == [("a.b", 1), ("c.d.e", ["x", 2]), ("f.g", -1.5), ("h.i", "no: [")]


def test_what_only_tells_imports_no_torch(tmp_path: Path) -> None:
    """In one process: what one command imports, the next one sees."""
    pages = [["--help"], *([command, "--help"] for command in COMMANDS)]
    tell = [["--version"], *(["list", kind] for kind in LISTS)]
    tell += [["list", "recipes", "dc"], ["list", "data", "cifar10"]]
    tell += [["reproduce", "--list"], ["reproduce", "dc/table1", "--list"]]
    tell += [["reproduce", "--status", "--results", str(tmp_path)]]
    code = f"""
import sys
from importlib import import_module
from condensery.cli.main import main
for arguments in {pages + tell!r}:
    try:
        print("\x1e", arguments)
        assert main(arguments) == 0, arguments
    except SystemExit as stop:
        assert stop.code == 0
    heavy = {{"torch", "numpy", "datasets", "sklearn", "PIL"}} & set(sys.modules)
    assert not heavy, (arguments, heavy)
import_module("condensery.config.resolve")
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout.split("\x1e")[1:]
    assert len(told) == len(pages) + len(tell)
    assert all(len(text.splitlines()) > 1 for text in told)
    for text in told[1 : len(pages)]:
        assert "--json" in text


@pytest.mark.xdist_group("forked")
def test_a_signal_stops_between_iterations_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(out: Path) -> list[str]:
        return [
            "condense", "--ipc", "1", "--iterations", "12", "--real-batch", "64",
            "--out", str(out), *QUICK,
        ]  # fmt: skip

    stopped = tmp_path / "stopped"
    process = Program(main, command(stopped))
    metrics = stopped / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        assert process.poll() is None, process.communicate(1)
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, (out, err)
    assert "the same command continues" in out + err
    assert not (stopped / "condensed.safetensors").exists()
    assert main(command(stopped)) == 0
    assert "continuing" in capsys.readouterr().out
    whole = tmp_path / "whole"
    assert main(command(whole)) == 0
    sets = [(p / "condensed.safetensors").read_bytes() for p in (stopped, whole)]
    assert sets[0] == sets[1]
    reports = [
        [json.loads(line)["iteration"] for line in (p / "metrics.jsonl").read_text().splitlines()]
        for p in (stopped, whole)
    ]
    assert reports[0] == reports[1] == list(range(1, 13))


def test_recipe_yaml_is_complete(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["condense", "--ipc", "1", "--iterations", "0", "--out", str(tmp_path / "q")]
    assert run(capsys, *arguments, *QUICK, "--quiet")[0] == 0
    held = yaml.safe_load((tmp_path / "q" / "recipe.yaml").read_text())
    assert held["recipe"] == "dm"
    assert held["data"] == "digits"
    assert held["objective"]["kind"] == "mean_features"
    assert held["supply"] == {"kind": "fresh", "net": "convnet2:width=4", "norm": None}


def test_a_run_of_before_a_field_was_there_is_still_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    small = ["condense", "--recipe", "dc", "--ipc", "1", "--iterations", "1", "--plan", "exact"]
    small += ["--supply.net", "convnet1:width=4", "--real-batch", "2", "--out", str(out)]
    assert main(small) == 0
    file = out / "recipe.yaml"
    held = yaml.safe_load(file.read_text())
    del held["zca"], held["optimizer"]["drops"], held["supply"]["norm"], held["synthetic_batch"]
    file.write_text(yaml.safe_dump(held))
    assert main(small) == 0
    assert "is finished" in capsys.readouterr().out
    for more, words in (
        (["--zca"], "zca there: False, here: True"),
        (["--optimizer.drops", "[3]"], "optimizer.drops there: [], here: [3]"),
        (["--objective.distance", "l2"], "objective.distance there: cosine, here: l2"),
    ):
        assert main([*small, *more]) == 2
        assert words in capsys.readouterr().err


def test_a_run_that_can_only_be_read_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    assert main(["select", "random", "--ipc", "1", "--out", str(out), "--quiet"]) == 0
    (out / "images.png").unlink()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(out))

    with monkeypatch.context() as patch:
        patch.setattr("condensery.utils.files.tempfile.TemporaryDirectory", refused)
        assert main(["show", str(out)]) == 0
        assert "none; draw it with --picture FILE" in capsys.readouterr().out
        assert main(["show", str(out), "--picture", str(out / "p.png")]) == 1
    assert main(["show", str(out)]) == 0
    assert (out / "images.png").exists()


def test_a_step_takes_as_few_synthetic_images_as_were_asked_for(tmp_path: Path) -> None:
    few = ["--iterations", "0", "--synthetic-batch", "1", "--out", str(tmp_path / "a")]
    assert main(["condense", "--data", "digits", "--ipc", "2", *few]) == 0
    assert read_config(tmp_path / "a")["synthetic_batch"] == 1


def test_a_run_that_lost_its_plan_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "r"
    arguments = ["condense", "--ipc", "1", "--iterations", "2", "--out", str(out), *QUICK]
    assert run(capsys, *arguments)[0] == 0
    for damage, plan in ((None, "its original"), ("{", "a new")):
        (out / "condensed.safetensors").unlink()
        if damage is not None:
            (out / "run.json").write_text(damage)
        code, said, err = run(capsys, *arguments)
        assert code == 0, err
        assert f"continuing {out}, with {plan} plan" in said
        assert ("run.json holds no plan" in said) == (damage is not None)


def test_of_a_flag_that_is_repeated_the_last_counts(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["condense", "--ipc", "1", "--iterations", "1", "--dry-run", *QUICK]
    code, said, err = run(capsys, *line, "--plan.chunk", "8", "--plan.chunk", "16")
    assert (code, err) == (0, "")
    assert "16" in next(row for row in said.splitlines() if row.startswith("plan:"))


def test_a_run_through_a_pool_is_resumed_from_anywhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool's path was typed in another folder."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    pool = ["pool", "--net", "convnet2:width=4", "--epochs", "1", "--count", "1", "--out", "pool"]
    assert run(capsys, *pool, "--plan", "exact", "--threads", "1")[0] == 0
    supply = ["--supply.kind", "pool", "--supply.path", "pool", "--plan", "exact"]
    line = ["condense", "--ipc", "1", "--iterations", "1", *supply, "--threads", "1"]
    assert run(capsys, *line, "--out", "r")[0] == 0
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "resume", "there/r", "--iterations", "2")
    assert code == 0, err
    assert CondensedSet.load(tmp_path / "there" / "r").about.iterations == 2
