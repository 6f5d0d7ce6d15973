"""Set files whose metadata claim a formation that their numbers do not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from condensery import CondensedSet, DataError
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.data import Data
from condensery.runtime.plan import exact_plan


def changed(made: CondensedSet, file: Path, **settings: Any) -> Path:
    """A set's file whose metadata claims another formation."""
    from safetensors.torch import load_file, save_file

    made.save(file)
    about = json.loads(made.about.dump())
    about["formation"] |= settings
    save_file(load_file(file), file, metadata={"condensery": json.dumps(about)})
    return file


@pytest.mark.parametrize(
    "settings",
    [
        {"factor": 9},
        {"factor": 5000},
        {"factor": 20, "mode": "multi_scale"},
        {"factor": 20, "mode": "bounded"},
        {"factor": 9, "along": "time"},
        {"factor": "two"},
        {"kind": "fsrcnn"},
    ],
)
def test_a_file_that_claims_another_formation_is_refused(
    settings: dict[str, Any], tiny_data: Data, tmp_path: Path
) -> None:
    given = {"ipc": 1, "iterations": 0, "supply.net": "convnet2:width=4"}
    made = Condenser(tiny_data, configure(tiny_data, "idc", given), exact_plan("cpu", 1)).run()
    with pytest.raises(ValueError, match="set"):
        CondensedSet.load(changed(made, tmp_path / "set.safetensors", **settings))


def test_a_file_whose_numbers_are_no_images_is_refused(tiny_data: Data, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    given = {"ipc": 1, "iterations": 0, "supply.net": "convnet2:width=4"}
    made = Condenser(tiny_data, configure(tiny_data, "idc", given), exact_plan("cpu", 1)).run()
    file = made.save(tmp_path / "set.safetensors")
    whole, about = load_file(file), json.loads(made.about.dump())
    for stored in (whole["stored"].flatten(2), whole["stored"][..., :0].contiguous()):
        metadata = {"condensery": json.dumps(about)}
        save_file({**whole, "stored": stored.contiguous()}, file, metadata=metadata)
        with pytest.raises(DataError, match="is damaged"):
            CondensedSet.load(file)
    three = {**about, "mean": [0.5] * 3, "std": [0.2] * 3}
    save_file(whole, file, metadata={"condensery": json.dumps(three)})
    with pytest.raises(DataError, match="not images with 3 channels"):
        CondensedSet.load(file)
