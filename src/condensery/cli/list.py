"""``condensery list``: the recipes, networks, protocols, data sets and selections by name."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from .catalogue import Facts, facts
from .telling import conclude

#: Kind of thing → what is shown of each beside its name and its line.
_BESIDE: dict[str, dict[str, str]] = {
    "recipes": {"cost": "cost"},
    "networks": {"parameters": "parameters"},
    "protocols": {"epochs": "epochs"},
    "data": {"hub": "hub"},
    "selections": {},
}
_LAST = {
    "recipes": "cost: passes through the network over the whole schedule, as a multiple of dm's "
    "(CIFAR-10, 10 images per class); -: as much as --minutes allows. Details: condensery list "
    "recipes NAME",
    "networks": "parameters: on 3×32×32 images and 10 classes. Any torch.nn.Module class goes by "
    "its import path. Details: condensery list networks NAME",
    "protocols": "A constant is changed by name: --protocol dsa+epochs=100. Details: condensery "
    "list protocols NAME",
    "data": "Folders, files, hub:OWNER/NAME, arrays and torch data sets work as well.",
    "selections": "condensery select NAME --data SPEC --ipc N",
}


def list_(options: Any) -> int:
    """List what there is of a kind, or describe one."""
    found = facts(options.kind, options.name)
    width = shutil.get_terminal_size().columns
    lines = _one(found[0], width) if options.name else _all(options.kind, found, width)
    conclude(options, {options.kind: found}, lines)
    return 0


def _all(kind: str, found: list[Facts], width: int) -> list[str]:
    beside = _BESIDE[kind]
    head = ["name", *beside]
    rows = [[one["name"], *(_short(one[key]) for key in beside.values())] for one in found]
    sides = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = []
    for row, text in [(head, "what it is"), *zip(rows, map(_text, found), strict=True)]:
        left = "  ".join(cell.ljust(side) for cell, side in zip(row, sides, strict=True))
        lines += _hung(left + "  ", text, width)
    return [*lines, "", *textwrap.wrap(_LAST[kind], width)]


def _text(one: Facts) -> str:
    """What it is, and what it is good for."""
    good = one.get("good_for")
    return f"{one['about']}. Good for {good}" if good else str(one["about"])


def _one(one: Facts, width: int) -> list[str]:
    lines = []
    for key, value in one.items():
        if value is None:
            continue
        shown = _flat(value) if isinstance(value, Mapping) else _short(value)
        lines += _hung(f"{key.replace('_', ' '):<16}  ", shown, width)
    return lines


def _hung(left: str, text: str, width: int) -> list[str]:
    """A text beside what stands left of its first line."""
    return textwrap.wrap(
        text,
        max(width, len(left) + 20),
        initial_indent=left,
        subsequent_indent=" " * len(left),
        break_on_hyphens=False,
    ) or [left.rstrip()]


def _flat(settings: Mapping[str, Any]) -> str:
    rest = [f"{key} {_nested(value)}" for key, value in settings.items() if key != "kind"]
    kind = str(settings.get("kind", ""))
    return (f"{kind}: " if kind and rest else kind) + ", ".join(rest)


def _nested(value: Any) -> str:
    return f"({_flat(value)})" if isinstance(value, Mapping) else _short(value)


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value >= 10_000:
        return f"{value:,}".replace(",", " ")
    return f"{value:g}" if isinstance(value, float) else str(value)
