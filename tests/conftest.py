"""Shared fixtures: tiny data made in memory, and the extra real data where there is any.

Nothing here imports torch at once: the process that shares the tests out never needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from condensery.data import Data

# Torch's compiler starts no processes of its own for what tests compile.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
# Programs that tests start take one thread as well: others would wait in circles for theirs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What they read is not broken to the width of whoever started them.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session", autouse=True)
def _narrow() -> None:
    """Tests compare bytes and run side by side with other work: one thread is enough."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_parent_is_left() -> Iterator[None]:
    """The process that programs are forked from ends with the tests, where there is one."""
    yield
    programs = sys.modules.get("tests.programs")
    if programs is not None:
        programs.end()


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty folders, one after the other; making them is quicker here than with the factory."""
    place = tmp_path_factory.mktemp("caches")
    return (place / str(number) for number in count())


@pytest.fixture(autouse=True)
def _own_cache(_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    own = next(_caches)
    own.mkdir()
    monkeypatch.setenv("CONDENSERY_CACHE", str(own))


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans take one thread where none is named: tests run side by side."""
    monkeypatch.setattr("condensery.runtime.plan.default_threads", lambda: 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker has all that is compiled: importing torch's compiler costs five seconds."""
    for item in items:
        traced = "traced_only" in getattr(item, "fixturenames", ())
        if traced or item.name.startswith("test_compiled"):
            item.add_marker(pytest.mark.xdist_group("compiled"))


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.compile`` traces and differentiates as ever, and writes no C++, which takes longer.

    Generated code is tested where a step is the simplest, in ``test_matching.py``, and where it is
    the deepest in the slow tests of ``test_class_gradients.py``.
    """
    import torch

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


@pytest.fixture(scope="session")
def _decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture
def real_data(_decoded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of extra real data sets, which are decoded once for all tests."""
    folder = os.environ.get("CONDENSERY_DATA")
    if not folder:
        pytest.skip("set CONDENSERY_DATA to a folder of real data sets to run this test")
    monkeypatch.setenv("CONDENSERY_CACHE", str(_decoded))
    return Path(folder)


def tiny(counts: tuple[int, ...] = (12, 7, 9), channels: int = 1, side: int = 8) -> Data:
    """Random images whose classes differ in brightness, unequal in number."""
    import numpy as np

    from condensery.data import load

    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    base = 40 + 60 * labels[:, None, None, None]
    noise = rng.integers(0, 60, (len(labels), channels, side, side))
    images = (base + noise).clip(0, 255).astype(np.uint8)
    return load((images, labels), test=(images[::2].copy(), labels[::2].copy()), flip=True)


@pytest.fixture
def tiny_data() -> Data:
    """Three classes of 12, 7 and 9 grey images of 8×8."""
    return tiny()
