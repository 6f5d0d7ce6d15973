"""Recipes as they are written: YAML with cases, files on top of a recipe.

Nothing here imports torch.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from condensery.errors import UsageError, unknown_name
from condensery.utils import reading

#: What a recipe says of itself; none of it takes part in a run.
CARD = ("about", "paper", "good_for")
#: The loop's choices, and every section of a recipe that has fields of its own.
CHOICES = ("formation", "objective", "supply", "augmentation")
SECTIONS = (*CHOICES, "optimizer")

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    folder = resources.files("condensery.config") / "recipe_files"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """A YAML file that holds a mapping; anything else is a :class:`UsageError`."""
    try:
        content = reading.read_yaml(path)
    except OSError as error:
        raise UsageError(f"{what} {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{what} {path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(
            f"{what} {path} must hold a mapping of fields, not {type(content).__name__}"
        )
    _check_names(content, f"{what} {path}")
    return content


def _check_names(value: Any, where: str) -> None:
    """Raise if a field's name is not text."""
    if isinstance(value, dict):
        for name, below in value.items():
            if not isinstance(name, str):
                raise UsageError(f"{where} has the field {name!r}; names of fields are text")
            _check_names(below, where)
    elif isinstance(value, list):
        for below in value:
            _check_names(below, where)


def _check_ground(content: Mapping[str, Any], path: Path) -> None:
    """Raise if a file lacks a choice and names no recipe to extend."""
    lacking = [choice for choice in CHOICES if choice not in content]
    named = str(content["recipe"])
    if not lacking or named in recipe_names():
        return
    if named != path.stem:
        raise unknown_name("recipe", named, recipe_names())
    raise UsageError(
        f"recipe {path} lacks {', '.join(lacking)}; add them, or name the recipe it extends, such "
        "as recipe: dm"
    )


@cache
def _packaged(name: str) -> dict[str, Any]:
    """The file of a built-in recipe; not to be changed."""
    file = resources.files("condensery.config") / "recipe_files" / f"{name}.yaml"
    content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return content


def read_recipe(name: str) -> dict[str, Any]:
    """The recipe of that name, or in that file."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        content = {"recipe": path.stem, **read_yaml(path, "recipe")}
        _check_ground(content, path)
        found = on_top(content)
        if OVER in found:  # what stands on top of a recipe is another one
            found[OVER]["recipe"] = path.stem
        return found
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    found = on_top({"recipe": name, **copy.deepcopy(_packaged(name))}, name)
    if OVER in found:
        found[OVER]["recipe"] = name
    return found


def pool_meant_in(home: object, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A configuration whose pool is found from here, if its relative path was meant elsewhere.

    Args:
        home: the folder in which the path was typed; anything else says nothing.
        config: of a run.
    """
    supply = config.get("supply")
    if not isinstance(supply, Mapping):
        return config
    path = supply.get("path")
    if not (isinstance(path, str) and isinstance(home, str) and path):
        return config
    if path.startswith(("/", "~")) or Path(home).resolve() == Path.cwd():
        return config
    there = Path(home) / path
    return {**config, "supply": {**supply, "path": str(there)}} if there.exists() else config


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run, to be repeated.

    Args:
        path: of its ``recipe.yaml``, or of the run folder.

    Raises:
        UsageError: for a file that is not a run's.
    """
    base = read_yaml(path / "recipe.yaml" if path.is_dir() else path, "--config")
    if "select" in base:
        raise UsageError(f"--config {path} belongs to a selection; repeat it with select")
    if "packed" in base:
        raise UsageError(
            f"--config {path} belongs to a set that was packed after training; name the run that "
            "it was packed from"
        )
    if "stored_bits" in base:
        raise UsageError(
            f"--config {path} belongs to a set that was brought to 8 bits after training; name the "
            "run that it was made from"
        )
    lacking = [name for name in CHOICES if name not in base]
    if lacking:
        raise UsageError(f"--config {path} lacks {', '.join(lacking)}; give a run's recipe.yaml")
    return {"recipe": path.stem, **base}


#: Where the fields of a file wait until the cases of the recipe below them have been applied.
OVER = "over"


def on_top(content: Mapping[str, Any], own: str | None = None) -> dict[str, Any]:
    """A file's content; one that lacks a choice stands on top of the recipe that it names.

    Args:
        content: of the file.
        own: the recipe's own name, on which it cannot stand.
    """
    named = content.get("recipe")
    complete = all(choice in content for choice in CHOICES)
    if complete or named == own or named not in recipe_names():
        return dict(content)
    over = {name: value for name, value in content.items() if name not in CARD}
    card = {name: content[name] for name in CARD if name in content}
    return {**read_recipe(str(named)), **card, OVER: over}


def flattened(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Fields, with those of a choice or of the optimizer dotted.

    >>> flattened({"ipc": 1, "supply": {"steps": 2}})
    [('ipc', 1), ('supply.steps', 2)]
    """
    out: list[tuple[str, Any]] = []
    for name, value in content.items():
        if name in SECTIONS and isinstance(value, Mapping):
            out += [(f"{name}.{key}", below) for key, below in value.items()]
        else:
            out.append((name, value))
    return out


def matches(when: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether every condition holds: a value, a list of values, or a bound such as ``">=100"``.

    >>> matches({"data": ["mnist", "svhn"], "ipc": ">=100"}, {"data": "svhn", "ipc": 100})
    True
    """
    for key, wanted in when.items():
        if key not in facts:
            raise unknown_name("condition", key, facts)
        have = facts[key]
        if isinstance(wanted, list):
            if have not in wanted:
                return False
        elif isinstance(wanted, str) and wanted.lstrip()[:1] in "<>":
            sign = wanted[:2] if wanted[:2] in _COMPARISONS else wanted[:1]
            if not _COMPARISONS[sign](have, float(wanted[len(sign) :])):
                return False
        elif have != wanted:
            return False
    return True


def set_dotted(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``a.b.c`` in nested dictionaries."""
    *path, last = dotted.split(".")
    for key in path:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise UsageError(f"'{dotted}' cannot be set: '{key}' is a single value")
        tree = below
    tree[last] = value


def with_cases(raw: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe or protocol with those of its ``cases`` applied whose ``when`` holds, in order."""
    out = {
        key: dict(value) if isinstance(value, dict) else value
        for key, value in raw.items()
        if key != "cases"
    }
    try:
        for case in raw.get("cases") or ():
            if matches(case["when"], facts):
                for dotted, value in case["set"].items():
                    set_dotted(out, dotted, value)
    except UsageError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UsageError(
            f"cases must be a list of {{when: {{FACT: VALUE}}, set: {{FIELD: VALUE}}}} ({error})"
        ) from error
    return out
