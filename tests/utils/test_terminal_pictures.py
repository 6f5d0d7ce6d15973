"""Pictures in terminals: the sequences hold the file, to the byte."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from condensery.cli.telling import show_picture
from condensery.utils.terminal_pictures import Kind, in_terminal, terminal_kind


@pytest.mark.parametrize("size", [3, 3072, 3073, 10_000])
def test_kitty_gets_the_picture_in_pieces(size: int) -> None:
    content = os.urandom(size)
    text = in_terminal(content, "kitty")
    found = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]*)\x1b\\", text)
    assert "".join(f"\x1b_G{keys};{part}\x1b\\" for keys, part in found) == text
    assert base64.b64decode("".join(part for _, part in found)) == content
    assert all(len(part) <= 4096 for _, part in found)
    assert all(len(part) % 4 == 0 for _, part in found)
    # The first says what it is, and all but the last that more follows.
    assert [keys.startswith("a=T,f=100") for keys, _ in found] == [
        True,
        *[False] * (len(found) - 1),
    ]
    assert [keys[-3:] for keys, _ in found] == [*["m=1"] * (len(found) - 1), "m=0"]


def test_iterm_gets_the_picture_and_its_size() -> None:
    content = os.urandom(5000)
    text = in_terminal(content, "iterm2")
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);[^:]*:([^\x07]*)\x07", text)
    assert found is not None
    assert int(found[1]) == 5000
    assert base64.b64decode(found[2]) == content


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-256color"}, "kitty"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "foot-extra"}, "sixel"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "mintty"}, "sixel"),
        ({"TERM": "foot", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({"TERM_PROGRAM": "Apple_Terminal", "TERM": "xterm-256color"}, None),
        ({"KITTY_WINDOW_ID": "1", "TERM": "tmux-256color"}, None),
        ({"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({}, None),
    ],
)
def test_which_terminals(environment: dict[str, str], kind: Kind | None) -> None:
    assert terminal_kind(environment) == kind


class Terminal(io.StringIO):
    """Standard output that says whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("asked", [{}, {"quiet": True}, {"json": "-"}])
def test_only_a_terminal_gets_one(
    terminal: bool, asked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("TMUX", raising=False)
    out = Terminal(terminal)
    monkeypatch.setattr(sys, "stdout", out)
    (tmp_path / "a.png").write_bytes(b"\x89PNG and more")
    options = SimpleNamespace(**{"quiet": False, "json": None, **asked})
    show_picture(tmp_path / "a.png", options)
    show_picture(tmp_path / "none.png", options)
    wanted = in_terminal(b"\x89PNG and more", "kitty") + "\n" if terminal and not asked else ""
    assert out.getvalue() == wanted
