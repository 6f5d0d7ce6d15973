"""A run folder: what a run leaves on disk, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import yaml

from .checkpoint import load_state, save_state
from .condensed import FILE, CondensedSet
from .config import RunConfig, defaults_of, make
from .data import Data
from .engine import Plan
from .errors import DataError, UsageError
from .files import write_json, write_text
from .loop import Condenser
from .progress import Progress
from .provenance import commit, machine, versions
from .report.pictures import save_picture

#: Seconds between checkpoints.
CHECKPOINT_EVERY = 60.0
#: Parts of a run after which the set is kept and drawn.
_PICTURES = 4
#: About so many lines of metrics a run.
_REPORTS = 200

Status = Literal["new", "unfinished", "finished"]


class Interrupted(Exception):  # noqa: N818  (a request, not an error)
    """The run was asked to stop, and did so between two pixel steps."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state_file = path / "checkpoints" / "state.safetensors"

    def status(self, config: RunConfig) -> Status:
        """What the folder holds.

        Raises:
            UsageError: when it holds another run, or something that is not a run.
        """
        if not self.path.exists():
            return "new"
        if not self.path.is_dir():
            raise UsageError(f"--out {self.path} is a file; choose a folder")
        recipe = self.path / "recipe.yaml"
        if not recipe.exists():
            if any(self.path.iterdir()):
                what = "several sets" if (self.path / "0").is_dir() else "something else"
                raise UsageError(f"--out {self.path} holds {what}; choose another")
            return "new"
        try:
            held = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise UsageError(f"{recipe} cannot be read ({error}); choose another --out") from error
        different = difference(held, config.as_dict(), defaults_of(config))
        if different:
            raise UsageError(
                f"--out {self.path} holds another run ({different}); choose another --out"
            )
        return "finished" if (self.path / FILE).exists() else "unfinished"

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says, empty when there is none."""
        return note_facts(self.path)

    def plan(self) -> Plan | None:
        """The plan that the run was started with.

        Raises:
            UsageError: when it cannot be carried out here.
        """
        held = self.facts().get("plan")
        if not isinstance(held, dict):
            return None
        try:
            plan: Plan = make(Plan, held, "plan")
        except UsageError as error:
            raise UsageError(f"the plan that {self.path} was begun with: {error}") from error
        return plan

    def check_data(self, data: Data) -> None:
        """Refuse to go on with a run on data that have changed since.

        Raises:
            DataError: naming the folder.
        """
        held = self.facts().get("fingerprint")
        if held not in (None, data.train.fingerprint):
            raise DataError(
                f"the training images of {data.name} are not those that {self.path} was begun "
                "with; choose another --out"
            )

    def begin(self, config: RunConfig, plan: Plan, data: Data) -> None:
        """Write what is known before the first iteration."""
        write_text(self.path / "recipe.yaml", config.dump())
        self.note(
            status="unfinished",
            started=_now(),
            seconds=0.0,
            machine=machine(),
            versions=versions(),
            commit=commit(),
            plan=plan.as_dict(),
            fingerprint=data.train.fingerprint,
        )

    def note(self, **facts: Any) -> None:
        """Put facts into ``run.json``."""
        note_facts(self.path, **facts)

    def metrics(self, line: dict[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def picture(self, condensed: CondensedSet) -> None:
        """Keep the set as it is now, and draw it."""
        name = f"{condensed.about.iterations:06d}"
        condensed.save(self.path / "checkpoints" / f"{name}.safetensors")
        save_picture(condensed, self.path / "images.png")

    def finish(self, condensed: CondensedSet, seconds: float, *, converged: bool = False) -> None:
        """Write the result."""
        save_picture(condensed, self.path / "images.png")
        self.note(status="finished", finished=_now(), seconds=seconds, converged=converged)
        condensed.save(self.path / FILE)

    def abandon(self) -> None:
        """Take back what :meth:`begin` and the first picture wrote."""
        for name in ("recipe.yaml", "run.json", "metrics.jsonl", "images.png"):
            (self.path / name).unlink(missing_ok=True)
        for file in (self.path / "checkpoints").glob("*.safetensors"):
            file.unlink()
        for place in (self.path / "checkpoints", self.path):
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def note_facts(folder: Path, **facts: Any) -> dict[str, Any]:
    """Put facts about times and machines into a folder's ``run.json``; all that it says then."""
    try:
        held = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        held = {}
    known = held if isinstance(held, dict) else {}
    if facts:
        known = {**known, **facts}
        write_json(folder / "run.json", known)
    return known


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def difference(held: Any, wanted: dict[str, Any], defaults: Mapping[str, Any] | None = None) -> str:
    """The first field in which two configurations differ, empty when they agree.

    Args:
        held: what a folder has; a field that it lacks was not there yet, and had its default.
        wanted: what is asked for.
        defaults: of the fields.
    """
    if not isinstance(held, dict):
        return "its recipe.yaml is not readable"
    known = defaults or {}
    for name in sorted({*held, *wanted}):
        there, here = held.get(name, known.get(name)), wanted.get(name)
        if isinstance(there, dict) and isinstance(here, dict) and there != here:
            below = difference(there, here, known.get(name))
            if below:
                return f"{name}.{below}"
            continue
        if there != here:
            return f"{name} there: {there}, here: {here}"
    return ""


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM fill the list, for the loop to look at; a second Ctrl-C ends at once."""
    seen: list[int] = []

    def asked(number: int, frame: FrameType | None) -> None:
        if seen:
            raise SystemExit(128 + number)
        seen.append(number)

    before = {s: signal.signal(s, asked) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Recorder:
    """Called after every pixel step: reports, pictures, checkpoints and requests to stop."""

    def __init__(
        self, folder: RunFolder, total: int, progress: Progress, stops: list[int], spent: float
    ) -> None:
        self.folder = folder
        self.total = total
        self.progress = progress
        self.stops = stops
        self.began = time.monotonic() - spent
        self.report_every = max(1, total // _REPORTS)
        self.pictures = {round(total * part / _PICTURES) for part in range(1, _PICTURES)}
        self.saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all its parts."""
        return time.monotonic() - self.began

    def __call__(self, run: Condenser) -> None:
        if run.step_in_iteration == 0:
            self._iteration(run)
        else:
            self.progress.within(f"step {run.step_in_iteration}")
        if self.stops or time.monotonic() - self.saved > CHECKPOINT_EVERY:
            self.save(run)
        if self.stops and not run.finished:
            raise Interrupted(self.stops[0])

    def _iteration(self, run: Condenser) -> None:
        """Tell about the iterations that are done."""
        note = ""
        if run.iteration % self.report_every == 0 or run.finished:
            report = run.report()
            note = f"loss {report.loss:.4g}"
            self.folder.metrics({**dataclasses.asdict(report), "seconds": round(self.seconds, 3)})
        self.progress.advance(note)
        if run.iteration in self.pictures:
            self.folder.picture(run.result())

    def save(self, run: Condenser) -> None:
        """Checkpoint."""
        save_state(run.state(), self.folder.state_file)
        self.folder.note(seconds=self.seconds)
        self.saved = time.monotonic()


def carry_out(
    data: Data, config: RunConfig, plan: Plan, folder: RunFolder, *, quiet: bool = False
) -> CondensedSet:
    """Run a configuration in its folder, from the start or from its last checkpoint.

    Raises:
        Interrupted: when a signal asked to stop; the run can be continued.
    """
    with stop_requests() as stops:
        run = Condenser(data, config, plan)
        spent = 0.0
        if folder.state_file.exists():
            _take_up(run, folder.state_file)
            spent = float(folder.facts().get("seconds", 0.0))
            _forget_after(folder, run.iteration)
        else:
            folder.begin(config, plan, data)
            _forget_after(folder, 0)
            folder.picture(run.result())
        with Progress(config.iterations, "iterations", quiet=quiet, done=run.iteration) as progress:
            recorder = _Recorder(folder, config.iterations, progress, stops, spent)
            try:
                condensed = run.run(after_step=recorder)
            except UsageError:
                if run.steps == 0:  # nothing is lost, and the corrected command may come here
                    folder.abandon()
                raise
        folder.finish(condensed, recorder.seconds, converged=run.converged)
        if stops:
            raise Interrupted(stops[0])
    return condensed


def _take_up(run: Condenser, file: Path) -> None:
    """Load a checkpoint into a run."""
    state = load_state(file)
    try:
        run.load_state(state)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(
            f"checkpoint {file} does not fit this run ({error}); remove it to start again"
        ) from error


def _forget_after(folder: RunFolder, iteration: int) -> None:
    """Drop the metrics of iterations that are about to be done again."""
    file = folder.path / "metrics.jsonl"
    if not file.exists():
        return
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
        kept = [line for line in lines if json.loads(line)["iteration"] <= iteration]
    except (ValueError, KeyError) as error:
        raise DataError(f"{file} is damaged ({error}); remove it to go on") from error
    write_text(file, "".join(line + "\n" for line in kept))
