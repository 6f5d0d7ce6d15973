"""Words for what a user got wrong: every message names the thing and the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class UsageError(ValueError):
    """A request that cannot be carried out; the message says what to change."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or class and the remedy."""


class DivergedError(ValueError):
    """Training produced NaN or inf; the message says where and what to change."""


class ResourceError(ValueError):
    """Memory or room on the disk ran out; the message says what shrinks the work."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a CPU or a GPU.

    >>> out_of_memory(MemoryError()), out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    # By its name: this module imports no torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("can't allocate memory", "out of memory", "Cannot allocate memory")
    return isinstance(error, RuntimeError | OSError) and any(w in str(error) for w in words)


#: Errors that are a sentence for the user, by name: processes pass them on so.
SENTENCES: dict[str, type[ValueError]] = {
    kind.__name__: kind for kind in (UsageError, DataError, DivergedError, ResourceError)
}


class RanksError(RuntimeError):
    """Another process of the same job is gone; the message says how to continue."""


def unknown_name(kind: str, got: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does.

    >>> print(unknown_name("recipe", "dmm", ["dm", "dc"]))
    unknown recipe 'dmm'; did you mean 'dm'? Known: dc, dm
    """
    names = sorted(known)
    if not names:
        return UsageError(f"unknown {kind} '{got}': it has no settings")
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return UsageError(f"unknown {kind} '{got}'{hint} Known: {', '.join(names)}")


#: Types as people say them.
_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}


def wrong_value(complaint: str) -> tuple[str, str]:
    """What a parser wanted and what it got, from its complaint about a value.

    >>> wrong_value("Expected a <class 'int'>. Got value: two")
    ('a whole number', 'two')
    """
    wanted: list[str] = []
    for found in re.findall(r"Expected (?:an? )?([^\n]+?)(?=\. Got|\n|$)", complaint):
        choices = re.search(r"Literal\[(.*)\]", found)
        name = re.search(r"<class '(\w+)'>", found)
        words = _WORDS.get(name[1], name[1]) if name else found
        if choices:
            words = choices[1].replace("'", "").replace(", ", " or ")
        if words == "list":
            words = "a list"
        if words != "NoneType" and words not in wanted:
            wanted.append(words)
    got = re.findall(r"(?:Got|Given) value: ([^\n]+)", complaint)
    return " or ".join(wanted) or "something else", got[-1] if got else "nothing"
