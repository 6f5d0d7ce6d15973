"""The sets of an experiment: condensed or selected where they do not exist yet."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condensery.condensation.configure import configure
from condensery.condensation.in_folder import condensed_in
from condensery.condensation.run_folder import RunFolder
from condensery.config.schema import RunConfig
from condensery.data import Data, load
from condensery.selection.folder import Selections
from condensery.sets.condensed import CondensedSet
from condensery.sets.places import set_file
from condensery.utils.facts import note_facts

from . import Experiment
from .settings import ReproductionSettings
from .verdict import Amount


@dataclass(frozen=True)
class Made:
    """A set on disk."""

    folder: Path
    """Its run folder."""
    condensed: CondensedSet
    """The set."""

    @property
    def digest(self) -> str:
        """SHA-256 of its file."""
        return hashlib.sha256(set_file(self.folder).read_bytes()).hexdigest()


def scaled(config: RunConfig, scale: float) -> RunConfig:
    """A configuration whose schedule is shorter: its iterations, and where its rate drops.

    What happens within an outer iteration stays. One iteration is the least.

    Args:
        config: the whole schedule.
        scale: what it is multiplied by, 0 < scale ≤ 1.
    """
    if scale == 1:
        return config
    drops = [max(1, round(drop * scale)) for drop in config.optimizer.drops]
    return dataclasses.replace(
        config,
        iterations=max(1, round(config.iterations * scale)),
        optimizer=dataclasses.replace(config.optimizer, drops=drops),
    )


def load_for(experiment: Experiment, amount: Amount) -> Data:
    """The data of an experiment, or those that take their place."""
    use = experiment.use
    name, zca = amount.data or experiment.data, experiment.zca
    if use is None:
        return load(name, zca=zca, **amount.reading)
    return load(name, zca=zca, size=use.size, channels=use.channels, **amount.reading)


def configuration(experiment: Experiment, amount: Amount, data: Data) -> RunConfig:
    """The configuration of an experiment's first set."""
    fields = {"ipc": experiment.ipc, "seed": amount.seed, **experiment.overrides}
    if experiment.zca:
        fields["zca"] = True
    return scaled(configure(data, experiment.method, fields), amount.scale_of(experiment))


def folders_of(experiment: Experiment, amount: Amount, data: Data, out: Path) -> list[Path]:
    """Where the sets of an experiment lie: rows that differ in their test alone share them."""
    over = dict(experiment.overrides)
    if over.get("supply.net") == data.net:
        del over["supply.net"]  # the data's own
    scale = amount.scale_of(experiment)
    parts = [data.name, experiment.method, f"ipc{experiment.ipc}"]
    parts += [f"{name}={value}" for name, value in over.items()]
    parts += [f"{name}={value}" for name, value in amount.reading.items()]
    parts += ["zca"] if experiment.zca else []
    parts += [f"scale={scale:g}"] if scale != 1 else []
    home = out / "sets" / plain_name("-".join(parts))
    seeds = range(amount.seed, amount.seed + amount.sets_of(experiment))
    return [home / str(seed) for seed in seeds]


def plain_name(text: str) -> str:
    """A name as a file's or folder's.

    >>> plain_name("mnist/1/dc/test_net=mlp,d1+100*d4")
    'mnist-1-dc-test_net=mlp,d1+100_d4'
    """
    return re.sub(r"[^\w.=,+-]", "_", text.replace("/", "-"))


def made_sets(
    experiment: Experiment, amount: Amount, data: Data, how: ReproductionSettings
) -> list[Made]:
    """The sets of an experiment, each condensed or selected where it does not exist yet.

    Raises:
        Interrupted: when a signal asked to stop; existing work is resumed.
    """
    folders = folders_of(experiment, amount, data, how.out)
    if experiment.kind == "select":
        made = how.ranks.on_rank_zero(lambda: _selected(experiment, data, folders, how))
        # Elsewhere they are read when they are there.
        return made or [Made(folder, CondensedSet.load(folder)) for folder in folders]
    config = configuration(experiment, amount, data)
    out = []
    for number, folder in enumerate(folders):
        one = dataclasses.replace(config, seed=config.seed + number)
        which = f"set {number + 1} of {len(folders)}"
        out.append(_condensed(one, data, RunFolder(folder, writes=how.ranks.first), how, which))
    return out


def _selected(
    experiment: Experiment, data: Data, folders: Sequence[Path], how: ReproductionSettings
) -> list[Made]:
    assert experiment.ipc is not None
    selections = Selections(
        data,
        experiment.method,
        ipc=experiment.ipc,
        plan=how.plan,
        device=how.device,
        threads=how.threads,
        quiet=how.quiet,
        say=how.say,
    )
    out = []
    for folder in folders:
        seed = int(folder.name)
        if selections.finished(folder, seed):
            chosen = CondensedSet.load(folder)
        else:
            chosen = selections.make(folder, seed)
        out.append(Made(folder, chosen))
    return out


def _condensed(
    config: RunConfig, data: Data, folder: RunFolder, how: ReproductionSettings, which: str
) -> Made:
    made = condensed_in(
        config,
        data,
        folder,
        which=which,
        plan=how.plan,
        device=how.device,
        threads=how.threads,
        quiet=how.quiet,
        say=how.say,
        ranks=how.ranks,
    )
    return Made(folder.path, made)


def condensing_facts(made: Sequence[Made]) -> dict[str, Any]:
    """When and by what the sets were condensed, from their run folders."""
    held = [note_facts(one.folder) for one in made]
    each = [one["plan"] for one in held if isinstance(one.get("plan"), dict)]
    plans = {str(one["name"]) for one in each}
    narrow = {name for one in each for name in narrow_types(one)}
    return {
        "seconds": round(sum(float(one.get("seconds", 0.0)) for one in held), 1),
        "commits": sorted({str(one["commit"]) for one in held if one.get("commit")}),
        "plans": sorted(plans),
        "narrow": sorted(narrow),
    }


def narrow_types(plan: Mapping[str, Any]) -> list[str]:
    """Number types of a plan that round more than float32 does."""
    types = [plan.get("real_dtype"), plan.get("update_dtype")]
    cuda = str(plan.get("device", "")).startswith("cuda")
    tf32 = ["TF32"] if cuda and plan.get("tf32") else []
    return [*(str(name) for name in types if name == "bfloat16"), *tf32]
