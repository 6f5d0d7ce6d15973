"""Condensery: turn a large labelled data set into a tiny synthetic one that trains networks.

Read data, condense them, and measure what the result is worth beside real images:

    data = load("digits")                                   # a name, a path, arrays
    condensed = condense(data, "dm", ipc=1, minutes=2)      # learned images: CondensedSet
    real = select(data, "random", ipc=1)                    # or kept ones; also herding, ...
    (result,) = evaluate(condensed, data, minutes=5)        # accuracy with n, spread, protocol
    table = compare({"dm": condensed, "random": real, "whole": "whole"}, data)
    condensed.save("runs/digits")                           # one file, without code in it
    again = CondensedSet.load("runs/digits")                # load_sets for a folder of several
    export(condensed, "digits.npz", "npz")                  # plain data, to train with anything

Each of them has an example in its own help, such as ``help(condensery.condense)``. Wrong values
raise :class:`UsageError`, data that cannot be used :class:`DataError`; nothing is printed unless
``progress=True``, and warnings go to ``logging``.

>>> import condensery
>>> condensery.__version__.count(".")
2
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from condensery.evaluation.comparison_table import Comparison as Comparison
    from condensery.evaluation.result import Result as Result

    from .condensation.api import condense as condense
    from .condensation.loop import Condenser as Condenser
    from .data import Data as Data
    from .data import LabelledSet as LabelledSet
    from .data import load as load
    from .errors import DataError as DataError
    from .errors import UsageError as UsageError
    from .evaluation.api import evaluate as evaluate
    from .evaluation.comparison import compare as compare
    from .selection import select as select
    from .selection import select_forgetting as select_forgetting
    from .selection import select_forgetting_toneva as select_forgetting_toneva
    from .selection import select_herding as select_herding
    from .selection import select_k_center as select_k_center
    from .selection import select_kmeans as select_kmeans
    from .selection import select_nearest as select_nearest
    from .selection import select_random as select_random
    from .selection import select_rded as select_rded
    from .sets.condensed import CondensedSet as CondensedSet
    from .sets.condensed import load_sets as load_sets
    from .sets.export import export as export

# Public names are imported when they are first used, so that the command answers at once.
_PUBLIC = {
    "Comparison": "evaluation.comparison_table",
    "compare": "evaluation.comparison",
    "Condenser": "condensation.loop",
    "condense": "condensation.api",
    "CondensedSet": "sets.condensed",
    "load_sets": "sets.condensed",
    "Data": "data",
    "LabelledSet": "data",
    "load": "data",
    "DataError": "errors",
    "UsageError": "errors",
    "Result": "evaluation.result",
    "evaluate": "evaluation.api",
    "export": "sets.export",
    "select": "selection",
    "select_forgetting": "selection",
    "select_forgetting_toneva": "selection",
    "select_herding": "selection",
    "select_k_center": "selection",
    "select_kmeans": "selection",
    "select_rded": "selection",
    "select_nearest": "selection",
    "select_random": "selection",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'condensery' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
