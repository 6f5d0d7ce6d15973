"""Pictures in terminals that can show them, as escape sequences."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

#: Protocols of terminals: kitty's, and the inline images of iTerm2.
Kind = Literal["kitty", "iterm2"]

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
    return "iterm2" if program in ("iTerm.app", "WezTerm") else None


def in_terminal(png: bytes, kind: Kind) -> str:
    """The sequence that shows a picture.

    Args:
        png: content of a PNG file.
        kind: the terminal's protocol.
    """
    content = base64.b64encode(png).decode("ascii")
    if kind == "iterm2":
        return f"\x1b]1337;File=inline=1;size={len(png)};preserveAspectRatio=1:{content}\x07"
    parts = [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)]
    sequences = []
    for number, part in enumerate(parts, 1):
        what = "a=T,f=100,q=2," if number == 1 else ""  # transmit and show a PNG, answer nothing
        sequences.append(f"\x1b_G{what}m={int(number < len(parts))};{part}\x1b\\")
    return "".join(sequences)
