"""Which code, on which machine: what a number must carry to be believed."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from condensery import _version

#: Ends the mark of a checkout whose files are not those of its commit.
CHANGED = "+changes"
#: Names the commit where its checkout travelled without git.
COMMIT_VARIABLE = "CONDENSERY_COMMIT"

#: The folder of this package, wherever in it this file is.
PACKAGE = Path(_version.__file__).resolve().parent


def checkout() -> Path | None:
    """The checkout that this package runs from, None for an installed release.

    An environment inside another project's checkout is not a checkout of this package.
    """
    source = PACKAGE.parent
    return source.parent if source.name == "src" else None


@cache
def commit() -> str | None:
    """The commit of the checkout that this package runs from, None for an installed release.

    Where a checkout travelled without its history, ``$CONDENSERY_COMMIT`` names it. A changed
    working tree is marked ``+changes``.
    """
    if checkout() is None:
        return None
    try:
        head = _git(PACKAGE, "rev-parse", "HEAD")
        dirty = _git(PACKAGE, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT_VARIABLE) or None
    return f"{head}{CHANGED}" if dirty else head


@cache
def code() -> str | None:
    """What tells this code from any other that the version does not tell from it.

    The commit of a clean checkout. Of a changed one, or one without git, the content of its files
    as well, so that numbers of two states of it are never taken for each other. None for an
    installed release, which its version names. Third-party network classes are not included.
    """
    head = commit()
    named = head is not None and not head.endswith(CHANGED) and not os.environ.get(COMMIT_VARIABLE)
    if checkout() is None or named:
        return head
    return f"{head or 'no commit'}.{content_of(PACKAGE)}"


def content_of(folder: Path) -> str:
    """16 digits of the SHA-256 of the Python and YAML files below a folder, with their names."""
    digest = hashlib.sha256()
    for file in sorted(p for kind in ("*.py", "*.yaml") for p in folder.rglob(kind)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


@cache
def installed(name: str) -> str | None:
    """The version of an installed package, or None; it is read once, which takes milliseconds.

    >>> installed("no-such-package") is None
    True
    """
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Versions of this package and of what its numbers depend on."""
    found = {"condensery": _version.__version__, "python": platform.python_version()}
    wanted = ("torch", "numpy", "datasets", "safetensors")
    return found | {name: held for name in wanted if (held := installed(name)) is not None}


def machine() -> dict[str, str | int | None]:
    """The machine's name, processor and system."""
    import torch

    from .plan import processors

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": processors(),
        "gpu": gpu,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
