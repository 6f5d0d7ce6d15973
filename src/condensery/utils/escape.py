"""Text from elsewhere, such as class names, made harmless: one function for each medium."""

from __future__ import annotations

import html
import unicodedata

#: Reorder what is shown around them.
_BIDIRECTIONAL = {*map(chr, (0x061C, 0x200E, 0x200F)), *map(chr, range(0x202A, 0x202F))}
_BIDIRECTIONAL |= {*map(chr, range(0x2066, 0x206A))}
#: Control characters, lone surrogates, and separators of lines and paragraphs.
_NEVER = ("Cc", "Cs", "Zl", "Zp")
#: What Markdown would take for a table's cell, HTML, code or a link.
_MARKDOWN = {**{sign: f"\\{sign}" for sign in "\\|`[]"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"}
#: What a spreadsheet takes for a formula at the start of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object) -> str:
    r"""One line for a terminal: nothing in it moves the cursor, changes colours or breaks the line.

    >>> print(printable("cat\n\x1b[31m"))
    cat\n\x1b[31m
    """
    return "".join(_shown(sign) for sign in str(text))


def markdown(text: object) -> str:
    r"""Plain words within Markdown, in a table or outside one.

    >>> print(markdown("<b>a|b</b>"))
    &lt;b&gt;a\|b&lt;/b&gt;
    """
    return "".join(_MARKDOWN.get(sign, sign) for sign in printable(text))


def html_text(text: object) -> str:
    """Plain words within HTML, in an element or a quoted attribute.

    >>> html_text('<b class="x">')
    '&lt;b class=&quot;x&quot;&gt;'
    """
    return html.escape(printable(text))


def csv_text(text: object) -> str:
    """A text in a table of comma-separated values, which no spreadsheet takes for a formula.

    >>> csv_text("=HYPERLINK(1)"), csv_text("dm")
    ("'=HYPERLINK(1)", 'dm')
    """
    shown = printable(text)
    return f"'{shown}" if str(text).lstrip(" ").startswith(_FORMULA) else shown


def _shown(sign: str) -> str:
    if unicodedata.category(sign) in _NEVER or sign in _BIDIRECTIONAL:
        return sign.encode("unicode_escape").decode()
    return sign
