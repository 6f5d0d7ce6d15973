"""Settings tried for recipe ``best``, tested on images set aside from the training split.

    python benchmarks/best/trials.py --parts PARTS --pool POOL --set '{"formation.factor": 3}'

Every tenth training image of each class is set aside, and the rest condensed: no test image takes
part. ``--prepare FILE`` writes both parts, for ``condensery pool`` as well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from condensery import evaluate, load
from condensery.condensation.api import condense
from condensery.runtime.malloc import keep_memory

#: Of all trials, on top of ``dm_mf``.
COMMON: dict[str, Any] = {
    "ipc": 10,
    "supply.kind": "pool",
    "objective.classification": 2.5,
    "real_batch": 64,
    "synthetic_batch": 20,
}


def parts(data: str) -> dict[str, Any]:
    """The training split in two: nine tenths of each class, and the tenth set aside."""
    train = load(data).train
    rng = np.random.default_rng(5)
    held = [rng.permutation(rows.numpy())[: len(rows) // 10] for rows in train.index]
    aside = np.sort(np.concatenate(held))
    rest = np.setdiff1d(np.arange(len(train)), aside)
    images, labels = train.images.numpy(), train.labels.numpy()
    return {
        "x_train": images[rest],
        "y_train": labels[rest],
        "x_test": images[aside],
        "y_test": labels[aside],
    }


def main() -> None:
    """Prepare the file, or carry out one trial and add it to the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--prepare", type=Path, help="write the parts there (.npz), and stop")
    parser.add_argument("--parts", type=Path, help="what --prepare wrote")
    parser.add_argument("--pool", help="a pool of the parts")
    parser.add_argument("--set", default="{}", help="fields on top, as JSON")
    parser.add_argument("--net", default="convnet3:width=64")
    parser.add_argument("--nets", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("trials.jsonl"))
    options = parser.parse_args()
    keep_memory()
    if options.prepare is not None:
        np.savez(options.prepare, **parts(options.data))
        return
    data = load(str(options.parts))
    fields = {**COMMON, "supply.path": options.pool, **json.loads(options.set)}
    made = condense(data, "dm_mf", overrides=fields, threads=1)
    (result,) = evaluate(
        made, data, nets=options.net, protocol="idc", epochs=60, n=options.nets, threads=1
    )
    record = {"set": json.loads(options.set), "images": len(made), **result.as_dict()}
    with options.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(f"{result.mean:.2f} ± {result.std:.2f}")


if __name__ == "__main__":
    main()
