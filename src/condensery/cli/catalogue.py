"""What there is, by name: the facts behind ``condensery list`` and the documentation's tables.

They are read from ``facts.json``, so that a list takes no torch. What the code has come to differ
in, the tests find, and ``make facts`` writes the file again.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from condensery.config.data_sets import Entry, entries, known_names, local
from condensery.errors import unknown_name

Facts = dict[str, Any]

#: Kind of thing → what one is called.
LISTS = {
    "recipes": "recipe",
    "networks": "network",
    "protocols": "protocol",
    "data": "data set",
    "selections": "selection",
}


@cache
def _written() -> dict[str, list[Facts]]:
    text = resources.files(__package__).joinpath("facts.json").read_text(encoding="utf-8")
    held: dict[str, list[Facts]] = json.loads(text)
    return held


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


def facts(kind: str, name: str | None = None) -> list[Facts]:
    """Everything of a kind, or the one of that name.

    Raises:
        UsageError: for a kind or a name that does not exist.
    """
    if kind not in LISTS:
        raise unknown_name("list", kind, LISTS)
    if kind == "data":  # what lies in the user's folders is among them
        return [data_set(one) for one in (_data_sets() if name is None else [name])]
    found = _written()[kind]
    if name is None:
        return found
    held = {one["name"]: one for one in found}
    if kind == "networks" and name not in held:  # with options, or a depth
        from .computed_facts import network

        return [network(name)]
    if name not in held:
        raise unknown_name(LISTS[kind], name, held)
    return [held[name]]
