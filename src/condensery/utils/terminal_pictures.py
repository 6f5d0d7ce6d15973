"""Pictures in terminals that can show them, as escape sequences."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

#: Protocols of terminals: kitty's, the inline images of iTerm2, and sixel.
Kind = Literal["kitty", "iterm2", "sixel"]
#: How names of terminals with sixel begin; others that have it do not say so.
_SIXEL = ("foot", "mlterm", "contour", "yaft", "xterm-sixel")

#: Characters of a picture in one sequence of kitty's.
_CHUNK = 4096


def terminal_kind(environment: Mapping[str, str]) -> Kind | None:
    """How the terminal shows pictures, as far as the environment tells; None where it cannot.

    Within tmux and screen there are none: they hide what the terminal around them is.

    >>> terminal_kind({"TERM_PROGRAM": "iTerm.app"}), terminal_kind({"TERM": "xterm"})
    ('iterm2', None)
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return None
    if environment.get("KITTY_WINDOW_ID") or term in ("xterm-kitty", "xterm-ghostty"):
        return "kitty"
    if program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm"):
        return "iterm2"
    return "sixel" if term.startswith(_SIXEL) or program == "mintty" else None


def in_terminal(png: bytes, kind: Kind) -> str:
    """The sequence that shows a picture.

    Args:
        png: content of a PNG file.
        kind: the terminal's protocol.

    Raises:
        OSError: where sixel is wanted, for content that is not a picture.
    """
    if kind == "sixel":
        from .sixel import sixel  # imports Pillow

        return sixel(png)
    content = base64.b64encode(png).decode("ascii")
    if kind == "iterm2":
        return f"\x1b]1337;File=inline=1;size={len(png)};preserveAspectRatio=1:{content}\x07"
    parts = [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)]
    sequences = []
    for number, part in enumerate(parts, 1):
        what = "a=T,f=100,q=2," if number == 1 else ""  # transmit and show a PNG, answer nothing
        sequences.append(f"\x1b_G{what}m={int(number < len(parts))};{part}\x1b\\")
    return "".join(sequences)
