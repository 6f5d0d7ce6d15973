"""The classes behind the choices' names, and their settings checked.

Nothing here imports torch: the classes are imported when a choice is built.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from condensery.errors import UsageError, unknown_name, wrong_value

from .imports import imported
from .later import unset
from .recipes import CHOICES
from .schema import Choice, RunConfig

#: Where the kinds of each choice are exported, as ``KINDS``: a name and its class. Anything else is
#: an import path, ``package.module:Class``.
_ROOMS = {
    "formation": "condensery.methods.formation",
    "objective": "condensery.methods.objectives",
    "supply": "condensery.methods.supply",
    "augmentation": "condensery.methods.augmentation",
}

#: What the class of each choice offers; the interfaces stand beside the built-in ones.
_METHODS = {
    "formation": (
        *("for_data", "decoded", "start", "decode", "project"),
        *("state", "load_state"),
    ),
    "objective": (
        *("separable", "additive", "single", "passes", "compiles"),
        *("levels", "statistic", "compare", "state", "load_state"),
    ),
    "supply": (
        *("start", "effort", "new", "prepare", "advance"),
        *("report", "state", "load_state"),
    ),
    "augmentation": ("for_data", "draw", "apply", "state", "load_state"),
}


def kinds_of(choice: str) -> dict[str, type[Any]]:
    """The built-in kinds of a choice, by name."""
    found: dict[str, type[Any]] = importlib.import_module(_ROOMS[choice]).KINDS
    return found


def choice_class(choice: str, kind: str, *, foreign: bool = True) -> type[Any]:
    """The class behind a kind.

    Args:
        choice: ``formation``, ``objective``, ``supply`` or ``augmentation``.
        kind: a built-in name or ``package.module:Class``.
        foreign: whether an import path is allowed; a file that someone else made may not name one.
    """
    known = kinds_of(choice)
    if kind not in known and (":" not in kind or not foreign):
        raise unknown_name(choice, kind, known)
    found = known[kind] if kind in known else imported(kind, choice)
    lacking = [name for name in _METHODS[choice] if not hasattr(found, name)]
    if not isinstance(found, type) or not dataclasses.is_dataclass(found) or lacking:
        needs = f"; it lacks {', '.join(lacking)}" if lacking else ""
        raise UsageError(f"{choice} '{kind}' must be a dataclass with the methods of one{needs}")
    return found


@cache
def _parser(cls: type[Any], section: str) -> Any:
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, section)
    return parser


def make(cls: type[Any], settings: Mapping[str, Any], section: str) -> Any:
    """An instance of a settings class, every value checked against its type.

    Raises:
        UsageError: for a field that does not exist (with the nearest one) or a wrong value.
    """
    fields = [f.name for f in dataclasses.fields(cls) if f.init]
    for name in settings:
        if name not in fields:
            raise _unknown_setting(section, name, fields)
    if not fields:
        return cls()
    _check_not_null(cls, settings, section)
    settings = {name: _plain(value) for name, value in settings.items()}
    try:
        values = _checked(cls, section, settings)
    except Exception as error:  # jsonargparse raises several kinds; all mean a wrong value
        raise UsageError(_complaint(str(error), section)) from error
    # Copied, for a list in them may be changed by whoever gets it.
    return cls(**{name: copy.deepcopy(values[name]) for name in fields})


#: What values became that were checked before, by their class, section and field.
_SEEN: dict[tuple[Any, ...], Any] = {}
_MOST_SEEN = 4096


def _checked(cls: type[Any], section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a settings class; a parse takes milliseconds, and values are repeated.

    No field's check asks for another one, so those that were all checked before are not parsed.
    """
    names = [item.name for item in dataclasses.fields(cls) if item.init]
    # 1 is not 1.0 or True, and what is not given is not null.
    keys = {
        name: (cls, section, name, name in settings, _frozen(settings.get(name))) for name in names
    }
    if any(key not in _SEEN for key in keys.values()):
        parser = _parser(cls, section)  # type: ignore[arg-type]
        found = parser.parse_object({section: dict(settings)})[section]
        if len(_SEEN) > _MOST_SEEN:
            _SEEN.clear()
        _SEEN.update({key: found[name] for name, key in keys.items()})
    return {name: _SEEN[key] for name, key in keys.items()}


def _frozen(value: Any) -> Any:
    """A value that can be compared and hashed; what is no plain value equals itself alone."""
    if isinstance(value, Mapping):
        return "mapping", tuple((name, _frozen(below)) for name, below in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_frozen, value))
    if value is None or isinstance(value, str | int | float):
        return type(value), repr(value)
    return object, object()


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's; the parser knows these alone."""
    is_numpy = type(value).__module__ == "numpy" and not getattr(value, "shape", True)
    return value.item() if is_numpy else value


def _unknown_setting(section: str, name: str, fields: Sequence[str]) -> UsageError:
    """The error for a setting that is not there, with the kinds that have one of that name."""
    having = [
        kind
        for kind, other in (kinds_of(section) if section in _ROOMS else {}).items()
        if name in [f.name for f in dataclasses.fields(other) if f.init]
    ]
    if having:
        return UsageError(
            f"{section}.{name} is a setting of other kinds of {section} ({', '.join(having)}), not "
            f"of this one; give --{section}.kind as well, or leave it out"
        )
    known = [f"{section}.{field}" for field in fields]
    return unknown_name(f"setting in {section}", f"{section}.{name}", known)


def _check_not_null(cls: type[Any], settings: Mapping[str, Any], section: str) -> None:
    """Raise if a needed value is null; the parser accepts null for any type."""
    types = {item.name: str(item.type) for item in dataclasses.fields(cls)}
    for name, value in settings.items():
        if value is None and not re.search("None|Optional", types[name]):
            choices = re.search(r"Literal\[(.*?)\]", types[name])
            words = re.findall(r"\w+", choices[1]) if choices else []
            wanted = f": {' or '.join(words)}" if words else ""
            raise UsageError(f"{section}.{name} needs a value{wanted}".removeprefix("run."))


def _complaint(text: str, section: str) -> str:
    """A parser's complaint about a setting in one sentence."""
    field = re.search(r'Parser key "([^"]+)"', text)
    if field is None or "Expected" not in text:
        return f"{' '.join(text.split())}; see the documentation of {section}"
    wanted, got = wrong_value(text)
    wanted = wanted.replace("a list", f"a list such as '[{got}]'" if "[" not in got else "a list")
    return f"{field[1].removeprefix('run.')} must be {wanted}, got {got}"


def build(choice: str, chosen: Choice, *, foreign: bool = True) -> Any:
    """The object that carries out one choice."""
    cls = choice_class(choice, chosen.kind, foreign=foreign)
    return make(cls, chosen.settings, choice)


@dataclass(frozen=True)
class Choices:
    """The objects that carry out a configuration's choices."""

    formation: Any
    objective: Any
    supply: Any
    augmentation: Any

    @classmethod
    def of(cls, config: RunConfig) -> Choices:
        """Built anew, without any state."""
        return cls(**{choice: build(choice, getattr(config, choice)) for choice in CHOICES})


def settings_of(built: Any) -> dict[str, Any]:
    """All settings of a built choice, defaults included, as plain values."""
    out = {}
    for item in dataclasses.fields(built):
        if item.init and not unset(built, item):
            value = getattr(built, item.name)
            out[item.name] = list(value) if isinstance(value, tuple) else value
    return out
