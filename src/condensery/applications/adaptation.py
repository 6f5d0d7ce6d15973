"""Few-shot domain adaptation: a network of one data set, fine-tuned on a few images of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery._version import __version__
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.runtime.plan import default_device, default_threads
from condensery.runtime.provenance import commit
from condensery.sets.candidate import Candidate
from condensery.sets.condensed import CondensedSet
from condensery.training.protocol import Protocol
from condensery.training.timing import pass_seconds

from .adaptation_table import Adaptation, Adapted
from .chain import Chain, Part, Phase, Stage, chain_plan
from .continual_learning import folder_for
from .methods import Method, Running, methods_of
from .streams import Match, together

#: Fine-tuning: steps in all, and images of each (ours: the paper does not say).
FINETUNE_STEPS, FINETUNE_BATCH = 600, 256

OnNetwork = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class AdaptSettings:
    """How much is done, and how."""

    ipc: tuple[int, ...] = (1, 10)
    """Images of each class of the target, one or several budgets."""
    sets: int = 1
    """Sets for each method and budget."""
    nets: int = 5
    """Networks for each set."""
    source_epochs: int = 10
    """Epochs of the networks on the source."""
    finetune_steps: int = FINETUNE_STEPS
    """Steps on the target; the rate drops after half of them."""
    net: str | None = None
    """The network; chosen by image size by default."""
    seed: int = 0
    """Of the networks, and of the first set."""

    def __post_init__(self) -> None:
        for name in ("sets", "nets", "source_epochs", "finetune_steps"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} must be at least 1, got {getattr(self, name)}")
        if not self.ipc or min(self.ipc) < 1:
            raise UsageError(f"--ipc must be at least 1, got {list(self.ipc)}")

    @property
    def source(self) -> Protocol:
        """How networks are trained on the source."""
        name = f"source(epochs={self.source_epochs})"
        return Protocol(name=name, epochs=self.source_epochs)

    @property
    def finetuning(self) -> Protocol:
        """How they are trained on: .01, and .001 after half of the steps."""
        cut = "" if self.finetune_steps == FINETUNE_STEPS else f"+steps={self.finetune_steps}"
        return Protocol(name=f"finetune{cut}", batch=FINETUNE_BATCH)


class AdaptJob:
    """An experiment that is ready to run: everything is checked, nothing is made.

    Args and errors are those of :func:`adapt`.
    """

    def __init__(
        self,
        source: Data,
        target: Data,
        methods: Sequence[Method],
        settings: AdaptSettings,
        out: Path,
        how: Running,
        *,
        match: Match = "name",
    ) -> None:
        self.source, self.target = together([source, target], match)
        self.methods, self.settings, self.out, self.how = methods, settings, out, how
        self.net = settings.net or source.net
        for method in methods:
            for ipc in settings.ipc:
                method.check(self.target, ipc)
        beginning = Phase(settings.source, (self.source.train,))
        classes = self.source.train.classes
        self.begin = Stage(classes, (beginning,), (self.target.test,), shared=True)
        whole = [self.begin, self._finetuned(self.target.train)]
        self.plan = chain_plan(whole, self.source.train.shape, **how.where)

    @property
    def memories(self) -> int:
        """Sets in all."""
        return len(self.methods) * len(self.settings.ipc) * self.settings.sets

    @property
    def total(self) -> int:
        """Networks in all that are fine-tuned, or trained on the source."""
        return (self.memories + 2) * self.settings.nets

    def seconds(self) -> tuple[float, float]:
        """What condensing and training will take, about; what is kept already is not counted."""
        told = self.settings
        condensing = told.sets * sum(
            method.seconds(self.target, ipc, self.how)
            for method in self.methods
            for ipc in told.ipc
        )
        where = (self.how.device or default_device(), self.how.threads or default_threads())
        shape, classes = self.source.train.shape, self.source.train.classes
        once = pass_seconds(self.net, shape, classes, FINETUNE_BATCH, *where) / FINETUNE_BATCH
        sizes = [ipc * classes for ipc in told.ipc] * len(self.methods) * told.sets
        sizes.append(len(self.target.train))
        tuned = told.finetune_steps * sum(min(FINETUNE_BATCH, size) for size in sizes)
        began = told.source_epochs * len(self.source.train)
        return condensing, told.nets * once * (tuned + began)

    def run(self, on_network: OnNetwork = lambda what, found: None) -> Adaptation:
        """Make what does not exist yet, train what is not known, and put the table together.

        Args:
            on_network: called after each network.

        Raises:
            Interrupted: when a signal asked a condensing to stop; the same call continues.
        """
        rows = []
        none = self._through([self.begin], "none", on_network)
        for ipc in self.settings.ipc:
            for method in self.methods:
                sets = [self._set(method, ipc, number) for number in range(self.settings.sets)]
                found = [
                    self._through([self.begin, self._finetuned(self._seen(one))], name, on_network)
                    for one, name in ((one, f"{method.label}, ipc {ipc}") for one in sets)
                ]
                size = sets[0].stored_bytes
                rows.append(Adapted(method.short, method.label, ipc, tuple(found), size))
        train = self.target.train
        whole = self._through([self.begin, self._finetuned(train)], "whole", on_network)
        rows.append(Adapted("none", "none", None, (none,), 0))
        rows.append(Adapted("whole", "whole", None, (whole,), train.nbytes))
        return Adaptation(tuple(rows), self._facts())

    def _set(self, method: Method, ipc: int, number: int) -> CondensedSet:
        place = self.out / "memories" / f"{self.target.name}-ipc{ipc}" / method.label
        seed = self.settings.seed + number
        return method.make(self.target, ipc, seed, place / f"seed{seed}", self.how)

    def _seen(self, one: CondensedSet) -> Candidate:
        """A set under the normalisation that the networks were trained with."""
        train = self.source.train
        return Candidate.union([one], train.class_names, train.mean, train.std)

    def _finetuned(self, part: Part) -> Stage:
        phase = Phase(self.settings.finetuning, (part,), steps=self.settings.finetune_steps)
        return Stage(self.source.train.classes, (phase,), (self.target.test,))

    def _through(self, stages: Sequence[Stage], what: str, tell: OnNetwork) -> tuple[float, ...]:
        train = self.source.train
        chain = Chain(
            stages,
            net=self.net,
            data=self.source,
            normalisation=(train.mean, train.std),
            plan=self.plan,
            seed=self.settings.seed,
            keep=self.out / "chains",
        )
        found = []
        for index in range(self.settings.nets):
            found.append(chain.run(index)[-1].accuracies[0])
            tell(what, found[-1])
        return tuple(found)

    def _facts(self) -> dict[str, Any]:
        return {
            "source": self.source.name,
            "target": self.target.name,
            "net": self.net,
            "source_protocol": self.settings.source.name,
            "protocol": self.settings.finetuning.name,
            "seed": self.settings.seed,
            "plan": self.plan.describe(),
            "version": __version__,
            "commit": commit(),
        }


def adapt(
    source: Any,
    target: Any,
    *,
    methods: Sequence[str] = ("random", "herding", "dm"),
    iterations: int | None = None,
    condense_net: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    match: Match = "name",
    out: str | Path | None = None,
    running: Running | None = None,
    on_network: OnNetwork = lambda what, found: None,
    **settings: Any,
) -> Adaptation:
    """Fine-tune networks of one data set on a few images of another (DC, section 3.2).

    Beside the methods, ``none`` is the network as it comes from the source, and ``whole`` the one
    that is fine-tuned on the whole training split of the target.

    Args:
        source: anything that :func:`condensery.load` takes.
        target: the same, with the same classes.
        methods: what gives the few images: recipes, selections, YAML files or made sets.
        iterations: outer iterations of each condensing; the recipe's by default.
        condense_net: network that condensing and selecting use; the data's own by default.
        size: side in pixels that all images are brought to.
        channels: channels that all images are brought to.
        match: how classes are matched, by ``name`` or ``order``.
        out: folder that keeps sets and accuracies; nothing is kept without one.
        running: plan, device and threads.
        on_network: called after each network.
        **settings: fields of :class:`AdaptSettings`, such as ``ipc`` and ``nets``.

    Raises:
        UsageError: for options that do not exist, or data sets of different size.
        DataError: for data that cannot be used, or classes that differ.
    """
    first, second = (load(one, size=size, channels=channels) for one in (source, target))
    chosen = methods_of(methods, iterations, net=condense_net)
    with folder_for(out) as folder:
        how, options = running or Running(), AdaptSettings(**settings)
        job = AdaptJob(first, second, chosen, options, folder, how, match=match)
        return job.run(on_network)
