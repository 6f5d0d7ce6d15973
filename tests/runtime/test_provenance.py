"""A result knows the code that it came from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import condensery
from condensery.runtime import provenance

SOURCE = Path(condensery.__file__).parent

FIND = (
    "from condensery.runtime.provenance import checkout, commit; "
    "print(checkout(), commit(), sep='\\n')"
)


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    command = ["git", *who, *words]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def found(package: Path) -> list[str]:
    """Checkout and commit, as a process finds them that runs this copy of the package."""
    done = subprocess.run(
        [sys.executable, "-c", FIND],
        env={"PYTHONPATH": str(package.parent), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split("\n")[:2]


def test_the_package_is_found_from_its_root() -> None:
    assert SOURCE.resolve() == provenance.PACKAGE
    assert (provenance.PACKAGE / "_version.py").exists()


@pytest.mark.parametrize("place", ["src", "site-packages"])
def test_commit_of_a_checkout(place: str, tmp_path: Path) -> None:
    package = tmp_path / place / "condensery"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "One")
    head = git(tmp_path, "rev-parse", "HEAD")
    if place == "site-packages":  # a third party's checkout
        assert found(package) == ["None", "None"]
        return
    assert found(package) == [str(tmp_path), head]
    (package / "errors.py").write_text("# changed\n" + (package / "errors.py").read_text("utf-8"))
    assert found(package) == [str(tmp_path), f"{head}{provenance.CHANGED}"]
