"""The facts of ``condensery list``, computed from the code, which imports torch.

``make facts`` writes them to ``facts.json``, where the command reads them; the tests compare both.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from condensery import nets
from condensery.condensation.configure import passes_of, resolved_for
from condensery.config.budget import time_budget
from condensery.config.recipes import CHOICES, read_recipe, recipe_names
from condensery.config.resolve import Resolved
from condensery.selection import SELECTIONS
from condensery.selection.methods import trains
from condensery.training.protocol import protocol, protocol_names

Facts = dict[str, Any]

#: What recipes are compared on: CIFAR-10 at ten images per class.
_USUAL: Facts = {
    "data": "cifar10",
    "ipc": 10,
    "size": 32,
    "channels": 3,
    "classes": 10,
    "audio": False,
    "net": "convnet3",
    "family": "convnet",
    "norm": "default",
    "decoded": 1,
}
_SHAPE = (3, 32, 32)
_COUNTS = [5000] * 10


def _resolved(name: str) -> Resolved:
    return resolved_for(lambda ipc, net: _USUAL, name, {"ipc": 10}, spec="cifar10")


@cache
def _passes(name: str) -> float:
    found = _resolved(name)
    return passes_of(_COUNTS, found.config, found.choices)


def recipe(name: str) -> Facts:
    """A recipe: its card, its cost as a multiple of ``dm``'s, and its settings.

    The cost counts passes of single images through the network over the whole schedule, at ten
    images per class of CIFAR-10. It is computed and not measured: no two machines agree on more.
    A recipe that fits itself to a time has no schedule of its own, and so no cost; its budget says
    what it does with the time.
    """
    card, found = read_recipe(name), _resolved(name).config
    budget = time_budget(card, _USUAL)
    cost = None if budget else float(f"{_passes(name) / _passes('dm'):.2g}")
    settings = {choice: dataclasses.asdict(getattr(found, choice)) for choice in CHOICES}
    return {
        "name": name,
        "about": card["about"],
        "paper": card["paper"],
        "good_for": card["good_for"],
        "cost": cost,
        "iterations": found.iterations,
        "real_batch": found.real_batch,
        **{choice: {"kind": each["kind"], **each["settings"]} for choice, each in settings.items()},
        "optimizer": dataclasses.asdict(found.optimizer),
        "budget": budget and dataclasses.asdict(budget),
    }


def network(name: str) -> Facts:
    """A network: its options with their defaults, and its parameters on 3×32×32 and ten classes."""
    about, options = nets.about(name)
    return {
        "name": name,
        "about": about,
        "options": options,
        "parameters": nets.parameters(name, _SHAPE, 10),
    }


def protocol_facts(name: str) -> Facts:
    """A protocol: where it comes from, and its constants at ten images per class of CIFAR-10."""
    found = dataclasses.asdict(protocol(name, _USUAL))
    return {"name": name, "about": found.pop("about"), **found}


def selection(name: str) -> Facts:
    """A selection of real images, and whether it trains a network on the whole split first."""
    key = name.replace("-", "_")
    text = (SELECTIONS[key].__doc__ or "").partition("\n")[0].partition(": see")[0]
    return {
        "name": key.replace("_", "-"),
        "about": text.replace(":func:`select_forgetting`", "forgetting").rstrip("."),
        "trains_a_network": trains(key),
    }


#: Kind of thing → its names, and the facts of one.
COMPUTED: dict[str, tuple[Callable[[], list[str]], Callable[[str], Facts]]] = {
    "recipes": (recipe_names, recipe),
    "networks": (nets.families, network),
    "protocols": (protocol_names, protocol_facts),
    "selections": (lambda: [key.replace("_", "-") for key in SELECTIONS], selection),
}


def computed() -> dict[str, list[Facts]]:
    """Everything of each kind."""
    return {kind: [each(name) for name in names()] for kind, (names, each) in COMPUTED.items()}


if __name__ == "__main__":
    print(json.dumps(computed(), indent=1, ensure_ascii=False))
