"""Import paths: who may name code to run, and how it is found.

What a user types may be imported. What a file names may not, unless the user says that it is
trusted: a recipe, or the ``recipe.yaml`` of a run, may come from anyone.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from condensery.errors import UsageError
from condensery.utils.search_path import current_folder_last

from .net_spec import parse
from .recipes import CHOICES
from .schema import Choice, RunConfig

#: Settings of choices that name a network.
_NETWORKS = ("net", "module")


def imported(path: str, what: str, hint: str = "") -> Any:
    """The object at ``package.module:Name`` or ``package.module.Name``.

    The current folder is searched as well, after all others.

    Args:
        path: where it is.
        what: it is called in messages.
        hint: what else to write, for the message.

    Raises:
        UsageError: when it cannot be imported.
    """
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        with current_folder_last():
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise UsageError(f"{what} '{path}' cannot be imported: {error}{hint}") from error


def names_code(setting: str, value: Any) -> bool:
    """Whether a setting of a choice names code to import.

    >>> names_code("net", "my.nets:Net:width=8"), names_code("net", "convnet3:width=8")
    (True, False)
    >>> names_code("kind", "my.module:Class"), names_code("path", "runs/my:pool")
    (True, False)
    """
    if not isinstance(value, str) or setting not in ("kind", *_NETWORKS):
        return False
    if setting == "kind":
        return ":" in value
    try:
        return parse(value).is_path
    except UsageError:  # it is reported where the network is built
        return False


@dataclass(frozen=True)
class AllowedImports:
    """What a configuration may import, of which a file is the base."""

    source: str
    """The file, for messages."""
    typed: Mapping[str, Any] = field(default_factory=dict)
    """Fields that the user typed, dotted."""

    def check(self, choice: str, setting: str, value: Any) -> None:
        """Raise if the file names code to run.

        Raises:
            UsageError: naming the import path and what allows it.
        """
        name = f"{choice}.{setting}"
        if not names_code(setting, value) or self.typed.get(name) == value:
            return
        if setting == "kind" and self.typed.get(choice) == value:
            return
        raise UsageError(
            f"{name} is the import path '{value}' in {self.source}, and its code would run here; "
            "if you trust it, add --trust-imports (trust_imports=True in Python), or type "
            f"--{name} {shlex.quote(value)}"
        )


def import_paths(config: RunConfig) -> Iterator[str]:
    """All import paths that a configuration names."""
    for name in CHOICES:
        chosen: Choice = getattr(config, name)
        for setting, value in chosen.as_dict().items():
            if names_code(setting, value):
                yield value
