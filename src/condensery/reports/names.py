"""Names on a page: a path of this machine is nobody else's, so only its last part is shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import yaml


def shown(text: str) -> str:
    """The last part of an absolute path; other words as they are.

    >>> shown("/home/ada/photos"), shown("runs/photos"), shown("hub:ada/photos")
    ('photos', 'runs/photos', 'hub:ada/photos')
    """
    if PureWindowsPath(text).drive:
        return PureWindowsPath(text).name or text
    if text.startswith(("/", "~")):
        return PurePosixPath(text).name or text
    return text


def shown_everywhere(value: Any) -> Any:
    """A value of JSON or YAML with all paths as :func:`shown` shows them."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {name: shown_everywhere(one) for name, one in value.items()}
    return [shown_everywhere(one) for one in value] if isinstance(value, list) else value


def recipe_text(text: str, settings: Mapping[str, Any]) -> str:
    """A recipe as its file has it; written anew where that names paths of this machine."""
    found = shown_everywhere(settings)
    if found == settings:
        return text
    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True))
