"""Runs of recipes, and the parts of their steps, as the twin does them and under a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import twins
from sections import EAGER, chosen
from timed import Call, Timed, changed
from torch import Tensor

from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.runtime.plan import Plan, exact_plan


class Runs(Timed):
    """Sections that time runs of recipes."""

    def plans(self, recipe: str, ipc: int, full: bool) -> dict[str, Plan]:
        """What is measured beside the twin: more of it where ``full``."""
        auto = chosen(self.data, recipe, ipc, self.device)
        out = {"exact": exact_plan(self.device, 1), "auto": auto}
        if self.gpu:
            out["eager"] = changed(auto, {"name": "eager", **EAGER})
        if not full:
            return out
        single = {"real_dtype": "float32", "update_dtype": "float32"}
        half = {"real_dtype": "bfloat16", "update_dtype": "bfloat16"}
        out["float32"] = changed(auto, {**single, "tf32": False})
        out["tf32"] = changed(auto, {**single, "tf32": True})
        out["bf16 training"] = changed(auto, half)
        out["other layout"] = changed(auto, {"channels_last": not auto.channels_last})
        if auto.together:
            out["class by class"] = changed(auto, {"together": False})
        return out

    def condenser(self, recipe: str, ipc: int, plan: Plan) -> Condenser:
        """A run whose parts are measured."""
        config = configure(self.data, recipe, {"ipc": ipc, **self.more})
        return Condenser(self.data, config, plan)

    def parts_of(
        self,
        name: str,
        of: Callable[[str, Condenser], dict[str, Call]],
        recipe: str,
        run: Condenser,
    ) -> dict[str, Call]:
        """The parts of a step; none where they cannot be made."""
        made: list[dict[str, Call]] = []

        def make() -> list[str]:
            made.append(of(recipe, run))
            return list(made[0])

        self.sections.piece(f"{name} parts", make)
        return made[0] if made else {}

    def made(self, name: str, recipe: str, ipc: int, plan: Plan) -> Condenser | None:
        """A run, where there is time left and nothing breaks."""
        if self.sections.left() <= 0:
            return None
        made: list[Condenser] = []

        def make() -> str:
            made.append(self.condenser(recipe, ipc, plan))
            return plan.describe()

        self.sections.piece(f"{name} plan", make)
        return made[0] if made else None


def twin_parts(recipe: str, run: Condenser) -> dict[str, Call]:
    """The parts of a recipe as the twin does them."""
    if recipe == "dm":
        return {"step": lambda k: twins.dm_step(run, k)}
    network = run.supply.new(0)
    if recipe == "idc":
        return {
            "match": lambda k: twins.idc_match(run, network, k),
            "update": lambda k: twins.idc_update(run, network, k),
        }
    epoch: dict[str, Call] = {"epoch": lambda k: twins.supply_epochs(run, network, 1)}
    if recipe == "cafe":
        return {
            "match": lambda k: twins.cafe_match(run, network, k),
            "check": lambda k: twins.cafe_check(run, network, k),
            **epoch,
        }
    fresh: dict[str, Call] = {
        "new and match": lambda k: twins.gradient_match(run, run.supply.new(k), k)
    }
    return {
        "match": lambda k: twins.gradient_match(run, network, k),
        **epoch,
        **(fresh if _single(run) else {}),
    }


def parts(recipe: str, run: Condenser) -> dict[str, Call]:
    """The same parts under the run's plan."""
    if recipe == "dm":
        return {"step": lambda k: run.step()}
    network = run.supply.new(0)
    supply: Any = run.supply

    def match(k: int) -> Tensor:
        return run.matcher.gradient(network, run.stored.detach(), k, 0)[1]

    def epoch(k: int) -> None:
        course().epochs(*run.context().synthetic(), range(k, k + 1), (0, 0))

    held: list[Any] = []

    def course() -> Any:
        if not held:
            held.append(run.context().course(network, supply._protocol))
        return held[0]

    if recipe == "idc":
        images = run.config.supply.settings["images"]
        return {
            "match": match,
            "update": lambda k: course().some(run.context().real, images, (k, 0)),
        }
    if recipe == "cafe":
        query = run.config.supply.settings["query"]
        return {
            "match": match,
            "check": lambda k: course().accuracy(run.context().query(query, k)),
            "epoch": epoch,
        }
    fresh: dict[str, Call] = {"new and match": lambda k: run.step()}
    return {"match": match, "epoch": epoch, **(fresh if _single(run) else {})}


def _single(run: Condenser) -> bool:
    """Whether an outer iteration is one pixel step."""
    return int(run.config.supply.settings.get("steps") or 0) == 1
