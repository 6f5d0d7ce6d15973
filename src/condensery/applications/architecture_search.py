"""Architecture search with a small set in place of the whole training split (DM, section 3.6)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.data import Data, load
from condensery.data.parts import with_validation
from condensery.errors import UsageError
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.cell import Cell, Measured
from condensery.evaluation.comparison import CELLS
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of, measured
from condensery.runtime.plan import default_device, default_threads
from condensery.runtime.provenance import commit
from condensery.sets.candidate import Candidate
from condensery.sets.condensed import CondensedSet
from condensery.training.timing import pass_seconds

from .continual_learning import folder_for
from .methods import Method, Running, methods_of
from .search_result import Found, Search
from .spaces import sampled, space_of
from .streams import seen

#: The proxy that is the whole split, for as many steps as the others take.
EARLY = "early_stopping"
#: Images of a step (DM, appendix A.3).
BATCH = 250

OnNetwork = Callable[[str, float], None]
#: A proxy's name and images, its networks' numbers, and how they were trained.
_Trained = tuple[str, int, list[list[Measured]], str]


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How much is done, and how."""

    ipc: int = 50
    """Images of each class of a proxy."""
    epochs: int = 200
    """Epochs on a proxy."""
    whole_epochs: int = 100
    """Epochs on the whole split."""
    repeats: int = 5
    """Networks of each architecture."""
    sample: int | None = None
    """A random part of the space; all of it by default."""
    seed: int = 0
    """Of the sample, the proxies and the networks."""

    def __post_init__(self) -> None:
        for name in ("ipc", "epochs", "whole_epochs", "repeats"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} must be at least 1, got {getattr(self, name)}")


class SearchJob:
    """A search that is ready to run: everything is checked, nothing is made.

    Args and errors are those of :func:`search`.
    """

    def __init__(
        self,
        data: Data,
        proxies: Sequence[Method],
        settings: SearchSettings,
        out: Path,
        how: Running,
        *,
        early: bool = True,
        space: str | None = None,
    ) -> None:
        self.settings, self.out, self.how = settings, out, how
        self.name = data.name
        self.data = with_validation(data)
        held, real = self.data.test, data.test
        real = dataclasses.replace(real, mean=held.mean, std=held.std)
        self.parts = len(held), len(real)
        self.tested = dataclasses.replace(self.data, test=seen([held, real]))
        self.methods, self.early = list(proxies), early
        if not self.methods and not self.early:
            raise UsageError("name at least one proxy (--proxies), such as dm or early_stopping")
        for method in self.methods:
            method.check(self.data, settings.ipc)
        everything = space_of(space)
        self.size = len(everything)
        train = self.data.train
        self.networks = sampled(everything, settings.sample, settings.seed, train, how.say)

    @property
    def memories(self) -> int:
        """Sets in all."""
        return len(self.methods)

    @property
    def total(self) -> int:
        """Networks in all."""
        rows = len(self.methods) + self.early + 1
        return rows * len(self.networks) * self.settings.repeats

    @property
    def steps(self) -> int:
        """Steps that a proxy of whole images takes, and early stopping as many."""
        images = self.settings.ipc * self.data.train.classes
        return self.settings.epochs * math.ceil(images / BATCH)

    def seconds(self) -> tuple[float, float]:
        """What condensing and training will take, about; what is kept already is not counted."""
        condensing = sum(m.seconds(self.data, self.settings.ipc, self.how) for m in self.methods)
        where = (self.how.device or default_device(), self.how.threads or default_threads())
        train = self.data.train
        images = self.settings.ipc * train.classes * self.settings.epochs * len(self.methods)
        images += self.steps * BATCH * self.early + len(train) * self.settings.whole_epochs
        few = self.networks[:: max(1, len(self.networks) // 8)]
        each = [pass_seconds(net, train.shape, train.classes, 64, *where) / 64 for net in few]
        mean = sum(each) / len(each)
        return condensing, mean * images * len(self.networks) * self.settings.repeats

    def run(self, on_network: OnNetwork = lambda what, found: None) -> Search:
        """Make the proxies, train what is not known, and rank the networks.

        Args:
            on_network: called after each network.

        Raises:
            Interrupted: when a signal asked a condensing to stop; the same call continues.
        """
        rows: dict[str, _Trained] = {}
        for method in self.methods:
            began = time.perf_counter()
            one = self._proxy(method)
            made = time.perf_counter() - began
            cells = [self._on_set(one, net) for net in self.networks]
            images = len(one.stored) * one.stored.shape[1]
            rows[method.label] = self._row(method.short, images, cells, method.label, on_network)
            self.how.say(f"{method.label}: the proxy was there after {made:.0f} s")
        if self.early:
            cells = [self._early(net) for net in self.networks]
            rows[EARLY] = self._row(EARLY, len(self.data.train), cells, EARLY, on_network)
        cells = [self._whole(net) for net in self.networks]
        rows["whole"] = self._row("whole", len(self.data.train), cells, "whole", on_network)
        found = [
            Found(
                name,
                label,
                images,
                tuple(self._split(one) for one in each),
                sum(m.seconds for one in each for m in one),
                protocol,
            )
            for label, (name, images, each, protocol) in rows.items()
        ]
        return Search(tuple(found), tuple(self.networks), self._facts())

    def _proxy(self, method: Method) -> CondensedSet:
        place = self.out / "proxies" / f"{self.name}-ipc{self.settings.ipc}" / method.label
        folder = place / f"seed{self.settings.seed}"
        return method.make(self.data, self.settings.ipc, self.settings.seed, folder, self.how)

    def _options(self, epochs: int | None) -> EvaluationSettings:
        return EvaluationSettings(
            self.settings.repeats, epochs, self.settings.seed, **self.how.where
        )

    def _on_set(self, one: CondensedSet, net: str) -> Cell:
        """A network trained on a proxy, and tested on validation and test images."""
        train = self.data.train
        union = Candidate.union([one], train.class_names, train.mean, train.std)
        options = self._options(self.settings.epochs)
        cell = cell_of(Row("proxy", (union,)), self.tested, net, f"dsa+batch={BATCH}", options)
        return dataclasses.replace(cell, parts=self.parts)

    def _whole(self, net: str) -> Cell:
        epochs = self.settings.whole_epochs
        row = Row.of(f"whole+epochs={epochs}", self.tested)
        cell = cell_of(row, self.tested, net, "dc", self._options(None))
        return dataclasses.replace(cell, parts=self.parts)

    def _early(self, net: str) -> Cell:
        """The whole split for as many steps as a proxy takes, at a proxy's rates."""
        cell = cell_of(
            Row.of("whole+epochs=1", self.tested), self.tested, net, "dsa", self._options(None)
        )
        name = f"dsa+batch={BATCH}+steps={self.steps}"
        training = dataclasses.replace(
            cell.training, name=name, epochs=1, batch=BATCH, rate=0.01, drops=[0.5]
        )
        return dataclasses.replace(
            cell, training=training, schedule=None, steps=self.steps, parts=self.parts
        )

    def _row(
        self, name: str, images: int, cells: Sequence[Cell], label: str, tell: OnNetwork
    ) -> _Trained:
        keeper = KeptCells(self.out / CELLS)
        each = []
        for cell in cells:

            def told(what: str, found: float, net: str = cell.net) -> None:
                tell(f"{label}, {net}", found)

            (found,) = measured(cell, self.settings.repeats, keepers=[keeper], on_network=told)
            each.append(found)
        return name, images, each, cells[0].training.name

    @staticmethod
    def _split(found: Sequence[Measured]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Accuracies on validation and on test images."""
        return tuple(m.parts[0] for m in found), tuple(m.parts[1] for m in found)

    def _facts(self) -> dict[str, Any]:
        told = self.settings
        return {
            "data": self.name,
            "ipc": told.ipc,
            "repeats": told.repeats,
            "space": self.size,
            "seed": told.seed,
            "commit": commit(),
        }


def search(
    data: Any,
    *,
    proxies: Sequence[str] = ("random", "dm", EARLY),
    space: str | None = None,
    iterations: int | None = None,
    condense_net: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    out: str | Path | None = None,
    running: Running | None = None,
    on_network: OnNetwork = lambda what, found: None,
    **settings: Any,
) -> Search:
    """Rank networks by what they come to on small sets, and compare with the whole split.

    A tenth of the training split is held out for choosing; proxies never see it, nor the test
    split. The whole split trains every network as well: it is what proxies are measured against.

    Args:
        data: anything that :func:`condensery.load` takes.
        proxies: recipes, selections, YAML files, made sets and ``early_stopping``.
        space: YAML file of the networks; DM's 720 ConvNets by default.
        iterations: outer iterations of each condensing; the recipe's by default.
        condense_net: network that proxies are made through; the data's own by default.
        size: side in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        out: folder that keeps sets and accuracies; nothing is kept without one.
        running: plan, device and threads.
        on_network: called after each network.
        **settings: fields of :class:`SearchSettings`, such as ``sample`` and ``epochs``.

    Raises:
        UsageError: for options that do not exist.
        DataError: for data that cannot be used.
    """
    loaded = load(data, size=size, channels=channels)
    with folder_for(out) as folder:
        how, options = running or Running(), SearchSettings(**settings)
        names = [name for name in proxies if name != EARLY]
        methods = methods_of(names, iterations, net=condense_net) if names else []
        early = EARLY in proxies
        job = SearchJob(loaded, methods, options, folder, how, early=early, space=space)
        return job.run(on_network)
