"""What two processes do together for ``test_ranks.py``, and each case's run in one process.

:func:`main` under torchrun's environment variables runs every case of :data:`CASES` and leaves what
came out in the folder.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.errors import DataError, RanksError
from condensery.methods.formation import weights_of
from condensery.runtime.distributed import ALONE, Ranks, joined
from condensery.runtime.plan import Plan, exact_plan
from condensery.utils.checkpoint import load_state, save_state
from tests.condensation.small_runs import BRIEF, DISTINCT, LONGER, SMALL
from tests.conftest import tiny

FLOAT64 = exact_plan("cpu", 1, "float64")
CHUNKED = dataclasses.replace(FLOAT64, name="chunked", chunk=5)


class Dropping(nn.Module):
    """A network with dropout, which draws one mask for a whole batch."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        maps = nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.body = nn.Sequential(maps, nn.Flatten(), nn.Dropout(0.5))
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images))
        return logits


@dataclass(frozen=True)
class Case:
    """A run that one process and two are to make alike."""

    recipe: str
    given: dict[str, Any] = field(default_factory=dict)
    plan: Plan = FLOAT64
    tolerance: float = 1e-8


BATCH = {"supply.net": "convnet2:width=4,norm=batch"}
LONG = {"supply.epochs": 2}
CASES: dict[str, Case] = {
    **{name: Case(name) for name in (*DISTINCT, "gm_mda")},
    "gm_mdo": Case("gm_mdo", {"supply.cap": 3}),
    **{f"{name} in chunks": Case(name, plan=CHUNKED) for name in ("gm_md", "cafe")},
    "float32": Case("dm", plan=exact_plan("cpu", 1), tolerance=1e-4),
    "bfloat16": Case("cafe", plan=Plan(chunk=5, real_dtype="bfloat16"), tolerance=2e-3),
    "graphs made again": Case("gm_md", plan=dataclasses.replace(FLOAT64, memory_gb=1e-6)),
    "until overfit": Case("gm_m", {**LONG, "supply.until": "overfit", "supply.cap": 4}),
    "until the gap": Case("gm_m", {**LONG, "supply.until": "gap", "supply.gap": 0.001}),
    "batch norm frozen": Case("gm_md", {**BATCH, "supply.momentum": 0.5}),
    "batch norm and queues": Case("cafe", BATCH),
    "batch norm and cells": Case("dm_bn", {"formation.kind": "multi_formation"}),
    "batch norm and a learned formation": Case("dm_bn", {"formation.kind": "fsrcnn"}),
    "batch norm and tied classes": Case("dm_bn", {"objective.kind": "aligned_features"}),
    "batch norm and the classes' mean": Case(
        "dm_bn", {"objective.kind": "class_gradients", "objective.level": "multi"}
    ),
    "dropout": Case("dsa", {"supply.net": "tests.condensation.ranks_job:Dropping"}),
    "learned formation": Case("idc", {"formation.kind": "fsrcnn", "formation.rate": 0.1}),
    "some of the synthetic images": Case("idc", {"synthetic_batch": 3}),
    "pretraining": Case("idc_i", {"supply.pretrain": 2, "supply.batch": 5}),
    "mean discrimination": Case("cafe", {"objective.reduction": "mean"}),
    "one step of a pool's network": Case("dm", {"supply.kind": "pool"}),
    "until converged": Case("dm", {"iterations": 25, "until": "converged", "window": 10}),
}
#: Two pixel steps a case, with one network or each with its own.
TWO_STEPS: dict[str, dict[str, Any]] = {"fresh": {}, "dynamic": {"supply.step_cap": 2}}
#: Cases that are stopped between their pixel steps, and go on with other processes.
STOPPED = ("dm_bn", "gm_mda", "cafe_dsa", "learned formation")


def condenser(case: Case, folder: Path, ranks: Ranks = ALONE) -> Condenser:
    """The run of a case."""
    data = tiny()
    kind = configure(data, case.recipe).supply.kind
    given = {
        **SMALL,
        "iterations": 2 if kind == "fresh" else 1,
        **BRIEF.get(kind, {}),
        **LONGER.get(kind, {}),
        **TWO_STEPS.get(kind, {"supply.steps": 2}),
        **case.given,
    }
    if given.get("supply.kind") == "pool":
        given = {**given, "supply.path": str(folder / "pool")}
        given.pop("supply.net")
    return Condenser(data, configure(data, case.recipe, given), case.plan, ranks)


def outcome(run: Condenser) -> dict[str, Any]:
    """What a run came to: numbers that do not depend on how many made it."""
    report = run.report()
    return {
        "stored": run.result().stored.double(),
        "weights": {k: w.detach().clone() for k, w in weights_of(run.formation).items()},
        "loss": report.loss,
        "supply": report.supply,
        "iteration": run.iteration,
        "converged": run.converged,
    }


def finished(run: Condenser) -> dict[str, Any]:
    """The outcome of a run that goes to its end."""
    run.run()
    return outcome(run)


def stopped(run: Condenser) -> dict[str, Any]:
    """The state of a run after the first of its two pixel steps."""
    run.step()
    return run.state()


def told(ranks: Ranks) -> dict[str, Any]:
    """What each way of telling gives, and the bytes that it counts."""
    out: dict[str, Any] = {}

    def count(name: str, value: Any) -> None:
        out[name] = {"value": value, "traffic": ranks.traffic}
        ranks.traffic = 0.0

    rank = ranks.rank
    ranks.traffic = 0.0
    rows = torch.full((1 + rank, 2), float(rank))
    count("gather", ranks.gather(rows, [1, 2]))
    count("gather_classes", ranks.gather_classes(torch.full((2 - (rank == 0), 3), 1.0 + rank), 3))
    first, second = torch.ones(2, 2) * (rank + 1), torch.arange(3.0)
    ranks.all_reduce_sum(first, second.t())
    count("sum", torch.cat([first.flatten(), second]))
    count("most", list(ranks.all_reduce_max(rank, 5 - rank)))
    count("any", [ranks.any(rank == 1), ranks.any(False)])
    copied, turned = torch.full((4,), float(rank)), torch.full((2, 3), float(rank)).t()
    ranks.broadcast(copied, turned)
    count("copy_of_first", torch.cat([copied, turned.flatten()]))
    count("word_of_first", ranks.broadcast_object({"rank": rank, "ä": [None]}))
    whole = ranks.whole(rows[:1], 2, everywhere=False)
    out["whole"] = None if whole is None else whole.flatten().tolist()
    try:
        ranks.agree(rank, "they differ")
    except DataError as error:
        out["agree"] = str(error)
    return out


def main(folder: Path) -> None:
    """All that two processes are asked to do."""
    torch.set_num_threads(1)
    with joined() as ranks:
        save_state(told(ranks), folder / f"told {ranks.rank}.safetensors")
        for name, case in CASES.items():
            ranks.traffic = 0.0
            run = condenser(case, folder, ranks)
            found = finished(run)
            if ranks.first:
                held = {**found, "traffic": ranks.traffic, "steps": run.steps}
                save_state(held, folder / f"{name}.safetensors")
        for name in STOPPED:
            state = stopped(condenser(CASES[name], folder, ranks))
            if ranks.first:
                save_state(state, folder / f"{name}, stopped.safetensors")
                alone = stopped(condenser(CASES[name], folder))
                save_state(alone, folder / f"{name}, stopped alone.safetensors")
            ranks.wait()
            for which in ("stopped", "stopped alone"):
                run = condenser(CASES[name], folder, ranks)
                run.load_state(load_state(folder / f"{name}, {which}.safetensors"))
                found = finished(run)
                if ranks.first:
                    save_state(found, folder / f"{name}, {which}, went on.safetensors")
        lose_one(ranks, folder)


def lose_one(ranks: Ranks, folder: Path) -> None:
    """The second rank dies; what the first one says when it takes a step that needs it."""
    run = condenser(CASES["dc"], folder, ranks)
    if not ranks.first:
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        run.run()
    except RanksError as error:
        (folder / "lost").write_text(f"{ranks.speaks()} {ranks.speaks()} {error}")
    os._exit(0)  # there is nobody left to say goodbye to
