"""The parser of the command line, and the pages that --help prints."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import shutil
import textwrap
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from . import flags
from .examples import EXAMPLES

_ABOUT = """Turn a large labelled data set into a tiny synthetic one that trains
networks almost as well.

  condensery condense --data ./photos --size 64 --ipc 10 --minutes 10 --out runs/photos
  condensery evaluate runs/photos whole --epochs 100
"""
_END = """condensery COMMAND --help says more; condensery list recipes says what there is to
choose from."""

#: A command's flags, its positional arguments and their help.
_Command: TypeAlias = tuple[type[Any], str | None, str]
#: Types of flags that take several values → what each of them is.
_LISTS: dict[Any, type] = {
    list[str] | None: str,
    list[int] | None: int,
    list[float] | None: float,
}
#: Groups of flags, in the order in which they are shown.
_GROUPS = ("main", "budget", "data", "evaluation", "output", "machine")
#: Class of flags → group of those that it declares.
_GROUP_OF_CLASS = {
    flags.DataFlags: "data",
    flags.OutputFlags: "output",
    flags.PlanFlags: "machine",
    flags.CheckpointFlags: "machine",
}
#: Flag → group, where its class does not say.
_GROUP_OF_FLAG = {
    **dict.fromkeys(("ipc", "iterations", "minutes", "until", "window", "bytes", "sets"), "budget"),
    **dict.fromkeys(("net", "nets", "protocol", "epochs", "reference"), "evaluation"),
    **dict.fromkeys(("out", "csv", "markdown", "picture"), "output"),
    **dict.fromkeys(("size", "channels", "sample_rate", "zca", "no_flip"), "data"),
}
#: Flag → the word that stands for its value.
_VALUES = {"json": "FILE", "csv": "FILE", "markdown": "FILE", "picture": "FILE", "out": "DIR"}


class _Words(argparse.RawDescriptionHelpFormatter):
    """Help in the words of the flags' own sentences."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


def parsed(arguments: Sequence[str], commands: Mapping[str, _Command]) -> tuple[str, Any]:
    """The command of some arguments, and the values of its flags.

    Args:
        arguments: what is to be parsed.
        commands: name → its flags, its positional arguments and their help.
    """
    width = shutil.get_terminal_size().columns
    if arguments and arguments[0] in commands:
        name = arguments[0]
        return name, _parser_of(name, commands[name], width).parse_args(arguments[1:])
    used = tuple(name for name in commands if name in arguments)
    found = _main_parser(used, tuple(commands.items()), width).parse_args(arguments)
    return found.command, found[found.command]


@cache
def _main_parser(
    used: tuple[str, ...], commands: tuple[tuple[str, _Command], ...], width: int
) -> Any:
    """The parser of all commands, for their overview and for what names none of them first.

    Of flags, it has those of the commands that are used.
    """
    from condensery._version import __version__

    main = _new(
        prog="condensery",
        usage="condensery COMMAND [options]",
        description=_ABOUT,
        epilog=_END,
        version=__version__,
    )
    subcommands = main.add_subcommands(dest="command", required=True, title="commands")
    for name, command in commands:
        summary, _, _ = (command[0].__doc__ or "").partition("\n")
        parser = _parser_of(name, command, width, flags=name in used)
        subcommands.add_subcommand(name, parser, help=summary)
    return main


@cache
def _parser_of(name: str, command: _Command, width: int, *, flags: bool = True) -> Any:
    """The parser of a command, whose help is that many columns wide.

    Making it takes longer than parsing, and a program may run several commands.
    """
    settings, positionals, help_text = command
    names = (positionals or "").split()
    shown = "".join(f" {_shown(one)}" for one in names)
    usage = f"condensery {name}{shown} [options]"
    parser = _new(usage=usage, description=_description(settings, width))
    if flags:
        for one in names:
            many = one[-1] if one[-1] in "+?" else None
            parser.add_argument(one.rstrip("+?"), help=help_text, nargs=many)
            help_text = argparse.SUPPRESS  # said once for all of them
        _add_flags(parser, settings)
    return parser


def _new(**given: Any) -> Any:
    """A parser that raises what it finds wrong."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    return jsonargparse.ArgumentParser(
        exit_on_error=False, allow_abbrev=False, formatter_class=_Words, **given
    )


def _shown(positional: str) -> str:
    word = positional.rstrip("+?").upper()
    return {"+": f"{word} …", "?": f"[{word}]"}.get(positional[-1], word)


def _description(settings: type[Any], columns: int) -> str:
    """What a command does, and examples of it."""
    width = min(columns - 2, 100)
    text = inspect.cleandoc(settings.__doc__ or "")
    paragraphs = [textwrap.fill(each, width) for each in text.split("\n\n")]
    lines = [f"  condensery {line}" for line in EXAMPLES.get(settings, ())]
    return "\n\n".join([*paragraphs, "\n".join(lines)])


def _add_flags(parser: Any, settings: type[Any]) -> None:
    """The fields of a settings class as flags: ``no_flip`` is ``--no-flip``, a switch."""
    from docstring_parser import parse_from_object

    types = typing.get_type_hints(settings)
    texts = {
        parameter.arg_name: parameter.description
        for base in reversed(settings.__mro__[:-1])
        for parameter in parse_from_object(base).params
    }
    groups: dict[str, list[dataclasses.Field[Any]]] = {group: [] for group in _GROUPS}
    own = _own(settings)
    # A command's own flags come before those that it shares.
    for item in sorted(dataclasses.fields(settings), key=lambda item: item.name not in own):
        groups[_group(item.name, settings)].append(item)
    for group, items in groups.items():
        if items:
            place = parser.add_argument_group(group)
            for item in items:
                _add_flag(place, item, types[item.name], texts[item.name] or "")


def _group(name: str, settings: type[Any]) -> str:
    if name in _GROUP_OF_FLAG:
        return _GROUP_OF_FLAG[name]
    if name.startswith("evaluate_"):
        return "evaluation"
    owner = next(base for base in reversed(settings.__mro__[:-1]) if name in _own(base))
    return _GROUP_OF_CLASS.get(owner, "main")


def _own(settings: type[Any]) -> Mapping[str, Any]:
    return inspect.get_annotations(settings)


def _add_flag(place: Any, item: dataclasses.Field[Any], kind: Any, text: str) -> None:
    flag = f"--{item.name.replace('_', '-')}"
    told = item.default is not None and item.default is not False
    if told and "default" not in text:
        text = f"{text.rstrip('.')} (default {item.default})."
    text = " ".join(text.split()).replace("%", "%%")
    if kind is bool:
        place.add_argument(flag, action="store_true", help=text)
        return
    shown = {"help": text, "metavar": _value(item.name, kind)}
    if kind in _LISTS:
        each = _LISTS[kind]
        place.add_argument(flag, nargs="+", type=each, action="extend", **shown)
    else:
        place.add_argument(flag, type=kind, default=item.default, **shown)


def _value(name: str, kind: Any) -> str:
    """What stands for a flag's value in its help."""
    if name in _VALUES:
        return _VALUES[name]
    plain = [each for each in typing.get_args(kind) if each is not type(None)] or [kind]
    if typing.get_origin(kind) is typing.Literal:  # its arguments are the values
        return "|".join(map(str, plain))
    choices = [value for each in plain for value in _choices(each)]
    return "|".join(choices) or {int: "N", float: "X"}.get(plain[0], _last_word(name))


def _choices(kind: Any) -> list[str]:
    literal = typing.get_origin(kind) is typing.Literal
    return [str(value) for value in typing.get_args(kind)] if literal else []


def _last_word(name: str) -> str:
    return name.rpartition("_")[2].upper()
