"""What is optional is named by the first use that needs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from condensery.config.data_sets import _hub_cache, lies_here
from condensery.data import Data, load
from condensery.errors import UsageError
from condensery.selection import select_random
from condensery.sets.export import export


def test_parquet_and_the_hub_name_their_extra(
    tiny_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(select_random(tiny_data, ipc=2), "parquet", tmp_path / "train.parquet")
    from datasets import config

    assert _hub_cache() == Path(config.HF_DATASETS_CACHE)  # found without importing it
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delenv("CONDENSERY_DATA", raising=False)
    line = r'pip install "condensery\[hub\]"'
    for spec in (tmp_path / "train.parquet", "hub:owner/name", "cifar10"):
        with pytest.raises(UsageError, match=line):
            load(spec)
    with pytest.raises(UsageError, match=line):
        export(select_random(tiny_data, ipc=2), "parquet", tmp_path / "again.parquet")
    assert not lies_here("cifar10")
    assert load("digits").train.classes == 10
