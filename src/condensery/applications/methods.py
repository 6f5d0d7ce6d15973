"""``--methods``: recipes, selections, YAML files and made sets, each of which gives a memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from condensery.condensation.configure import check_start, plan_for, resolved
from condensery.condensation.dry_run import dry_run
from condensery.condensation.in_folder import condensed_in
from condensery.condensation.run_folder import RunFolder
from condensery.config.recipes import recipe_names
from condensery.config.resolve import Resolved
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.errors import DataError, UsageError, unknown_name
from condensery.runtime.plan import Plan
from condensery.selection.crops import Realistic
from condensery.selection.folder import Selections
from condensery.selection.methods import SELECTIONS, check_budget, trains
from condensery.sets.condensed import CondensedSet
from condensery.sets.places import FILE
from condensery.utils.text import shape_text

Kind = Literal["recipe", "selection", "set"]


@dataclass(frozen=True)
class Running:
    """Where and how everything of one command runs."""

    plan: str | Plan = "auto"
    """``auto``, ``exact``, a YAML file or a plan."""
    device: str | None = None
    """Torch device."""
    threads: int | None = None
    """CPU threads."""
    quiet: bool = True
    """Show no progress."""
    say: Callable[[str], None] = lambda text: None
    """Called with a line for people."""

    @property
    def where(self) -> dict[str, Any]:
        """The arguments of what chooses a plan."""
        return {"plan": self.plan, "device": self.device, "threads": self.threads}


@dataclass(frozen=True)
class Method:
    """One way to fill a memory."""

    name: str
    """As it was typed."""
    kind: Kind
    """What it is."""
    iterations: int | None = None
    """Outer iterations of each condensing; the recipe's own by default."""
    trust_imports: bool = False
    """Whether a recipe file may name code to import."""
    net: str | None = None
    """Network that it condenses or selects through; the data's own by default."""

    epochs: int | None = None
    """Epochs of the network that a selection trains; the selection's own by default."""

    @property
    def label(self) -> str:
        """Its name with what was cut: ``dm+iterations=200``."""
        if self.kind == "recipe" and self.iterations is not None:
            return f"{self.short}+iterations={self.iterations}"
        if self.kind == "selection" and trains(self.name) and self.epochs is not None:
            return f"{self.short}+epochs={self.epochs}"
        return self.short

    @property
    def short(self) -> str:
        """Its name in tables: of a file or a set the last part of its path."""
        return Path(self.name).stem if self.kind != "selection" else self.name

    @cached_property
    def opened(self) -> CondensedSet:
        """The set of a path."""
        return CondensedSet.load(self.name)

    def config(self, data: Data, ipc: int, seed: int) -> RunConfig:
        """The configuration of a recipe for some data."""
        return self._resolved(data, ipc, seed).config

    def _resolved(self, data: Data, ipc: int, seed: int) -> Resolved:
        given: dict[str, Any] = {"ipc": ipc, "seed": seed}
        if self.iterations is not None:
            given["iterations"] = self.iterations
        trust, data = self.trust_imports, self._through(data)
        return resolved(data, self.name, given, source=self.name, trust_imports=trust)

    def _through(self, data: Data) -> Data:
        """The data with the network of this method as their own."""
        return data if self.net is None else replace(data, net=self.net)

    def check(self, data: Data, ipc: int) -> None:
        """Raise if it cannot work on some data, before anything is made.

        Raises:
            UsageError: for a wrong budget or setting.
            DataError: for a class with too few images, or one that a made set lacks.
        """
        if self.kind == "recipe":
            check_start(data, self._resolved(data, ipc, 0))
        elif self.kind == "selection":
            check_budget(data, ipc)
            if self.name == "rded":
                Realistic().check(data, ipc)
        else:
            self._check_set(data, ipc)

    def _check_set(self, data: Data, ipc: int) -> None:
        """Raise if a made set is not what is asked for."""
        held = self.opened.of_classes(data.train.class_names)
        shape = tuple(held.images.shape[1:])
        if shape != data.train.shape:
            raise DataError(
                f"{self.name} holds images of {shape_text(shape)} and {data.name} of "
                f"{shape_text(data.train.shape)}; read the data the same way (--size, --channels)"
            )
        if held.about.ipc != ipc:
            raise UsageError(
                f"{self.name} has {held.about.ipc} images per class, and {ipc} are asked for; ask "
                f"for {held.about.ipc}, or leave it out"
            )

    def make(self, data: Data, ipc: int, seed: int, folder: Path, how: Running) -> CondensedSet:
        """Its memory for some data, in a folder; one that is there already is read.

        Args:
            data: all that it may see.
            ipc: images per class.
            seed: of its draws, or of its network.
            folder: where the set lies, or will lie.
            how: where and how it runs.

        Raises:
            Interrupted: when a signal asked to stop; the same call continues.
        """
        if self.kind == "set":
            return self.opened.of_classes(data.train.class_names)
        if self.kind == "recipe":
            config, run = self.config(data, ipc, seed), RunFolder(folder)
            if not (folder / FILE).exists():
                how.say(f"condensing with {self.label}: {folder}")
            return condensed_in(config, data, run, which="", quiet=how.quiet, **how.where)
        data = self._through(data)
        given: dict[str, Any] = {"quiet": how.quiet, "say": lambda text: None}
        training = {"epochs": self.epochs} if trains(self.name) else None
        work = Selections(data, self.name, ipc=ipc, training=training, **given, **how.where)
        return work.make(folder, seed)

    def seconds(self, data: Data, ipc: int, how: Running) -> float:
        """What one memory will take, from a few measured steps; 0 where it is not known."""
        if self.kind != "recipe":
            return 0.0
        config = self.config(data, ipc, 0)
        return dry_run(data, config, plan_for(data, config, **how.where)).seconds


def methods_of(
    names: Sequence[str],
    iterations: int | None = None,
    *,
    net: str | None = None,
    epochs: int | None = None,
    trust_imports: bool = False,
) -> list[Method]:
    """Methods by name.

    Args:
        names: of recipes and selections, YAML files of recipes, run folders and set files.
        iterations: outer iterations of each condensing.
        net: network that all of them condense or select through; the data's own by default.
        epochs: of the network that each selection trains; the selection's own by default.
        trust_imports: whether recipe files may name code to import.

    Raises:
        UsageError: for a name that is none of these, or that occurs twice.
    """
    if not names:
        raise UsageError("name at least one method (--methods), such as random or dm")
    if iterations is not None and iterations < 0:
        raise UsageError(f"--iterations must be at least 0, got {iterations}")
    if epochs is not None and epochs < 1:
        raise UsageError(f"--select-epochs must be at least 1, got {epochs}")
    given: dict[str, Any] = {"net": net, "epochs": epochs}
    found = [replace(_method(name, iterations, trust_imports), **given) for name in names]
    shown = [one.short for one in found]
    twice = next((name for name in shown if shown.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"method {twice} is named twice in --methods; leave one out")
    return found


def _method(name: str, iterations: int | None, trust: bool) -> Method:
    plain = name.replace("-", "_")
    if plain in SELECTIONS:
        return Method(plain, "selection")
    if name in recipe_names() or Path(name).suffix in (".yaml", ".yml"):
        return Method(name, "recipe", iterations, trust)
    path = Path(name)
    if path.suffix == ".safetensors" or (path / FILE).exists():
        return Method(name, "set")
    raise unknown_name("method", name, [*recipe_names(), *SELECTIONS])
