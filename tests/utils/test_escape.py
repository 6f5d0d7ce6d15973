"""Text from elsewhere in terminals, Markdown and CSV; folder names of classes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condensery.utils.escape import csv_text, markdown, printable
from condensery.utils.files import safe_names
from condensery.utils.text import table, time_text

WILD = "\x1b[2J\x9b31m\r\n\t\x00\u202eevil\u2028\ud800"


def test_a_terminal_obeys_nothing() -> None:
    shown = printable(WILD)
    assert shown == r"\x1b[2J\x9b31m\r\n\t\x00\u202eevil\u2028\ud800"
    assert printable("naïve 猫 👩\u200d🚀 can't") == "naïve 猫 👩\u200d🚀 can't"


@given(st.text(st.characters()))
def test_one_line_of_printing_signs(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs")]
    assert printable(shown) == shown


def test_markdown_holds_no_html_and_no_links() -> None:
    assert markdown("<img src=x>|[a](b)`&") == r"&lt;img src=x&gt;\|\[a\](b)\`&amp;"
    assert markdown("a\n# head") == r"a\\n# head"


@pytest.mark.parametrize("formula", ["=HYPERLINK(1)", "+1", "-1+2", "@x", "\t=1", " =1", "\r=1"])
def test_spreadsheets_see_no_formula(formula: str) -> None:
    assert csv_text(formula).startswith("'")
    assert csv_text("dm") == "dm"


def test_tables_are_harmless() -> None:
    made = table(["set", "n"], [["a\nb\x1b[31m", "1"]])
    assert made.splitlines()[-1].split() == [r"a\nb\x1b[31m", "1"]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf")])
def test_times_that_are_none(seconds: float) -> None:
    assert time_text(seconds) == "unknown"


def test_folder_names_that_met() -> None:
    assert len(set(safe_names(["1__", "/"]))) == 2
    assert safe_names(["cat", "../dog", "CAT"]) == ["cat", "1_.._dog", "2_CAT"]
    assert len({n.casefold() for n in safe_names(["é", "e\u0301"])}) == 2


@given(st.lists(st.sampled_from(["/", "_", "0__", "1__", "1_1__", "2__", "A", "a", "..", ""])))
def test_folder_names_are_never_alike(names: list[str]) -> None:
    found = safe_names(names)
    assert len({name.casefold() for name in found}) == len(names)
