"""From a recipe's name, a file and overrides to one fully resolved configuration.

A recipe is YAML that names the loop's four choices and their settings. Nothing here imports torch:
the classes behind the names are imported when a choice is built.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import yaml

from condensery.errors import UsageError, unknown_name, wrong_value

from .recipes import CHOICES, SECTIONS, set_dotted, with_cases

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


@dataclass(frozen=True)
class Choice:
    """One of the loop's four choices: a kind and its settings."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Flat, as it stands in YAML."""
        return {"kind": self.kind, **self.settings}


@dataclass(frozen=True, kw_only=True)
class PixelOptimizer:
    """SGD on the stored tensors."""

    rate: float = 1.0
    """Learning rate of the stored pixels; positive."""
    rate_for_ipc: int | None = None
    """Budget that ``rate`` is meant for: it is multiplied by the budget over this one."""
    rate_for_size: int | None = None
    """Side of images that ``rate`` is meant for: it is multiplied by the side's square over this
    one's."""
    momentum: float = 0.5
    """Momentum, 0 ≤ m < 1."""
    drops: list[int] = field(default_factory=list)
    """Outer iterations from which on the rate is multiplied by ``drop_factor`` once more."""
    drop_factor: float = 0.5
    """What a drop multiplies the rate by."""

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1e30:
            raise UsageError(f"optimizer.rate must be positive and finite, got {self.rate}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"optimizer.momentum must lie in 0 … 1, got {self.momentum}")
        for name in ("rate_for_ipc", "rate_for_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"optimizer.{name} must be at least 1, got {value}")
        if any(drop < 1 for drop in self.drops):
            raise UsageError(f"optimizer.drops are iterations of at least 1, got {self.drops}")
        if not 0 < self.drop_factor <= 1:
            raise UsageError(
                f"optimizer.drop_factor must be positive and at most 1, got {self.drop_factor}"
            )

    def settled(self, ipc: int, size: int) -> PixelOptimizer:
        """With the rate of a budget and a size of images, in a number (IDC, the authors' program).

        >>> PixelOptimizer(rate=0.01, rate_for_ipc=10, rate_for_size=32).settled(50, 16).rate
        0.0125
        """
        rate = self.rate
        if self.rate_for_ipc is not None:
            rate *= max(ipc, 1) / self.rate_for_ipc
        if self.rate_for_size is not None:
            rate *= (size / self.rate_for_size) ** 2
        return dataclasses.replace(self, rate=rate, rate_for_ipc=None, rate_for_size=None)

    def rate_at(self, iteration: int) -> float:
        """The learning rate of an outer iteration, counted from 0.

        >>> [PixelOptimizer(rate=1.0, drops=[2, 3]).rate_at(i) for i in range(4)]
        [1.0, 1.0, 0.5, 0.25]
        """
        passed = sum(iteration >= drop for drop in self.drops)
        return float(self.rate * self.drop_factor**passed)


@dataclass(frozen=True, kw_only=True)
class Scalars:
    """The plain fields of a run's configuration."""

    recipe: str
    """Name of the recipe that this started from."""
    data: str
    """What to condense; see ``condensery data``."""
    size: int | None = None
    """Side in pixels that pictures are brought to."""
    channels: int | None = None
    """1 for grey, 3 for colour."""
    sample_rate: int | None = None
    """Samples a second that recordings are brought to; their own when not given."""
    flip: bool | None = None
    """Whether augmentation may flip left and right; the data set's own rule when not given."""
    zca: bool = False
    """Whether images are whitened by the training split."""
    ipc: int = 10
    """Budget: full-size images' worth of stored numbers a class."""
    seed: int = 0
    """Where every draw derives from."""
    iterations: int = 1000
    """Outer iterations; 0 writes the untrained start."""
    until: Literal["iterations", "converged"] = "iterations"
    """``converged``: stop before the last iteration when the loss has stopped falling."""
    window: int | None = None
    """Outer iterations of a window of ``converged``; when not given a twentieth of the recipe's own
    schedule, which a smaller ``iterations`` does not change."""
    real_batch: int = 256
    """Real images a class in one step; a class with fewer gives all it has."""
    synthetic_batch: int | None = None
    """Most training images a class that a step takes of the synthetic set; all when not given."""

    def __post_init__(self) -> None:
        for name, least in (("ipc", 1), ("iterations", 0), ("real_batch", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.synthetic_batch is not None and self.synthetic_batch < 1:
            raise UsageError(f"synthetic_batch must be at least 1, got {self.synthetic_batch}")
        if self.window is not None and self.window < 10:
            raise UsageError(
                f"window must be at least 10 iterations, fewer say little, got {self.window}"
            )
        if self.size is not None and self.size < 4:
            raise UsageError(f"size must be at least 4 pixels, got {self.size}")
        if self.channels not in (None, 1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Scalars):
    """Everything that decides a condensed set, apart from the data's content and the plan."""

    optimizer: PixelOptimizer = field(default_factory=PixelOptimizer)
    formation: Choice = field(default_factory=lambda: Choice("pixels"))
    objective: Choice = field(default_factory=lambda: Choice("mean_features"))
    supply: Choice = field(default_factory=lambda: Choice("fresh"))
    augmentation: Choice = field(default_factory=lambda: Choice("none"))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as written to ``recipe.yaml``."""
        out: dict[str, Any] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Choice):
                out[item.name] = value.as_dict()
            elif dataclasses.is_dataclass(value) and not isinstance(value, type):
                out[item.name] = dataclasses.asdict(value)
            else:
                out[item.name] = value
        return out

    def dump(self) -> str:
        """YAML that ``condensery condense --config`` repeats."""
        head = "# condensery condense --config THIS_FILE --out DIR\n"
        return head + yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)


_RUN_FIELDS = tuple(f.name for f in dataclasses.fields(RunConfig))


def locate(path: str, what: str) -> Any:
    """The object at ``package.module:Name``."""
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise UsageError(f"{what} '{path}' cannot be imported: {error}") from error


def kinds_of(choice: str) -> dict[str, type[Any]]:
    """The built-in kinds of a choice, by name."""
    found: dict[str, type[Any]] = importlib.import_module(_ROOMS[choice]).KINDS
    return found


def choice_class(choice: str, kind: str, *, foreign: bool = True) -> type[Any]:
    """The class behind a kind.

    Args:
        choice: ``formation``, ``objective``, ``supply`` or ``augmentation``.
        kind: a built-in name or ``package.module:Class``.
        foreign: whether an import path is allowed; a file that somebody sent may not name one.
    """
    known = kinds_of(choice)
    if kind not in known and (":" not in kind or not foreign):
        raise unknown_name(choice, kind, known)
    found = known[kind] if kind in known else locate(kind, choice)
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
    _refuse_nothing(cls, settings, section)
    parser = _parser(cls, section)  # type: ignore[arg-type]  # a class is hashable
    try:
        values = parser.parse_object({section: dict(settings)})[section]
    except Exception as error:  # jsonargparse raises several kinds; all mean a wrong value
        raise UsageError(_complaint(str(error), section)) from error
    return cls(**{name: values[name] for name in fields})


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


def _refuse_nothing(cls: type[Any], settings: Mapping[str, Any], section: str) -> None:
    """Refuse null where a value is needed; the parser takes it for any type."""
    types = {item.name: str(item.type) for item in dataclasses.fields(cls)}
    for name, value in settings.items():
        if value is None and "None" not in types[name]:
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


def settings_of(built: Any) -> dict[str, Any]:
    """All settings of a built choice, defaults included, as plain values."""
    out = {}
    for item in dataclasses.fields(built):
        if item.init:
            value = getattr(built, item.name)
            out[item.name] = list(value) if isinstance(value, tuple) else value
    return out


def resolve(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> RunConfig:
    """A raw mapping (recipe, file and overrides already merged) as a complete configuration.

    Args:
        raw: fields of :class:`RunConfig`; each choice is ``{kind: …, setting: …}``.
        facts: what ``cases`` may ask for: data, ipc, size, classes; and ``net``, which replaces
            the network name ``default``.
    """
    merged = with_cases(raw, facts)
    merged.pop("about", None)
    for name in merged:
        if name not in _RUN_FIELDS:
            raise unknown_name("field", name, _RUN_FIELDS)
    for choice in CHOICES:
        merged[choice] = _complete(choice, merged.get(choice, {}), facts)
    optimizer = merged.get("optimizer", {})
    if not isinstance(optimizer, Mapping):
        raise UsageError("optimizer must be a mapping of rate and momentum")
    made: PixelOptimizer = make(PixelOptimizer, optimizer, "optimizer")
    merged["optimizer"] = made.settled(facts["ipc"], facts["size"])
    scalars = {k: v for k, v in merged.items() if k not in SECTIONS}
    checked = make(Scalars, scalars, "run")
    merged.update(dataclasses.asdict(checked))
    return RunConfig(**merged)


def _complete(choice: str, given: Any, facts: Mapping[str, Any]) -> Choice:
    if isinstance(given, str):
        given = {"kind": given}
    if not isinstance(given, Mapping) or "kind" not in given:
        raise UsageError(f"{choice} needs a kind; known: {', '.join(sorted(kinds_of(choice)))}")
    settings = {k: v for k, v in given.items() if k != "kind"}
    chosen = Choice(str(given["kind"]), settings)
    fields = {field.name for field in dataclasses.fields(choice_class(choice, chosen.kind))}
    if "net" in fields and settings.get("net", "default") == "default":
        settings["net"] = facts["net"]  # the data's own, also after a change of kind
    built = build(choice, chosen)
    if hasattr(built, "settled"):  # what depends on the budget, in numbers
        built = built.settled(facts["ipc"])
    return Choice(chosen.kind, settings_of(built))


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
        if name.split(".")[0] not in _RUN_FIELDS:
            raise unknown_name("field", name, [*_RUN_FIELDS, *(f"{s}.…" for s in SECTIONS)])
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
