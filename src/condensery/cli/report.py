"""``condensery report``: one page about runs, sets and results."""

from __future__ import annotations

from typing import Any

from condensery.reports import report as write_report
from condensery.utils.text import size_text

from .telling import conclude


def report(options: Any) -> int:
    """Write the page."""
    size = write_report(list(options.path), options.out, data=options.data)
    lines = [f"{options.out}: {size_text(size)}; open it in a browser, or send it"]
    conclude(options, {"report": options.out, "bytes": size}, lines)
    return 0
