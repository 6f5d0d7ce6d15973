"""Files from elsewhere: bounded, regular, and wrong in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from condensery.config.recipes import read_yaml as read_recipe_file
from condensery.errors import UsageError
from condensery.utils.reading import json_of, read_json, regular, text_of, yaml_of


def _doubling(steps: int, line: str) -> str:
    """YAML in which every line has the one before it twice."""
    return "a0: &a0 {x: 1}\n" + "".join(
        line.format(n=n, before=n - 1) + "\n" for n in range(1, steps)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_doubling(40, "a{n}: &a{n} [*a{before}, *a{before}]"), "more than 100000 values"),
        (
            _doubling(40, "a{n}: &a{n} {{<<: [*a{before}, *a{before}], y{n}: 1}}"),
            "more than 100000",
        ),
        ("a: &a [*a]", "contains itself"),
        ("[" * 1000, "nested too deeply"),
        ("a: " + "9" * 5000, "5000 digits"),
        ("a: 0x" + "f" * 900, "902 digits"),
        ("a: !!int seven", "seven"),
        ("a: !!python/object:os.system x", "constructor"),
        ("a: \x00", "unacceptable character"),
        ("a: 'open", r"end of stream \(line 1\)"),
    ],
)
def test_yaml_that_grows_or_is_damaged_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        yaml_of(text)
    assert "\n" not in str(caught.value)


def test_yaml_keeps_what_recipes_use() -> None:
    assert yaml_of("a: &a {b: 1, c: [1.5, true, null]}\nd: {<<: *a, e: x}") == {
        "a": {"b": 1, "c": [1.5, True, None]},
        "d": {"b": 1, "c": [1.5, True, None], "e": "x"},
    }
    assert yaml_of("a: 2024-02-30\nb: 0x10\nc: 1_000") == {"a": "2024-02-30", "b": 16, "c": 1000}
    assert yaml_of("") is None


def test_json_that_is_deep_or_huge_is_a_value_error() -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 400):
        with pytest.raises(ValueError, match=r"nested too deeply|400 digits"):
            json_of(text)
    assert float(json_of("9" * 300)) > 1e299


def test_only_regular_files_of_a_reasonable_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, Path("a\0b"), tmp_path / "none"):
        with pytest.raises(OSError, match=r"regular|folder|name|No such file"):
            regular(path)
    long = tmp_path / "long.json"
    long.write_text('"' + "x" * 100 + '"')
    with pytest.raises(OSError, match="it has 102 bytes, and at most 50 bytes are read"):
        text_of(long, most=50)
    assert len(read_json(long)) == 100


def test_a_recipe_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for text, words in (
        ("1: 2", "has the field 1; names of fields are text"),
        ("supply: {2024: x}", "has the field 2024"),
        ("[" * 1000, "is not valid YAML: it is nested too deeply"),
        ("- a", "must hold a mapping of fields, not list"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_recipe_file(file, "recipe")
    with pytest.raises(UsageError, match="cannot be read: it is not a regular file"):
        read_recipe_file(Path("/dev/zero"), "recipe")
