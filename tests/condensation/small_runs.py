"""Recipes of every kind, and settings with which a run of one is over in a moment."""

from __future__ import annotations

from typing import Any

_KINDS = """
recipe            formation       objective        supply augmentation level until norm
mmd               pixels          mean_features    fresh none - - -
idc_i_syn_mse     multi_formation class_gradients  trained_on_synthetic siamese_op intra epochs -
idc_i_real_cosine multi_formation class_gradients  trained_on_real siamese_op intra - -
idc               multi_formation class_gradients  trained_on_real siamese_sequence intra - -
gm_mdo            pixels          class_gradients  trained_on_synthetic none multi overfit -
gm_m              pixels          class_gradients  trained_on_synthetic none multi epochs -
gm_interleaved    pixels          class_gradients  trained_on_synthetic none interleaved epochs -
gm_inter          pixels          class_gradients  trained_on_synthetic none inter epochs -
dsa               pixels          class_gradients  trained_on_synthetic siamese_op intra epochs -
dm_mf             multi_formation mean_features    fresh siamese_op - - -
dm_bn             pixels          mean_features    fresh siamese_op - - batch
dm                pixels          mean_features    fresh siamese_op - - -
dc                pixels          class_gradients  trained_on_synthetic none intra epochs -
cafe              pixels          aligned_features dynamic none - - -
cafe_dsa          pixels          aligned_features dynamic siamese_op - - -
best              multi_formation mean_features    trained_on_real siamese_sequence - - -
"""
#: A recipe of each kind → what decides how it runs; recipes that differ in numbers alone are of
#: the same kind.
KINDS: dict[str, tuple[str | None, ...]] = {
    recipe: tuple(None if word == "-" else word for word in kind)
    for recipe, *kind in map(str.split, _KINDS.strip().splitlines()[1:])
}
#: A recipe of each kind.
DISTINCT = list(KINDS)
#: One of each thing that is lowered, and of each way in which images are stored.
LOWERED = list({(kind[0], kind[1], kind[4]): recipe for recipe, kind in KINDS.items()}.values())
#: One of each objective.
COMPARED = list({(kind[1], kind[4]): recipe for recipe, kind in KINDS.items()}.values())

SMALL = {"ipc": 2, "iterations": 3, "real_batch": 6, "supply.net": "convnet1:width=4"}
#: Shorter lives of networks, so that a tiny run is over in a moment.
BRIEF: dict[str, dict[str, Any]] = {
    "dynamic": {
        "supply.gamma": 2,
        "supply.step_cap": 3,
        "supply.epoch_cap": 2,
        "supply.query": 4,
    },
    "trained_on_real": {"supply.steps": 3, "supply.images": 9, "supply.batch": 4},
    "trained_on_synthetic": {"supply.steps": 2, "supply.epochs": 3, "supply.cap": 3},
}
#: Lives of at least two pixel steps with some training between.
LONGER: dict[str, dict[str, Any]] = {
    "dynamic": {"supply.step_cap": 3, "supply.lambda1": 0.0, "supply.momentum": 0.5},
    "trained_on_real": {"supply.steps": 3, "supply.pretrain": 1},
    "trained_on_synthetic": {"supply.steps": 3, "supply.epochs": 2, "supply.momentum": 0.5},
}
