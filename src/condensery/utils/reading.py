"""Files from elsewhere are read as data: regular ones, of bounded size, nested within reason.

What goes wrong is an ``OSError`` for the file and a ``ValueError`` for its content, whatever the
parser beneath would have raised. Nothing here imports torch.
"""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path
from typing import Any

import yaml

from .text import size_text

#: Bytes of a JSON file; the index of a pool with ten thousand snapshots has a fiftieth of them.
_MOST_JSON = 100 * 10**6
#: Bytes of a YAML file; the longest recipe of this package has 4 kB.
_MOST_YAML = 10**6
#: Values in a YAML file once its aliases are written out.
_MOST_NODES = 100_000
#: Digits of a whole number; any such is a float, too.
_MOST_DIGITS = 300
_DEEP = "it is nested too deeply"


def regular(path: Path) -> Path:
    """The path again, if a regular file lies there, which ends and can be read at once.

    Raises:
        OSError: for devices, pipes, sockets and folders, and where there is nothing.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a name with a NUL
        raise OSError(errno.EINVAL, "its name is invalid", str(path)) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return path


def text_of(path: Path, most: int = _MOST_JSON) -> str:
    """The text of a regular file.

    Raises:
        OSError: when it is no regular file, or larger than ``most`` bytes.
        ValueError: when it is not UTF-8.
    """
    size = regular(path).stat().st_size
    if size > most:
        what = f"it has {size_text(size)}, and at most {size_text(most)} are read"
        raise OSError(errno.EFBIG, what, str(path))
    return path.read_text(encoding="utf-8")


def json_of(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: for anything else, also what is nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError as error:
        raise ValueError(_DEEP) from error


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError, ValueError: when it cannot be read.
    """
    return json_of(text_of(path))


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a whole number in it has {len(text)} digits")
    return int(text)


class _Loader(yaml.SafeLoader):
    """Plain values only; what looks like a date stays text."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A whole number, in any of YAML's bases."""
        if len(node.value) > _MOST_DIGITS:
            return _whole(node.value)
        return int(super().construct_yaml_int(node))


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def yaml_of(text: str) -> Any:
    """The value of a YAML text: plain values, with nothing in it that grows without bounds.

    Raises:
        ValueError: for anything else, in one line.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {}, set())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark
        line = f" (line {where.line + 1})" if where is not None else ""
        raise ValueError(f"{error.problem or error.context}{line}") from error
    except RecursionError as error:
        raise ValueError(_DEEP) from error
    except (yaml.YAMLError, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path) -> Any:
    """The value in a YAML file.

    Raises:
        OSError, ValueError: when it cannot be read.
    """
    return yaml_of(text_of(path, _MOST_YAML))


def _count(node: yaml.Node, known: dict[int, int], open_: set[int]) -> int:
    """Values below a node, those behind an alias counted wherever it stands."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in open_:
        raise ValueError("an alias in it contains itself")
    open_.add(id(node))
    total = 1
    for child in _children(node):
        total += _count(child, known, open_)
        if total > _MOST_NODES:
            raise ValueError(f"its aliases make more than {_MOST_NODES} values of it")
    open_.remove(id(node))
    known[id(node)] = total
    return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
