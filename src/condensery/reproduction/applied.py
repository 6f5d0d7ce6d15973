"""What the rows of applications reach here: adaptation, continual learning, search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from condensery.applications.adaptation import AdaptJob, AdaptSettings
from condensery.applications.architecture_search import SearchJob, SearchSettings
from condensery.applications.continual_learning import ContinualJob, ContinualSettings
from condensery.applications.methods import Method, Running, methods_of
from condensery.condensation.configure import configure
from condensery.data import Data, load
from condensery.errors import UsageError

from . import Experiment
from .outcome import Outcome, contents_for
from .settings import ReproductionSettings
from .verdict import Amount

#: Images of each class of DM's proxies.
_PROXY = 50
#: Accuracies by set and network, the protocol's name, and the plan's.
_Reached = tuple[tuple[tuple[float, ...], ...], str, str]


@dataclass(frozen=True)
class Applied:
    """An application as a row has it, before it is carried out."""

    seconds: Callable[[], tuple[float, float]]
    """Measures what condensing and training will take, about."""
    sets: int
    """How many memories or proxies are made."""
    run: Callable[[], _Reached]
    """Carries it out; what already exists is taken."""


def applied(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> Outcome:
    """Carry out an application; what already exists is taken.

    Raises:
        UsageError: under torchrun, or for another data set in the published one's place.
        Interrupted: when a signal asked to stop.
    """
    accuracies, protocol, plan = job_of(experiment, amount, data, how).run()
    return Outcome(
        accuracies=accuracies,
        protocol=protocol,
        seconds=0.0,
        plan=plan,
        contents=contents_for(experiment, amount),
        fingerprints={"train": data.train.fingerprint, "test": data.test.fingerprint},
    )


def job_of(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> Applied:
    """What is run for a row of an application.

    Raises:
        UsageError: under torchrun, or for another data set in the published one's place.
    """
    if not how.ranks.alone:
        raise UsageError("rows of applications run in one process; run them without torchrun")
    assert experiment.use is not None
    if amount.data not in (None, experiment.data):
        raise UsageError("rows of applications take their own data sets; leave --data out")
    make = {"adapt": _adapted, "continual": _learned, "search": _chosen}[experiment.use.command]
    return make(experiment, amount, data, how)


def _running(how: ReproductionSettings) -> Running:
    return Running(how.plan, how.device, how.threads, how.quiet, how.say)


def _methods(experiment: Experiment, amount: Amount, data: Data) -> list[Method]:
    """The row's method; none for a bound."""
    if experiment.kind == "whole":
        return []
    iterations = None
    scale = amount.scale_of(experiment)
    if scale != 1:
        config = configure(data, experiment.method, {"ipc": experiment.ipc or _PROXY})
        iterations = max(1, round(config.iterations * scale))
    net = experiment.overrides.get("supply.net")
    return methods_of([experiment.method], iterations, net=net)


def _adapted(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> Applied:
    use = experiment.use
    assert use is not None
    source = load(use.needs[0], size=use.size, channels=use.channels)
    settings = AdaptSettings(
        ipc=(experiment.ipc or 1,),
        sets=amount.sets_of(experiment),
        nets=amount.nets_of(experiment),
        source_epochs=amount.epochs or int(use.settings["source_epochs"]),
        net=experiment.net,
        seed=amount.seed,
    )
    methods, out = _methods(experiment, amount, data), how.out / "adapt"
    job = AdaptJob(source, data, methods, settings, out, _running(how))

    def run() -> _Reached:
        found = job.run()
        row = next(one for one in found.rows if one.method == experiment.method)
        named = f"{found.facts['protocol']} after {found.facts['source_protocol']}"
        return row.sets, named, found.facts["plan"]

    return Applied(job.seconds, job.memories, run)


def _learned(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> Applied:
    use = experiment.use
    assert use is not None
    settings = ContinualSettings(
        memory=experiment.ipc or 1,
        strategy=experiment.protocol,
        seeds=amount.sets_of(experiment),
        nets=amount.nets_of(experiment),
        epochs=amount.epochs,
        net=experiment.net,
        seed=amount.seed,
    )
    methods, steps = _methods(experiment, amount, data), int(use.settings["steps"])
    out = how.out / "continual"
    job = ContinualJob([data], steps, methods, settings, out, _running(how))

    def run() -> _Reached:
        (curve,) = job.run().curves
        final = curve.accuracies[:, -1].reshape(settings.seeds, settings.nets)
        reached = tuple(tuple(float(a) for a in order) for order in final)
        return reached, curve.strategy, curve.plan

    return Applied(job.seconds, job.memories, run)


def _chosen(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> Applied:
    given: dict[str, Any] = {} if amount.epochs is None else {"epochs": amount.epochs}
    settings = SearchSettings(
        ipc=experiment.ipc or _PROXY, repeats=amount.nets_of(experiment), seed=amount.seed, **given
    )
    methods, early = _methods(experiment, amount, data), experiment.kind == "whole"
    out, running = how.out / "search", _running(how)
    job = SearchJob(data, methods, settings, out, running, early=early)

    def run() -> _Reached:
        found = job.run()
        one = found.whole if experiment.method == "whole" else found.rows[0]
        reached = found.whole.accuracies[one.best][1]
        return (tuple(reached),), one.protocol, "auto"

    return Applied(job.seconds, job.memories, run)
