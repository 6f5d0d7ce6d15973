"""The commands, and nothing else. No torch is imported before a command needs it."""

from __future__ import annotations

import difflib
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from condensery.errors import wrong_value
from condensery.utils.output import printing_failed, put, put_error
from condensery.utils.search_path import without_current_folder
from condensery.utils.signals import interruptible

from . import application_flags, evaluation_flags, flags
from .parser import parsed
from .unexpected import unexpected
from .words import command_hint, flag_hint

#: Command → its options, its positional argument if it has one, and that argument's help.
COMMANDS: dict[str, tuple[type[Any], str | None, str]] = {
    "condense": (flags.CondenseFlags, None, ""),
    "resume": (flags.ResumeFlags, "run", "a run folder, or the folder of several sets"),
    "pool": (flags.PoolFlags, None, ""),
    "select": (
        flags.SelectFlags,
        "method",
        "random, herding, nearest, k-center, kmeans, rded, forgetting or forgetting-toneva",
    ),
    "evaluate": (
        evaluation_flags.EvaluateFlags,
        "set+",
        "a run folder, a file, a folder of sets, or whole",
    ),
    "compare": (
        evaluation_flags.CompareFlags,
        "set+",
        "what evaluate takes, or NAME=PATH; also .npz, .pt, folders",
    ),
    "reproduce": (evaluation_flags.ReproduceFlags, "table?", "PAPER/TABLE, such as dc/table1"),
    "continual": (application_flags.ContinualFlags, None, ""),
    "adapt": (application_flags.AdaptFlags, None, ""),
    "search": (application_flags.SearchFlags, None, ""),
    "show": (flags.ShowFlags, "run", "a run folder or a .safetensors file"),
    "export": (flags.ExportFlags, "run", "a run folder or a .safetensors file"),
    "data": (
        flags.DataCommandFlags,
        "spec",
        "digits, a known name, hub:owner/name, a folder or .npz",
    ),
    "report": (
        flags.ReportFlags,
        "path+",
        "run folders, sets, and JSON files that evaluate, compare or an application wrote",
    ),
    "list": (
        flags.ListFlags,
        "kind name?",
        "recipes, networks, protocols, data or selections, and the name of one",
    ),
}

#: Commands that several processes carry out together.
SPLIT = ("condense", "resume", "evaluate", "compare", "pool", "reproduce")

#: SIGPIPE, which Windows does not have.
_PIPE = int(getattr(signal, "SIGPIPE", 13))

_DOTTED = re.compile(r"--(\w+(?:\.\w+)+)(?:=(.*))?", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, 1 failure, 2 usage, 130 and 143 signals."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no × or é gets \\xd7, and no traceback.
            stream.reconfigure(errors="backslashreplace")
    with without_current_folder(), interruptible() as signals:
        try:
            command, values, dotted = _parse(arguments)
            # Commands print notes on data themselves, once for a set.
            logging.getLogger("condensery.data").setLevel(logging.ERROR)
            return _printed(_run(command, values, dotted))
        except KeyboardInterrupt:
            return _fail_alike("stopped", 128 + (signals[0] if signals else signal.SIGINT))
        except BrokenPipeError:
            # The reader of our output has gone, as `| head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + _PIPE
        except Exception as error:  # the last net: nothing above was meant to let it through
            return _fail(unexpected(error), 1)


def _run(command: str, values: Any, dotted: list[tuple[str, Any]]) -> int:
    from condensery.errors import (
        DataError,
        DivergedError,
        RanksError,
        ResourceError,
        UsageError,
        out_of_memory,
    )
    from condensery.runtime.torchrun import check_alone, launched
    from condensery.utils.files import check_writable

    try:
        if command not in SPLIT:
            check_alone(command)
    except UsageError as error:
        return _fail_alike(str(error), 2)
    try:
        for flag in ("json", "csv", "markdown"):
            place = getattr(values, flag, None)
            if place is not None and (flag, place) != ("json", "-"):
                check_writable(Path(place), f"--{flag}")
        given = [getattr(values, name, None) for name in ("plan", "device", "threads")]
        typed = given not in ([None] * 3, ["auto", None, None])
        if typed and launched() == 1:  # before data are read; ranks have a check of their own
            from condensery.runtime.plan import check_place

            check_place(given[0] or "auto", *given[1:])
        name = "list_" if command == "list" else command  # a builtin's name
        action: Callable[..., int] = getattr(import_module(f"condensery.cli.{command}"), name)
        return action(values, dotted) if command == "condense" else action(values)
    except UsageError as error:
        return _fail(str(error), 2)
    except (DataError, DivergedError, RanksError, ResourceError) as error:
        return _fail(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return _fail("out of memory; give a smaller --size, or a plan with smaller chunks", 1)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or 'input or output failed'}", 1)


def _printed(code: int) -> int:
    """The exit code, when all work is done, where what it printed went nowhere."""
    failure = printing_failed()
    if failure is None or code:
        return code
    if isinstance(failure, BrokenPipeError):
        return 128 + _PIPE
    reason = failure.strerror or str(failure)
    return _fail(f"the output could not be printed ({reason}); what it told of is finished", 1)


def _fail(message: str, code: int) -> int:
    put_error(f"condensery: {message}")
    return code


def _fail_alike(message: str, code: int) -> int:
    """The same where torchrun has started several processes that all fail alike: one says it."""
    from condensery.runtime.torchrun import is_first

    return _fail(message, code) if is_first() else code


def _parse(arguments: list[str]) -> tuple[str, Any, list[tuple[str, Any]]]:
    """Command, its checked options and the recipe's dotted overrides."""
    if arguments[:1] == ["--print-completion"]:
        raise SystemExit(_completion(arguments[1:]))
    rest, dotted = split_dotted(_joined(arguments))
    try:
        command, values = parsed(rest, COMMANDS)
    except Exception as error:  # argparse and jsonargparse raise several kinds
        raise SystemExit(_fail_alike(_plainly(error, rest), 2)) from None
    if dotted and command != "condense":
        name = dotted[0][0]
        raise SystemExit(_fail_alike(f"--{name} is a recipe setting; only condense takes it", 2))
    return command, values, dotted


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--range -1,1`` as ``--range=-1,1``: argparse takes what begins with a minus for a flag."""
    out: list[str] = []
    for word in arguments:
        if out and out[-1] == "--range" and re.match(r"-[\d.]", word):
            out[-1] = f"--range={word}"
        else:
            out.append(word)
    return out


def _completion(arguments: Sequence[str]) -> int:
    """Print the script with which a shell completes the command."""
    from .completion import SHELLS, script

    if len(arguments) != 1 or arguments[0] not in SHELLS:
        return _fail_alike(f"--print-completion needs the shell: {', '.join(SHELLS)}", 2)
    put(*script(arguments[0], COMMANDS).splitlines())
    return 0


def split_dotted(arguments: Sequence[str]) -> tuple[list[str], list[tuple[str, Any]]]:
    """Take ``--a.b value`` and ``--a.b=value`` out of the arguments; values are read as YAML."""
    from condensery.utils.reading import yaml_of

    rest: list[str] = []
    dotted: list[tuple[str, Any]] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        found = _DOTTED.fullmatch(word)
        if not found:
            rest.append(word)
            continue
        name, text = found[1], found[2]
        if text is None:
            if not waiting or waiting[0].startswith("--"):
                raise SystemExit(_fail_alike(f"--{name} needs a value", 2))
            text = waiting.pop(0)
        try:
            dotted.append((name, yaml_of(text)))
        except ValueError:
            dotted.append((name, text))
    return rest, dotted


def _plainly(error: Exception, arguments: Sequence[str]) -> str:
    """A parser's complaint as one sentence, with the nearest name for a misspelt one."""
    text = str(error)
    unknown = re.search(r"[Uu]nrecognized arguments: (\S+)", text)
    listed = re.search(r"argument (--\S+): invalid (?:float|int) value: '(.*?)'", text)
    if listed:
        return (
            f"{listed[1]} must be a number (several are separated by spaces), got {listed[2]}; "
            "see --help"
        )
    command = next((a for a in arguments if a in COMMANDS), None)
    if unknown and command:
        import dataclasses

        got = unknown[1].split("=")[0]
        if not got.startswith("-"):
            return f"{command} takes no positional argument '{got}'; did you mean --data {got}?"
        if (command, got) == ("data", "--data"):
            return "data takes the data set as a positional argument: condensery data SPEC"
        flags = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(COMMANDS[command][0])]
        word = flag_hint(got, flags)
        near = [word] if word else difflib.get_close_matches(got, flags, n=1, cutoff=0.65)
        hint = f"did you mean {near[0]}?" if near else f"see condensery {command} --help"
        if word and word.startswith("nothing"):
            hint = f"it needs {word}"
        return f"{command} does not know {got}; {hint}"
    choice = re.search(r"invalid choice: '?([^' ]+)", text)
    if choice and not command:
        from condensery.config.recipes import recipe_names

        line = command_hint(choice[1], recipe_names())
        if line:
            return f"{choice[1]} is a recipe; the command is: {line}"
        near = difflib.get_close_matches(choice[1], COMMANDS, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "."
        return f"unknown command {choice[1]}{hint} Known: {', '.join(COMMANDS)}"
    missing = re.search(r"arguments are required: (?:\w+\.)?(\w+)", text)
    if missing and command:
        what = COMMANDS[command][2]
        return f"{command} needs a {missing[1]} ({what}); see condensery {command} --help"
    if not command:
        return f"name a command: {', '.join(COMMANDS)}; see condensery --help"
    wrong = re.search(r'Parser key "([^"]+)"', text)
    if wrong:
        flag = "--" + wrong[1].rpartition(".")[2].replace("_", "-")
        wanted, got = wrong_value(text)
        several = (
            " (several are separated by spaces)" if wanted == "a number" and "," in got else ""
        )
        return f"{flag} must be {wanted}{several}, got {got}; see condensery {command} --help"
    return f"{' '.join(text.split())}; see condensery {command} --help"
