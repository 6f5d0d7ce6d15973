"""How commands print, and where they write: what those need too that import no torch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from condensery.errors import UsageError
from condensery.utils.files import write_json, write_text
from condensery.utils.output import put, put_as_is
from condensery.utils.screen import flowing
from condensery.utils.terminal_pictures import in_terminal, terminal_kind

#: What ``--json`` takes for standard output.
STANDARD_OUTPUT = "-"


def folder_of(out: str | None, default: Path) -> Path:
    """Where --out says, or the default."""
    if out is not None and not out.strip():
        raise UsageError("--out is empty; name a folder")
    return Path(out) if out is not None else default


def printer(options: Any, speaks: bool = True) -> Callable[..., None]:
    """What prints lines, each an argument, as broad as the terminal.

    It prints nothing with --quiet, or where another process speaks.
    """
    # With --json - standard output is JSON alone.
    silent = options.quiet or options.json == STANDARD_OUTPUT
    if silent or not speaks:
        return lambda *lines: None
    return lambda *lines: put(*(part for line in lines for part in flowing(line)))


def show_picture(file: Path, options: Any) -> None:
    """Show a PNG in the terminal, where that can and lines for people are printed."""
    kind = terminal_kind(os.environ) if sys.stdout is not None and sys.stdout.isatty() else None
    if kind is None or options.quiet or options.json == STANDARD_OUTPUT:
        return
    with suppress(OSError):  # the picture could not be written, or nobody reads any more
        put_as_is(in_terminal(file.read_bytes(), kind))


def conclude(
    options: Any,
    value: Any,
    lines: Iterable[str] = (),
    files: Iterable[tuple[str | None, Callable[[], str]]] = (),
    *,
    speaks: bool = True,
) -> None:
    """Write a command's result to files, and print it only then: printing may fail.

    Args:
        options: of the command; ``--json`` says where ``value`` goes.
        value: the result for programs.
        lines: the result for people; printed also where a file cannot be written.
        files: path, or None, and text of others.
        speaks: whether this process does any of it; of several that share work the first one does.
    """
    if not speaks:
        return
    failure: Exception | None = None
    for path, text in files:
        failure = _attempted(path, write_text, text) or failure
    if options.json == STANDARD_OUTPUT:
        put(*json.dumps(value, indent=2).splitlines())
    else:
        failure = _attempted(options.json, write_json, lambda: value) or failure
    printer(options)(*lines)
    if failure is not None:
        raise failure


def _attempted(
    path: str | None, write: Callable[[Path, Any], None], content: Callable[[], Any]
) -> Exception | None:
    """Write a file if it is wanted; what went wrong."""
    try:
        if path:
            write(Path(path), content())
    except (OSError, UsageError) as error:
        return error
    return None
