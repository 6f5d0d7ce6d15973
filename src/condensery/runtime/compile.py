"""Compiled functions."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

#: Every trainer and every matcher compiles the same function for its own network. Torch gives up
#: silently after 8 variants of one function, which a table of a few networks reaches.
_VARIANTS = 1024


#: What torch and Triton ask for the folder of what they have compiled.
CACHE_VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def use_own_cache() -> None:
    """Keep compiled code where no other user of this machine can put any, unless told where.

    Torch's default is a folder of a name that anyone can predict in a place where anyone can write,
    and what lies in it is run.
    """
    lacking = [name for name in CACHE_VARIABLES if not os.environ.get(name)]
    if not lacking:
        return
    folder = _own_folder()
    for name in lacking:
        place = folder / ("triton" if name.startswith("TRITON") else "inductor")
        place.mkdir(mode=0o700, exist_ok=True)
        os.environ[name] = str(place)


@cache
def _own_folder() -> Path:
    """A folder that only this user may enter: in the user's cache, or for this process alone."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("condensery")) / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        if stat.S_ISDIR(found.st_mode) and mine and os.access(folder, os.W_OK):
            folder.chmod(0o700)
            return folder
    except OSError:  # there is no home, or it cannot be written
        pass
    alone = tempfile.mkdtemp(prefix="condensery-compiled-")
    atexit.register(shutil.rmtree, alone, ignore_errors=True)
    return Path(alone)


def compiled(function: F) -> F:
    """A function compiled for fixed shapes; each new shape compiles again."""
    use_own_cache()
    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit"):
        if hasattr(config, name):
            setattr(config, name, max(_VARIANTS, getattr(config, name)))
    return cast(F, torch.compile(function, dynamic=False))
