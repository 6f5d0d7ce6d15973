"""From a recipe, a file and overrides, already merged, to one complete configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from condensery.errors import UsageError, unknown_name

from .build import Choices, build, choice_class, kinds_of, make, settings_of
from .imports import AllowedImports
from .recipes import CARD, CHOICES, SECTIONS, set_dotted, with_cases
from .schema import RUN_FIELDS, Choice, PixelOptimizer, RunConfig, Scalars


@dataclass(frozen=True)
class Resolved:
    """A complete configuration, and what its choices were built to while it was checked."""

    config: RunConfig
    """Everything that decides a set."""
    choices: Choices
    """May be asked what they take, and be used by one run: they have its state then."""


def resolve(
    raw: Mapping[str, Any], facts: Mapping[str, Any], allowed: AllowedImports | None = None
) -> Resolved:
    """A raw mapping (recipe, file and overrides already merged) as a complete configuration.

    Args:
        raw: fields of :class:`RunConfig`; each choice is ``{kind: …, setting: …}``.
        facts: what ``cases`` may ask for: data, ipc, size, classes; and ``net``, which replaces
            the network name ``default``.
        allowed: what may be imported where a file is the base; anything by default.

    Raises:
        UsageError: for a field or value that is invalid, or an import path that is not allowed.
    """
    merged = with_cases(raw, facts)
    for name in CARD:
        merged.pop(name, None)
    for name in merged:
        if name not in RUN_FIELDS:
            raise unknown_name("field", name, RUN_FIELDS)
    built: dict[str, Any] = {}
    for choice in CHOICES:
        merged[choice], built[choice] = _complete(choice, merged.get(choice, {}), facts, allowed)
    optimizer = merged.get("optimizer", {})
    if not isinstance(optimizer, Mapping):
        raise UsageError("optimizer must be a mapping of rate and momentum")
    if optimizer.get("rate") == "auto":
        raise UsageError(
            "optimizer.rate auto is not for files: condense finds the rate where it is typed as "
            "--optimizer.rate auto, and recipe.yaml has the number"
        )
    made: PixelOptimizer = make(PixelOptimizer, optimizer, "optimizer")
    merged["optimizer"] = made.settled(facts["ipc"], facts["size"])
    scalars = {k: v for k, v in merged.items() if k not in SECTIONS}
    checked = make(Scalars, scalars, "run")
    merged.update(dataclasses.asdict(checked))
    return Resolved(RunConfig(**merged), Choices(**built))


def _complete(
    choice: str, given: Any, facts: Mapping[str, Any], allowed: AllowedImports | None
) -> tuple[Choice, Any]:
    if isinstance(given, str):
        given = {"kind": given}
    if not isinstance(given, Mapping) or "kind" not in given:
        raise UsageError(f"{choice} needs a kind; known: {', '.join(sorted(kinds_of(choice)))}")
    settings = {k: v for k, v in given.items() if k != "kind"}
    chosen = Choice(str(given["kind"]), settings)
    if allowed is not None:
        allowed.check(choice, "kind", chosen.kind)
    fields = {field.name for field in dataclasses.fields(choice_class(choice, chosen.kind))}
    if "net" in fields and settings.get("net", "default") == "default":
        settings["net"] = facts["net"]  # the data's own, also after a change of kind
    if allowed is not None:
        for name, value in settings.items():
            allowed.check(choice, name, value)
    built = build(choice, chosen)
    if hasattr(built, "settled"):  # what depends on the budget, in numbers
        built = built.settled(facts["ipc"])
    return Choice(chosen.kind, settings_of(built)), built


def merge(base: Mapping[str, Any], overrides: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A raw mapping with dotted overrides on top; a new ``kind`` drops the old kind's settings."""
    out = {k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}
    for section in CHOICES:
        if isinstance(out.get(section), str):
            out[section] = {"kind": out[section]}
    kinds = [(name, value) for name, value in overrides if name.endswith(".kind")]
    rest = [(name, value) for name, value in overrides if not name.endswith(".kind")]
    for name, value in kinds:
        section = name.removesuffix(".kind")
        if section not in CHOICES:
            raise unknown_name("choice", section, CHOICES)
        if out.get(section, {}).get("kind") != value:
            out[section] = {"kind": value}
    for name, value in rest:
        if name.split(".")[0] not in RUN_FIELDS:
            raise unknown_name("field", name, [*RUN_FIELDS, *(f"{s}.…" for s in SECTIONS)])
        set_dotted(out, name, value)
    return out


def defaults_of(config: RunConfig) -> dict[str, Any]:
    """What every field of a configuration is when nothing is said, for its kinds of choices."""
    out: dict[str, Any] = {}
    for item in dataclasses.fields(RunConfig):
        value = getattr(config, item.name)
        if isinstance(value, Choice):
            known = dataclasses.fields(choice_class(item.name, value.kind))
            out[item.name] = {f.name: _default(f) for f in known if f.init}
        elif isinstance(value, PixelOptimizer):
            out[item.name] = {f.name: _default(f) for f in dataclasses.fields(value)}
        else:
            out[item.name] = _default(item)
    return out


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return None if item.default is dataclasses.MISSING else item.default
