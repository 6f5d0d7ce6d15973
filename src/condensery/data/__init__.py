"""Data sets: a name, a path or arrays in; labelled sets out."""

from __future__ import annotations

from condensery.errors import DataError

from .cache import cache_folder
from .describe import as_json, describe
from .labelled import Data, LabelledSet, require_per_class
from .load import DataLike, load

__all__ = [
    "Data",
    "DataError",
    "DataLike",
    "LabelledSet",
    "as_json",
    "cache_folder",
    "describe",
    "load",
    "require_per_class",
]
