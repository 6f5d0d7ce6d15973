"""What there is, by name: the facts behind ``condensery list`` and the documentation's tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from condensery import nets
from condensery.condensation.configure import passes_of, resolved_for
from condensery.config.recipes import CHOICES, read_recipe, recipe_names
from condensery.config.resolve import Resolved
from condensery.data.catalogue import Entry, entries, known_names, local
from condensery.errors import unknown_name
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
    """
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    card, found = read_recipe(name), _resolved(name).config
    settings = {choice: dataclasses.asdict(getattr(found, choice)) for choice in CHOICES}
    return {
        "name": name,
        "about": card["about"],
        "paper": card["paper"],
        "good_for": card["good_for"],
        "cost": float(f"{_passes(name) / _passes('dm'):.2g}"),
        "iterations": found.iterations,
        "real_batch": found.real_batch,
        **{choice: {"kind": each["kind"], **each["settings"]} for choice, each in settings.items()},
        "optimizer": dataclasses.asdict(found.optimizer),
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


def _data_sets() -> list[str]:
    """The names of the catalogue in its order, then those of local folders."""
    names = ["digits", *entries()]
    return [*names, *(name for name in known_names() if name not in names)]


def data_set(name: str) -> Facts:
    """A data set that is known by name, and where it is looked for."""
    if name == "digits":
        return {
            "name": name,
            "about": "handwritten digits: 1797 grey images of 8×8, 10 classes",
            "hub": None,
            "local": None,
            "embedded": True,
        }
    known, place = entries(), local(name)
    if name not in known and place is None:
        raise unknown_name("data set", name, known_names())
    entry = known.get(name, Entry(about="a folder of $CONDENSERY_DATA"))
    return {
        "name": name,
        "about": entry.about,
        "hub": known[entry.part_of].hub if entry.part_of else entry.hub,
        "local": None if place is None else str(place),
        "embedded": False,
    }


def selection(name: str) -> Facts:
    """A selection of real images, and whether it trains a network on the whole split first."""
    key = name.replace("-", "_")
    if key not in SELECTIONS:
        raise unknown_name("selection", name, [k.replace("_", "-") for k in SELECTIONS])
    text = (SELECTIONS[key].__doc__ or "").partition("\n")[0].partition(": see")[0]
    return {
        "name": key.replace("_", "-"),
        "about": text.replace(":func:`select_forgetting`", "forgetting").rstrip("."),
        "trains_a_network": trains(key),
    }


#: Kind of thing → its names, and the facts of one.
LISTS: dict[str, tuple[Callable[[], list[str]], Callable[[str], Facts]]] = {
    "recipes": (recipe_names, recipe),
    "networks": (nets.families, network),
    "protocols": (protocol_names, protocol_facts),
    "data": (_data_sets, data_set),
    "selections": (lambda: [key.replace("_", "-") for key in SELECTIONS], selection),
}


def facts(kind: str, name: str | None = None) -> list[Facts]:
    """Everything of a kind, or the one of that name.

    Raises:
        UsageError: for a kind or a name that does not exist.
    """
    if kind not in LISTS:
        raise unknown_name("list", kind, LISTS)
    known, each = LISTS[kind]
    return [each(one) for one in (known() if name is None else [name])]
