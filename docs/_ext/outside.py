"""Links from the documentation to files of the repository, which the site does not hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.util import logging

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = "https://github.com/condensery/condensery"
_LINK = re.compile(r"\]\((\.\.?/[^)#\s]*)(#[^)\s]*)?\)")
_log = logging.getLogger(__name__)


def to_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """Lead relative links that leave the documentation to the repository, if the file exists.

    Args:
        app: of the build.
        page: the page's name.
        source: its text, changed in place.
    """
    docs = Path(app.srcdir).resolve()
    folder = (docs / page).parent

    def absolute(found: re.Match[str]) -> str:
        place = (folder / found[1]).resolve()
        if place.is_relative_to(docs):
            return found[0]
        if not place.exists():
            _log.warning("link to %s, which does not exist", found[1], location=page)
        kind = "tree" if place.is_dir() else "blob"
        path = place.relative_to(docs.parent).as_posix()
        return f"]({REPOSITORY}/{kind}/main/{path}{found[2] or ''})"

    source[0] = _LINK.sub(absolute, source[0])
