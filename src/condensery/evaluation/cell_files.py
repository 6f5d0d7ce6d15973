"""A cell as files, for processes: tensors that all of them map, and plain values."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from condensery.data import Data, LabelledSet
from condensery.runtime.plan import Plan
from condensery.sets.candidate import Candidate
from condensery.training.protocol import Protocol
from condensery.training.whole_split import WholeSchedule
from condensery.utils.reading import read_json

from .cell import Cell
from .rows import Row

_TENSORS, _VALUES = "cell.safetensors", "cell.json"


def write_cell(cell: Cell, folder: Path) -> None:
    """All that the cell's numbers depend on, in a folder."""
    tensors: dict[str, Tensor] = {}
    data, row = cell.data, cell.row

    def split(name: str, held: LabelledSet) -> dict[str, Any]:
        tensors[f"{name}.images"], tensors[f"{name}.labels"] = held.images, held.labels
        return {
            "class_names": held.class_names,
            "mean": held.mean,
            "std": held.std,
            "name": held.name,
            "fingerprint": held.fingerprint,
        }

    sets = []
    for number, one in enumerate(row.sets):
        tensors[f"{number}.images"], tensors[f"{number}.labels"] = one.images, one.labels
        names = ("mean", "std", "method", "ipc", "stored_bytes", "decoded", "flip")
        sets.append({name: getattr(one, name) for name in names})
    values = {
        "train": split("train", data.train) if row.whole else None,
        "test": split("test", data.test),
        "sets": sets,
        "row": {"name": row.name, "whole_epochs": row.whole_epochs},
        "data": {"name": data.name, "spec": data.spec, "flip": data.flip, "net": data.net},
        "net": cell.net,
        "asked": cell.asked,
        "training": dataclasses.asdict(cell.training),
        "schedule_steps": cell.schedule.steps if cell.schedule else None,
        "steps": cell.steps,
        "plan": {**cell.plan.as_dict(), "processes": 1},
        "seed": cell.seed,
        "parts": list(cell.parts),
        "confusion": cell.confusion,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # What fails then is the system's error, and not one of the format.
    (folder / _TENSORS).write_bytes(save(plain))
    (folder / _VALUES).write_text(json.dumps(values), encoding="utf-8")


def read_cell(folder: Path) -> Cell:
    """Read what :func:`write_cell` wrote."""
    values = read_json(folder / _VALUES)
    tensors = load_file(folder / _TENSORS)

    def split(name: str) -> LabelledSet:
        held: Any = {k: _tupled(v) for k, v in values[name].items()}
        return LabelledSet(tensors[f"{name}.images"], tensors[f"{name}.labels"], **held)

    sets = []
    for number, one in enumerate(values["sets"]):
        facts: Any = {k: _tupled(v) for k, v in one.items()}
        images, labels = tensors[f"{number}.images"], tensors[f"{number}.labels"]
        sets.append(Candidate(images, labels, **facts))
    test = split("test")
    training, steps = Protocol(**values["training"]), values["schedule_steps"]
    return Cell(
        row=Row(sets=tuple(sets), **values["row"]),
        data=Data(split("train") if values["train"] else test, test, **values["data"]),
        net=values["net"],
        code=None,
        asked=values["asked"],
        training=training,
        schedule=WholeSchedule(training, steps) if steps else None,
        plan=Plan(**values["plan"]),
        seed=values["seed"],
        parts=tuple(values["parts"]),
        confusion=values["confusion"],
        steps=values["steps"],
    )


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
