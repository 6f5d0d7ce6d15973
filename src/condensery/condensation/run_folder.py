"""A run folder: what a run leaves on disk, and how it is resumed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from condensery.config.build import make
from condensery.config.compare import first_difference
from condensery.config.recipes import pool_meant_in, read_yaml
from condensery.config.resolve import defaults_of
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import DataError, UsageError
from condensery.runtime.plan import Plan
from condensery.runtime.provenance import commit, machine, versions
from condensery.sets.condensed import CondensedSet
from condensery.sets.picture import save_picture
from condensery.sets.places import FILE
from condensery.utils.checkpoint import Checkpoints
from condensery.utils.facts import note_facts
from condensery.utils.files import append_line, write_text
from condensery.utils.reading import json_of

#: ``timed``: finished at a time before its last iteration. ``grown``: finished, and more iterations
#: are requested now.
Status = Literal["new", "unfinished", "timed", "grown", "finished"]
#: What ended a run.
Ended = Literal["iterations", "converged", "minutes"]
#: Types of those facts in ``run.json`` that a run reads again.
_FACTS: dict[str, tuple[type[Any], ...]] = {
    **dict.fromkeys(
        ("seconds", "seconds_before", "seconds_reserved", "checkpoint_seconds", "energy_joules"),
        (int, float),
    ),
    **dict.fromkeys(("sets", "begun_ranks", "asked_threads", "peak_memory_bytes"), (int,)),
    **dict.fromkeys(("ended", "fingerprint"), (str,)),
    **dict.fromkeys(("plan", "evaluate_at"), (dict,)),
    "loss_at_the_start": (list,),
}
#: What a run leaves behind that was killed before it wrote its recipe.
_BEGUN = {"run.json", "checkpoints"}
_METRICS = "metrics.jsonl"


class RunFolder:
    """The files of one run.

    Args:
        path: of the folder.
        writes: whether this process writes them; of several that share a run the first one does.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self.checkpoints = Checkpoints(path / "checkpoints")
        self._made: list[Path] = []

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
            names = {entry.name for entry in self.path.iterdir() if "-writing-" not in entry.name}
            if not names <= _BEGUN or self._kept():
                what = "several sets" if "0" in names else "something else"
                raise UsageError(f"--out {self.path} holds {what}; choose another")
            return "new"
        try:
            held: Any = read_yaml(recipe, "the recipe")
        except UsageError as error:
            raise UsageError(f"{error}; choose another --out") from error
        held = pool_meant_in(self.facts().get("started_in"), held)
        grown = _grown(held, config)
        same = {**held, "iterations": config.iterations} if grown else held
        different = first_difference(same, config.as_dict(), defaults_of(config))
        if different is not None and different.field == "iterations":
            raise UsageError(
                f"the iterations of {self.path} can grow but not shrink ({different}); choose "
                "another folder for a shorter run"
            )
        if different is not None:
            raise UsageError(
                f"--out {self.path} holds another run ({different}); choose another --out"
            )
        return self._ending(grown)

    def _kept(self) -> bool:
        return any((self.path / "checkpoints").glob("*.safetensors"))

    def _ending(self, grown: bool) -> Status:
        if not (self.path / FILE).exists():
            return "unfinished"
        ended = self.facts().get("ended")
        if ended == "converged" or (not grown and ended != "minutes"):
            return "finished"
        if not self.checkpoints.files:
            raise UsageError(
                f"{self.path} is finished and its last checkpoint is missing, so it cannot be "
                "continued; choose another --out"
            )
        return "timed" if ended == "minutes" else "grown"

    def reopen(self, config: RunConfig) -> None:
        """Reopen a run whose iterations grow, or that reached its time limit.

        Its set so far, if it was finished, is kept among its checkpoints.
        """
        if not self.writes:
            return
        file = self.path / FILE
        if file.exists():
            done = CondensedSet.load(file).about.iterations
            file.replace(self.path / "checkpoints" / f"{done:06d}.safetensors")
        write_text(self.path / "recipe.yaml", config.dump())
        self.note(status="unfinished", ended=None)

    def grows(self, config: RunConfig) -> bool:
        """Whether the folder's recipe has fewer iterations than are wanted."""
        recipe = self.path / "recipe.yaml"
        return recipe.exists() and _grown(read_yaml(recipe, "the recipe"), config)

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says, empty when there is none.

        Raises:
            DataError: when it says something of the wrong type.
        """
        held = note_facts(self.path)
        wrong = next((name for name in _FACTS if not _right(name, held.get(name))), None)
        if wrong is not None:
            raise DataError(
                f"{self.path / 'run.json'} is damaged ({wrong} is {held[wrong]!r:.50}); correct "
                "or remove it"
            )
        return held

    def plan(self) -> Plan | None:
        """The plan that the run started with.

        Raises:
            UsageError: when it cannot be run here.
        """
        held = self.facts().get("plan")
        if not isinstance(held, dict):
            return None
        try:
            plan: Plan = make(Plan, held, "plan")
        except UsageError as error:
            raise UsageError(f"the plan that {self.path} started with: {error}") from error
        return plan

    def check_data(self, data: Data) -> None:
        """Raise if the data have changed since the run started.

        Raises:
            DataError: naming the folder.
        """
        held = self.facts().get("fingerprint")
        if held not in (None, data.train.fingerprint):
            raise DataError(
                f"the training images of {data.name} are not those that {self.path} started "
                "with; choose another --out"
            )

    def begin(self, config: RunConfig, plan: Plan, data: Data, **facts: Any) -> None:
        """Write what is known before the first iteration."""
        if not self.writes:
            return
        for name in ("run.json", "recipe.yaml", _METRICS, "images.png"):
            self._makes(self.path / name)
        # The recipe last: with it the folder is a run, and a run has a plan.
        self.note(
            status="unfinished",
            started=_now(),
            started_in=str(Path.cwd()),
            seconds=0.0,
            machine=machine(),
            versions=versions(),
            commit=commit(),
            plan=plan.as_dict(),
            fingerprint=data.train.fingerprint,
            **facts,
        )
        write_text(self.path / "recipe.yaml", config.dump())

    @property
    def seconds_before(self) -> float:
        """What it took to find settings for the run, before its first iteration."""
        return float(self.facts().get("seconds_before", 0.0))

    def left(self, minutes: float | None) -> float | None:
        """What is left for iterations of a time for everything.

        Args:
            minutes: for everything, as the user gave them.
        """
        reserved = float(self.facts().get("seconds_reserved", 0.0))
        return None if minutes is None else minutes - (self.seconds_before + reserved) / 60

    def note(self, **facts: Any) -> None:
        """Put facts into ``run.json``."""
        if self.writes:
            note_facts(self.path, **facts)

    def metrics(self, line: dict[str, Any]) -> None:
        """Add a line to ``metrics.jsonl``."""
        if not self.writes:
            return
        append_line(self.path / _METRICS, json.dumps(line))

    def picture(self, condensed: CondensedSet) -> None:
        """Keep the set as it is now, and draw it."""
        if not self.writes:
            return
        file = self.path / "checkpoints" / f"{condensed.about.iterations:06d}.safetensors"
        self._makes(file)
        condensed.save(file)
        save_picture(condensed, self.path / "images.png")

    def finish(self, condensed: CondensedSet, seconds: float, ended: Ended) -> None:
        """Write the result."""
        if not self.writes:
            return
        save_picture(condensed, self.path / "images.png")
        # How it ended first: with the set the run is finished, and a finished run has ended.
        self.note(finished=_now(), seconds=seconds, ended=ended)
        condensed.save(self.path / FILE)
        self.note(status="finished")

    def forget_after(self, iteration: int) -> None:
        """Drop the metrics of iterations that are about to be done again, and a torn last line.

        Raises:
            DataError: when another line is damaged, or it is not a file of this folder.
        """
        file = self.path / _METRICS
        if not self.writes:
            return
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise DataError(f"{file} is a link or no file; remove it to continue")
        if not file.exists():
            return
        lines = file.read_bytes().split(b"\n")
        kept = []
        for number, line in enumerate(lines):
            try:
                if line and json_of(line)["iteration"] <= iteration:
                    kept.append(line.decode() + "\n")
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines) - 1:
                    raise DataError(
                        f"{file} is damaged ({error}); remove it to continue"
                    ) from error
        write_text(file, "".join(kept))

    def abandon(self) -> None:
        """Remove what this process added with :meth:`begin` and pictures, and nothing else."""
        if not self.writes:
            return
        for file in self._made:
            file.unlink(missing_ok=True)
        self._made.clear()

    def _makes(self, file: Path) -> None:
        """Remember a file that is about to be written, unless something lies there already."""
        if not file.exists() and not file.is_symlink():
            self._made.append(file)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _right(name: str, value: Any) -> bool:
    """Whether a fact of ``run.json`` is absent or of its type."""
    if value is None or type(value) not in _FACTS[name]:
        return value is None
    if name == "loss_at_the_start":
        return all(type(loss) in (int, float) for loss in value)
    at = value.get("at", []) if name == "evaluate_at" else []
    return isinstance(at, list) and all(type(k) is int for k in at)


def _grown(held: Any, config: RunConfig) -> bool:
    """Whether a configuration only asks for more iterations than a folder's."""
    before = held.get("iterations") if isinstance(held, dict) else None
    return type(before) is int and before < config.iterations
