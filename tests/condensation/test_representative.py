"""Images that stand for their class: as a start, and as real batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condensery import UsageError, nets
from condensery.cli.main import main
from condensery.condensation.configure import resolved
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.batches import CentroidBatches
from condensery.config.recipes import read_config
from condensery.data import Data, LabelledSet
from condensery.methods.clusters import k_means
from condensery.methods.formation.multi import pack
from condensery.methods.guide import Guide
from condensery.methods.pools.train import pool_settings, train_pool
from condensery.methods.task import Task
from condensery.runtime.plan import exact_plan
from condensery.runtime.randomness import stream

NET = "convnet1:width=4"
FEW: dict[str, Any] = {"ipc": 2, "iterations": 6, "real_batch": 4, "supply.net": NET}


def guide_of(train: LabelledSet, seed: int = 0) -> Guide:
    return Guide.of(Task.of(train, ipc=2, seed=seed), train)


def slowly(guide: Guide, c: int, n: int, purpose: str, number: int, of: int) -> list[int]:
    """What nearest gives, image by image."""
    members = [i for i, label in enumerate(guide.train.labels.tolist()) if label == c]
    rng = stream(0, purpose, number, group=c)
    candidates = [members[i] for i in rng.permutation(len(members))[:of]]
    seen = []
    for row in candidates:
        image = guide.train.normalised(torch.tensor([row]))
        with torch.no_grad():
            seen.append(nets.embed(guide.network, image)[0])
    chosen = k_means(torch.stack(seen), n, int(rng.integers(2**32)))
    return [candidates[i] for i in chosen.tolist()]


def test_the_images_nearest_to_centroids_of_a_part_of_the_class(tiny_data: Data) -> None:
    guide = guide_of(tiny_data.train)
    for c, of in ((0, 12), (1, 5), (2, 9)):
        found = guide.nearest(c, 3, "x", 7, of=of)
        assert found.tolist() == slowly(guide, c, 3, "x", 7, of)
    assert guide.nearest(1, 20, "x").tolist() == tiny_data.train.index[1].tolist(), "all of it"
    assert guide.nearest(0, 3, "x", 8, of=5).tolist() != guide.nearest(0, 3, "x", 7, of=5).tolist()


def started(data: Data, **fields: Any) -> Condenser:
    config = resolved(data, "dm", {**FEW, **fields}).config
    return Condenser(data, config, exact_plan("cpu", 1))


def test_a_set_starts_from_them(tiny_data: Data) -> None:
    train = tiny_data.train
    guide = guide_of(train)

    def near(c: int, n: int) -> Tensor:
        return train.normalised(guide.nearest(c, n, "start-centroids"))

    whole = started(tiny_data, **{"formation.start_from": "kmeans"}).stored.detach()
    assert torch.equal(whole, torch.stack([near(c, 2) for c in range(3)]))
    tiles = {"formation.kind": "multi_formation", "formation.factor": 2, "ipc": 1}
    tiled = torch.stack([pack(near(c, 4), (1, 8, 8), 2, "area") for c in range(3)])
    packed = started(tiny_data, **tiles, **{"formation.start_from": "kmeans"}).stored.detach()
    assert torch.equal(packed, tiled)
    scarce = started(tiny_data, **{**tiles, "ipc": 2}, **{"formation.start_from": "kmeans"})
    members = train.index[1].repeat(2)[:8]
    wanted = pack(train.normalised(members), (1, 8, 8), 2, "area")
    assert torch.equal(scarce.stored.detach()[1], wanted), "seven images, and the first one again"


def test_a_pools_furthest_network_chooses(tiny_data: Data, tmp_path: Path) -> None:
    settings = pool_settings(tiny_data, NET, epochs=2, snapshots=[1.0, 2.0], batch=4)
    pool = train_pool(tiny_data, settings, 1, tmp_path / "pool")
    fields = {"supply.kind": "pool", "supply.path": str(pool.path)}
    given = {**{k: v for k, v in FEW.items() if k != "supply.net"}, **fields}
    given["formation.start_from"] = "kmeans"
    run = Condenser(tiny_data, resolved(tiny_data, "dm", given).config, exact_plan("cpu", 1))
    assert run.task.guide is not None
    last = pool.weights(pool.snapshots[1])
    for name, weight in run.task.guide.state_dict().items():
        assert torch.equal(weight, last[name])


def test_batches_stay_for_some_steps_whatever_classes_a_rank_has(tiny_data: Data) -> None:
    batches, apart = (
        CentroidBatches(guide_of(tiny_data.train), 3, renewed=2, of=5) for _ in range(2)
    )
    every = [[r.tolist() for r in batches.rows(k, 0, k, range(3))] for k in range(4)]
    assert every[0] == every[1] != every[2] == every[3]
    assert [r.tolist() for r in apart.rows(2, 0, 2, range(1, 3))] == every[2][1:]
    labels = tiny_data.train.labels
    assert all((labels[torch.tensor(rows)] == c).all() for c, rows in enumerate(every[0]))


@pytest.mark.parametrize("stop", [3, 4])
def test_a_run_with_such_batches_resumes_to_the_bit(stop: int, tiny_data: Data) -> None:
    fields = {"real_batches": "kmeans", "real_batches_renewed": 2, "real_batches_of": 5}
    whole = started(tiny_data, **fields).run()
    first, second = started(tiny_data, **fields), started(tiny_data, **fields)
    first.run(stop)
    second.load_state(first.state())
    assert torch.equal(second.run().stored, whole.stored)
    assert not torch.equal(started(tiny_data).run().stored, whole.stored)


def test_the_command_takes_such_batches(tmp_path: Path) -> None:
    common = ["condense", "--data", "digits", "--ipc", "1", "--iterations", "1", "--threads", "1"]
    few = ["--supply.net", NET, "--real-batch", "3", "--real-batches", "kmeans"]
    more = ["--real-batches-of", "6", "--real-batches-renewed", "2", "--quiet"]
    assert main([*common, *few, *more, "--out", str(tmp_path)]) == 0
    held = read_config(tmp_path)
    names = ("real_batches", "real_batches_of", "real_batches_renewed")
    assert [held[name] for name in names] == ["kmeans", 6, 2]


def test_a_recipe_says_so_only_where_it_is_wanted(tiny_data: Data) -> None:
    plain = resolved(tiny_data, "dm", FEW).config.as_dict()
    assert not any(name.startswith("real_batches") for name in plain)
    named = resolved(tiny_data, "dm", {**FEW, "real_batches": "kmeans"}).config.as_dict()
    assert named["real_batches"] == "kmeans"
    for wrong, message in (
        ({"real_batches": "nearest"}, "real_batches must be random or kmeans"),
        ({"real_batches_of": 0}, "real_batches_of must be at least 1"),
        ({"formation.start_from": "kmean"}, "real or noise or kmeans"),
    ):
        with pytest.raises(UsageError, match=message):
            resolved(tiny_data, "dm", {**FEW, **wrong})
