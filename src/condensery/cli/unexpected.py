"""What the command says of an error that nobody foresaw."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

from condensery._version import __version__

#: Set to 1, it has tracebacks printed.
SHOW = "CONDENSERY_TRACEBACK"


def unexpected(error: Exception) -> str:
    """One line that says what to report; the traceback is printed or saved.

    Args:
        error: being handled.
    """
    text = "".join(traceback.format_exception(error))
    words = " ".join(str(error).split())
    what = f"an unexpected error, {type(error).__name__}" + (f" ({words:.200})" if words else "")
    if os.environ.get(SHOW) == "1":
        print(text, end="", file=sys.stderr)
        where = "the traceback above"
    else:
        where = _saved(text) or f"the traceback, which {SHOW}=1 shows"
    return f"{what}; please report it with the command, the version {__version__} and {where}"


def _saved(text: str) -> str | None:
    """Where a traceback was saved, for its owner alone; nothing where that is impossible."""
    try:
        handle, path = tempfile.mkstemp(prefix="condensery-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:
        return None
    return f"the traceback in {path}"
