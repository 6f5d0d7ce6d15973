"""How a set was made, in lines that a person reads and a command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from condensery.utils.text import plural, shape_text, size_text, time_text

from .names import shown
from .sources import SetPart

Lines = list[tuple[str, str]]


def summary(part: SetPart) -> Lines:
    """What the set is."""
    condensed, about = part.condensed, part.condensed.about
    several = f" (the first of {part.several} sets)" if part.several > 1 else ""
    shape = shape_text(condensed.images.shape[1:])
    each = len(condensed.labels) // len(condensed.stored)
    decoded = f", decoded to {each} training images per class" if each != about.ipc else ""
    return [
        ("set", f"{shown(part.name)}{several}"),
        ("method", about.method),
        (
            "stored",
            f"the size of {plural(about.ipc, 'image')} per class, {len(condensed.stored)} classes"
            f"{decoded}",
        ),
        ("images", f"{len(condensed.labels)} of {shape}"),
        (
            "size",
            f"{size_text(condensed.stored_bytes)} stored, {size_text(part.file_bytes)} on disk",
        ),
        (
            "source",
            f"{about.source.name}: {about.source.images} images, {size_text(about.source.bytes)}",
        ),
        (
            "smaller by",
            f"{condensed.shrinkage:.0f} times in images, "
            f"{about.source.bytes / condensed.stored_bytes:.0f} times in bytes",
        ),
        ("iterations", str(about.iterations)),
        ("seed", str(about.seed)),
        ("fingerprint of the data", about.source.fingerprint[:16]),
    ]


def making(part: SetPart) -> Lines:
    """When, where, with what and at what cost, as far as the run recorded it."""
    facts = part.facts
    machine, versions = _section(facts, "machine"), _section(facts, "versions")
    plan = _section(facts, "plan")
    lines: Lines = []
    seconds, before = facts.get("seconds"), facts.get("seconds_before", 0.0)
    if isinstance(seconds, int | float) and isinstance(before, int | float):
        lines.append(("time", time_text(float(seconds + before))))
    for name in ("started", "finished", "ended", "commit"):
        if facts.get(name) is not None:
            lines.append((name, str(facts[name])))
    cores = machine.get("cores")
    told = [machine.get("gpu"), machine.get("processor")]
    told += [plural(cores, "core")] if isinstance(cores, int) else []
    if any(told):
        lines.append(("machine", ", ".join(str(one) for one in told if one)))
    for name, unit in (("peak_memory_bytes", size_text), ("energy_joules", _joules)):
        if isinstance(facts.get(name), int | float):
            what = name.rpartition("_")[0]
            whose = facts.get(f"{what}_of")
            told_ = f"{unit(facts[name])}{f' ({whose})' if whose else ''}"
            lines.append((what.replace("_", " "), told_))
    if versions:
        lines.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    if plan:
        kept = ("name", "device", "dtype", "real_dtype", "chunk", "compile", "threads")
        lines.append(("plan", ", ".join(f"{k} {plan[k]}" for k in kept if k in plan)))
    return lines


def command(part: SetPart) -> str | None:
    """What repeats the run, given its recipe.yaml; None for a set without one."""
    if part.recipe is None:
        return None
    data = part.settings.get("data")
    if "select" in part.settings:
        return None
    words = ["condensery", "condense", "--config", f"{shown(part.name)}/recipe.yaml"]
    if isinstance(data, str):
        words += ["--data", shown(data)]
    return shlex.join([*words, "--out", "runs/again"])


def _section(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def _joules(value: float) -> str:
    return f"{value / 3600:.2f} Wh"
