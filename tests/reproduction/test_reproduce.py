"""Published rows: what they mean here, how they are run again, and what is said of them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from condensery import CondensedSet, evaluate, load, select_random
from condensery.cli import reproduce as cli
from condensery.cli.main import main
from condensery.condensation.configure import configure
from condensery.condensation.run_folder import RunFolder
from condensery.config.data_sets import lies_here
from condensery.config.schema import RunConfig
from condensery.data.labelled import default_net
from condensery.errors import DataError, UsageError
from condensery.evaluation.cache import KeptCells
from condensery.evaluation.cell import Cell, Measured
from condensery.nets import build
from condensery.reproduction import Experiment, Unmapped, experiment_of
from condensery.reproduction.originals import (
    NOT_COMPARED,
    ORIGINALS,
    OTHER_CONTENT,
    content_of,
    contents,
    departure,
)
from condensery.reproduction.published import PAPERS, Published, find, pick, published, tables
from condensery.reproduction.records import read_records
from condensery.reproduction.sets import narrow_types, scaled
from condensery.reproduction.status import STATUSES, page, statuses
from condensery.reproduction.verdict import Amount, verdict
from condensery.training.protocol import protocol_names
from condensery.utils.files import write_json
from tests.conftest import tiny

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "reproduce"

# The README of the numbers counts its rows.
TOTALS = {"dc": 252, "dm": 207, "cafe": 174, "idc": 317, "gm": 187}


def test_all_numbers_are_read() -> None:
    assert Counter(row.paper for row in published()) == TOTALS
    text = (ROOT / "src/condensery/reproduction/published_numbers/README.md").read_text("utf-8")
    assert {p: int(n) for p, n in re.findall(r"\*\*(\w+)\.csv\*\* \((\d+) rows\)", text)} == TOTALS
    assert sum(len(rows) for rows in tables().values()) == sum(TOTALS.values())
    assert list(TOTALS) == list(PAPERS)
    row = find("gm/table3", "cifar10/50/gm_md")
    assert (row.dataset, row.ipc, row.method) == ("cifar10", 50, "gm_md")
    assert (row.train_net, row.test_net, row.metric) == ("convnet3", "convnet3", "accuracy_percent")
    assert row.setting == {"lambda": "num_classes", "distance": "d1+0.1*d2"}
    assert (row.mean, row.std, row.decimals, row.note) == (58.6, 0.4, 1, "")
    whole = find("cafe/table1", "cifar100/all/whole")
    assert (whole.ipc, whole.mean, whole.decimals) == (None, 56.17, 2)
    assert whole.value == "56.17 ± 0.30 %"
    assert find("cafe/table2", "cifar10/50/cafe/dl=yes,lfa=yes,dynamic=yes").std is None


def test_names_are_unique_and_no_longer_than_they_need_be() -> None:
    for place, rows in tables().items():
        names = [row.name for row in rows]
        assert len(set(names)) == len(names), place
        plain = Counter("/".join(name.split("/")[:3]) for name in names)
        for row in rows:
            base = f"{row.dataset}/{'all' if row.ipc is None else row.ipc}/{row.method}"
            assert row.name == base or row.name.startswith(f"{base}/")
            assert (row.name == base) or plain[base] > 1, (place, row.name)
    assert len({row.address for row in published()}) == sum(TOTALS.values())
    # What stands in scripts and results stays.
    for place, name in (
        ("dc/table1", "mnist/1/dc"),
        ("dc/table1", "mnist/all/whole"),
        ("dc/table2", "mnist/1/dc/test_net=mlp,train_net=convnet3"),
        ("dc/tableT5", "mnist/1/dc/synth_norm=none,norm=batch"),
        ("dm/table3", "cifar10/50/dsa/test_net=vgg11"),
        ("idc/table7", "cifar10/50/idc/test_net=convnet3,factor=4"),
    ):
        assert find(place, name).name == name


def test_rows_are_picked_by_name_and_by_pattern() -> None:
    assert [r.name for r in pick("dc/table1", ["mnist/10/*", "mnist/1/dc"])] == [
        "mnist/1/dc", "mnist/10/random", "mnist/10/herding", "mnist/10/k_center",
        "mnist/10/forgetting", "mnist/10/dc",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="36 rows mnist/1/dc: name one of mnist/1/dc/test_net"):
        pick("dc/table2", ["mnist/1/dc"])
    with pytest.raises(UsageError, match=r"did you mean 'mnist/1/dc'\? See condensery reproduce"):
        pick("dc/table1", ["mnist/1/dcc"])
    with pytest.raises(UsageError, match=r"unknown table 'dc/table11'.*did you mean 'dc/table1'"):
        pick("dc/table11", ["mnist/1/dc"])
    with pytest.raises(UsageError, match="unknown paper 'dq'"):
        pick("dq/table1", ["mnist/1/dc"])


# Address: method, overrides, test network, protocol, sets × networks. Read off the papers by hand.
BY_HAND: dict[str, tuple[str, dict[str, Any], str, str, str]] = {
    "dc/table1/mnist/1/random": ("random", {}, "convnet3", "dc", "5x20"),
    # DC's words for herding: "the closest samples to the cluster center".
    "dc/table1/svhn/10/herding": ("nearest", {}, "convnet3", "dc", "5x20"),
    "dm/table1/cifar10/10/herding": ("nearest", {}, "convnet3", "dc", "5x20"),
    "dc/table1/cifar10/10/dc": ("dc", {"net": "convnet3"}, "convnet3", "dc", "5x20"),
    "dc/table1/mnist/all/whole": ("whole", {}, "convnet3", "dc", "1x5"),
    "dc/table2/mnist/1/dc/test_net=vgg11,train_net=resnet18": (
        "dc", {"net": "resnet18_ap"}, "vgg11", "dc", "5x20"),
    "dc/table2/mnist/1/dc/test_net=resnet18,train_net=mlp": (
        "dc", {"net": "mlp"}, "resnet18", "dc", "5x20"),
    "dc/table3/mnist/10/dc": ("dc", {"net": "lenet"}, "lenet", "dc", "5x20"),
    "dc/tableT3/mnist/1/dc/synth_activation=sigmoid,cls_activation=leaky_relu": (
        "dc", {"net": "convnet3:activation=sigmoid"}, "convnet3:activation=leaky_relu",
        "dc", "5x20"),
    "dc/tableT4/mnist/1/dc/synth_pooling=avg,cls_pooling=none": (
        "dc", {"net": "convnet3"}, "convnet3:pooling=none", "dc", "5x20"),
    "dc/tableT5/mnist/1/dc/synth_norm=batch,norm=instance": (
        "dc", {"net": "convnet3:norm=batch"}, "convnet3", "dc", "5x20"),
    "dc/tableT6/mnist/1/dc/test_net=convnet2,train_net=convnet4": (
        "dc", {"net": "convnet4"}, "convnet2", "dc", "5x20"),
    "dc/tableT7/mnist/1/dc/synth_width=32,cls_width=256": (
        "dc", {"net": "convnet3:width=32"}, "convnet3:width=256", "dc", "5x20"),
    "dm/table1/cifar10/10/dm": ("dm", {"net": "convnet3"}, "convnet3", "dsa", "5x20"),
    "dm/table1/cifar10/10/dsa": ("dsa", {"net": "convnet3"}, "convnet3", "dsa", "5x20"),
    "dm/table1/cifar10/50/dc": ("dc", {"net": "convnet3"}, "convnet3", "dc", "5x20"),
    "dm/table1/tiny_imagenet/10/dm": ("dm", {"net": "convnet4"}, "convnet4", "dsa", "5x20"),
    "dm/table2/cifar100/50/dm/norm=batch": (
        "dm_bn", {"net": "convnet3"}, "convnet3:norm=batch", "dsa", "5x20"),
    "dm/table2/cifar10/50/dsa/norm=batch": (
        "dsa", {"net": "convnet3:norm=batch"}, "convnet3:norm=batch", "dsa", "5x20"),
    "dm/table3/cifar10/50/dm/test_net=alexnet,train_net=resnet18": (
        "dm_bn", {"net": "resnet18_ap"}, "alexnet:norm=batch", "dsa", "5x20"),
    "dm/table4/cifar10/10/dm/embedding_networks=random_init": (
        "dm", {"net": "convnet3"}, "convnet3", "dsa", "5x20"),
    "dm/tableT6/cifar10/10/mmd": ("mmd", {}, "convnet3", "dsa", "5x20"),
    "cafe/table1/svhn/10/cafe": ("cafe", {"net": "convnet3"}, "convnet3", "dc", "5x20"),
    "cafe/table1/svhn/10/cafe_dsa": ("cafe_dsa", {"net": "convnet3"}, "convnet3", "dsa", "5x20"),
    "cafe/table2/cifar10/50/cafe/dl=yes,lfa=no,dynamic=yes": (
        "cafe_paper", {"net": "convnet3", "objective.layers": []}, "convnet3", "dc", "5x20"),
    "cafe/table2/cifar10/50/cafe/dl=no,lfa=yes,dynamic=no": (
        "cafe_paper",
        {"net": "convnet3", "objective.discrimination": 0.0,
         "supply.kind": "trained_on_synthetic"},
        "convnet3", "dc", "5x20"),
    "cafe/table4/cifar10/50/cafe/lfa_layers=1+2+3+4,dl=no": (
        "cafe_paper", {"net": "convnet3", "objective.discrimination": 0.0},
        "convnet3", "dc", "5x20"),
    "cafe/table5/cifar10/50/cafe/gamma=15,metric=accuracy_percent": (
        "cafe_paper", {"net": "convnet3", "supply.gamma": 15}, "convnet3", "dc", "5x20"),
    "cafe/table6/cifar10/50/cafe/test_net=mlp": (
        "cafe", {"net": "convnet3"}, "mlp", "dc", "5x20"),
    "gm/table1/mnist/10/gm_inter": ("gm_inter", {"net": "convnet3"}, "convnet3", "gm", "2x50"),
    "gm/table1/mnist/10/dc": ("dc", {"net": "convnet3"}, "convnet3", "dc", "5x20"),
    "gm/table2/svhn/1/gm_variant/distance=d1+100*d4": (
        "gm_m", {"net": "convnet3", "objective.distance": "cosine+100*mean_squared"},
        "convnet3", "gm", "2x50"),
    "gm/table3/cifar10/50/gm_mdo": (
        "gm_mdo", {"net": "convnet3", "objective.distance": "cosine+0.1*l2"},
        "convnet3", "gm", "2x50"),
    "gm/table4/mnist/1/gm_md/test_net=lenet,train_net=vgg11": (
        "gm_md", {"net": "vgg11", "objective.distance": "cosine+l2"}, "lenet", "gm", "2x50"),
    "gm/text-4.4/cifar10/10/gm_o": (
        "gm_mdo",
        {"net": "convnet3", "objective.level": "intra", "objective.distance": "cosine"},
        "convnet3", "gm", "2x50"),
    "idc/table1/cifar10/10/herding/test_net=convnet3": ("herding", {}, "convnet3", "idc", "1x3"),
    "idc/table1/cifar10/10/random/test_net=densenet121": (
        "random", {}, "densenet121", "idc", "1x3"),
    "idc/table1/cifar10/10/dsa/test_net=convnet3": (
        "dsa", {"net": "convnet3"}, "convnet3", "dsa", "5x20"),
    "idc/table1/cifar10/10/dsa/test_net=resnet10": (
        "dsa", {"net": "convnet3"}, "resnet10", "dsa", "1x3"),
    "idc/table1/cifar10/50/idc/test_net=resnet10": (
        "idc", {"net": "convnet3"}, "resnet10", "idc", "1x3"),
    "idc/table2/cifar10/50/idc/test_net=convnet3": (
        "idc", {"net": "convnet3"}, "convnet3", "idc_steps", "1x3"),
    "idc/table3/imagenet10/10/idc_i/test_net=resnet18": (
        "idc_i", {"net": "resnetap10"}, "resnet18_imagenet", "idc", "1x3"),
    "idc/table5/cifar10/50/idc_i/test_net=convnet3,network_data=real,objective=cosine": (
        "idc_i_real_cosine", {"net": "convnet3"}, "convnet3", "idc", "1x3"),
    "idc/table6/cifar10/200/idc_i/test_net=convnet3": (
        "idc_i", {"net": "convnet3"}, "convnet3", "idc", "1x3"),
    "idc/table7/imagenet10/20/idc/test_net=resnet_ap10,factor=4": (
        "idc", {"net": "resnetap10", "formation.factor": 4}, "resnetap10", "idc", "1x3"),
    "idc/table8/cifar10/10/idc/test_net=resnet10,formation=multi_scale": (
        "idc", {"net": "convnet3", "formation.mode": "multi_scale"}, "resnet10", "idc", "1x3"),
    "idc/table9/cifar10/10/idc/test_net=convnet3,factor=3,formation=fsrcnn": (
        "idc",
        {"net": "convnet3", "formation.kind": "fsrcnn", "formation.factor": 3,
         "formation.space": "unit"},
        "convnet3", "idc", "1x3"),
    "idc/table10/mnist/10/dm": ("dm", {"net": "convnet3"}, "convnet3", "dsa", "5x20"),
    "idc/table10/svhn/10/dm": ("dm", {"net": "convnet3"}, "convnet3", "idc", "1x3"),
    "idc/table11/cifar10/50/idc/condense_aug=weak,eval_aug=strong": (
        "idc", {"net": "convnet3", "supply.cutmix": 0.0}, "convnet3", "idc", "1x3"),
    "idc/table12/cifar10/10/idc_i/test_net=resnet10,train_net=resnet10": (
        "idc_i", {"net": "resnet10:norm=instance"}, "resnet10", "idc", "1x3"),
    "idc/table13/cifar10/50/dm_mf/test_net=convnet3": (
        "dm_mf", {"net": "convnet3"}, "convnet3", "idc", "1x3"),
}  # fmt: skip

# Address: status, and words of the reason.
NOT_RUN = {
    "dc/table3/mnist/10/dd": ("no recipe", "distillation"),
    "dc/table3/cifar10/10/dc": ("no recipe", "augmentation that is not stated"),
    "dc/text-3.2/svhn+mnist+usps/10/dc": ("not accuracy", "percentage points"),
    "dc/tableT1/mnist/all/whole/split=test": ("not accuracy", "images"),
    "dm/table4/cifar10/1/dm/embedding_networks=ge70": ("no recipe", "pool"),
    "dm/table1/tiny_imagenet/10/herding": ("no recipe", "not stated"),
    "dm/tableT6/cifar10/1/biggan": ("no recipe", "generative"),
    "dm/text-3.2/cifar10/100/dm/metric=relative_accuracy_percent": ("not accuracy", "relative"),
    "cafe/table1/cifar100/50/k_center": ("no recipe", "uncertain"),
    "cafe/table3/cifar10/50/cafe/lfa_layers=4,dl=no": ("no recipe", "layers"),
    "gm/text-4.5/tiny_imagenet/1/gm": ("no recipe", "variant"),
    "idc/table1/cifar10/10/kip": ("no recipe", "kip"),
    "idc/table3/imagenet10/10/dm/test_net=resnet18": ("no recipe", "not stated"),
    "idc/table6/cifar10/200/idc_i_post/test_net=resnet10": ("no recipe", "shrunk"),
    "idc/table11/cifar10/50/random/eval_aug=weak": ("no recipe", "setting eval_aug=weak"),
}


def row_at(address: str) -> Published:
    place = "/".join(address.split("/")[:2])
    return find(place, address.removeprefix(f"{place}/"))


@pytest.mark.parametrize("address", BY_HAND)
def test_rows_are_mapped_as_the_papers_say(address: str) -> None:
    method, over, net, protocol, counts = BY_HAND[address]
    over = {"supply.net" if name == "net" else name: value for name, value in over.items()}
    found = experiment_of(row_at(address))
    assert isinstance(found, Experiment)
    row = row_at(address)
    assert (found.data, found.ipc) == (row.dataset, row.ipc)
    assert (found.method, dict(found.overrides), found.net) == (method, over, net)
    assert (found.protocol, f"{found.sets}x{found.nets}", found.zca) == (protocol, counts, False)


# Address: command, method, what it needs beside its data, sets × networks.
APPLIED = {
    "dc/table4/svhn/10/dc": ("adapt", "dc", ("mnist",), "1x5"),
    "dc/table4/mnist/10/herding": ("adapt", "nearest", ("svhn",), "1x5"),
    "dc/table4/mnist/all/no_adaptation": ("adapt", "none", ("svhn",), "1x5"),
    "dc/text-3.2/mnist/10/dc": ("adapt", "dc", ("svhn",), "1x5"),
    "dm/table5/cifar10/50/dsa/quantity=best_selected_model": ("search", "dsa", (), "1x5"),
    "dm/text-3.5/cifar100/20/random/steps=5": ("continual", "random", (), "5x3"),
}


def test_rows_of_applications_are_mapped() -> None:
    names = {row.address for row in published()}
    for address, (command, method, needs, counts) in APPLIED.items():
        assert address in names, sorted(n for n in names if n.startswith(address[:16]))
        found = experiment_of(row_at(address))
        assert isinstance(found, Experiment)
        assert found.use is not None
        assert (found.use.command, found.method) == (command, method)
        assert found.needs == (found.data, *needs)
        assert f"{found.sets}x{found.nets}" == counts
        assert found.assumptions


def test_whitening_is_part_of_a_mapping() -> None:
    white = experiment_of(find("idc/table14", "cifar10/10/idc/zca=yes,condense_aug=weak"))
    plain = experiment_of(find("idc/table14", "cifar10/10/idc/zca=no,condense_aug=strong"))
    assert isinstance(white, Experiment)
    assert isinstance(plain, Experiment)
    assert (white.zca, plain.zca) == (True, False)
    assert white.overrides["supply.cutmix"] == 0
    assert "supply.cutmix" not in plain.overrides


@pytest.mark.parametrize("address", NOT_RUN)
def test_rows_that_nothing_is_run_for_say_why(address: str) -> None:
    status, words = NOT_RUN[address]
    found = experiment_of(row_at(address))
    assert isinstance(found, Unmapped)
    assert found.status == status
    assert words in found.reason


def test_a_setting_that_is_not_understood_is_not_run() -> None:
    row = find("idc/table7", "cifar10/50/idc/test_net=convnet3,factor=2")
    odd = Published(**{**vars(row), "setting": {"factor": "2", "moon": "full"}})
    assert experiment_of(odd) == Unmapped("no recipe", "setting moon=full")


#: What recipes ask of data: shape and classes; nothing is decoded.
SHAPES = {
    "mnist": (1, 28, 10),
    "fashion_mnist": (1, 28, 10),
    "svhn": (3, 32, 10),
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
    "tiny_imagenet": (3, 64, 200),
    "imagenet1k": (3, 64, 1000),
    "imagenet10": (3, 224, 10),
    "imagenet100": (3, 224, 100),
    "mini_speech_commands": (1, 64, 8),
}


def stand_in(name: str) -> Any:
    channels, side, classes = SHAPES[name]
    train = SimpleNamespace(shape=(channels, side, side), classes=classes)
    rate = 16000 if name == "mini_speech_commands" else None
    net = default_net(side, side) if side <= 128 else "resnetap10"
    plain = {"layout": None, "value_range": None}
    return SimpleNamespace(train=train, known_as=name, spec=name, net=net, rate=rate, **plain)


def test_every_row_has_a_status_and_everything_that_is_run_can_be_configured() -> None:
    seen: dict[str, RunConfig] = {}
    built = set[tuple[str, str]]()

    def check_net(net: str, name: str) -> None:
        if (net, name) not in built:
            built.add((net, name))
            shape = stand_in(name).train.shape
            with torch.device("meta"):
                build(net, shape, stand_in(name).train.classes)

    statuses = Counter[str]()
    applied: list[Published] = []
    for row in published():
        found = experiment_of(row)
        if isinstance(found, Unmapped):
            statuses[found.status] += 1
            assert found.reason
            assert (found.status == "not accuracy") == (row.metric != "accuracy_percent")
            continue
        statuses["run"] += 1
        if found.use is not None:
            applied.append(row)
            continue
        assert found.protocol in protocol_names()
        check_net(found.net, found.data)
        if found.kind != "condense":
            assert not found.overrides
            continue
        key = repr((found.data, found.method, found.ipc, found.overrides))
        if key not in seen:
            given = {"ipc": found.ipc, **found.overrides}
            seen[key] = configure(stand_in(found.data), found.method, given)
            check_net(seen[key].supply.settings["net"], found.data)
    assert statuses.total() == sum(TOTALS.values())
    assert statuses["not accuracy"] == 103
    assert statuses["run"] == 828 + 36
    assert Counter(f"{row.paper}/{row.table}" for row in applied) == {
        "dc/table4": 22, "dc/text-3.2": 1, "dm/table5": 5, "dm/text-3.5": 8,
    }  # fmt: skip
    # The papers' differences arrive in the configuration.
    configs = list(seen.values())
    assert any(c.supply.settings.get("norm") == "batch" for c in configs if c.recipe == "dc")
    assert any(c.formation.kind == "fsrcnn" for c in configs)


# --- verdicts ------------------------------------------------------------------------------------


def row_of(mean: float, std: float | None, decimals: int = 1) -> Published:
    row = find("dc/table1", "mnist/1/dc")
    return Published(**{**vars(row), "mean": mean, "std": std, "decimals": decimals})


@pytest.mark.parametrize(
    ("theirs", "ours", "word", "basis"),
    [
        ((91.7, 0.5), [91.2], "within", "their std"),  # the bound itself, whatever floats make it
        ((91.7, 0.5), [92.2], "within", "their std"),
        ((91.7, 0.5), [91.19], "below", "their std"),
        ((91.7, 0.5), [92.0, 92.42], "above", "their std"),
        ((99.6, 0.0), [99.55], "within", "their rounding"),
        ((99.6, 0.0), [99.54], "below", "their rounding"),
        ((58.3, None), [57.0, 59.0], "within", "our std"),
        ((58.3, None), [57.0, 57.2], "below", "our std"),
        ((58.3, None), [58.34], "within", "their rounding"),
        ((58.3, None), [58.4], "above", "their rounding"),
    ],
)
def test_verdicts(
    theirs: tuple[float, float | None], ours: list[float], word: str, basis: str
) -> None:
    found = verdict(row_of(*theirs), ours)
    assert (found.word, found.basis) == (word, basis)
    assert found.difference == pytest.approx(np.mean(ours) - theirs[0])
    assert found.short == ("reproduced" if word == "within" else word)


def test_a_std_that_is_not_printed_is_taken_from_us() -> None:
    ours = [57.0, 59.0, 60.5]
    assert verdict(row_of(58.3, None), ours).tolerance == pytest.approx(np.std(ours))
    # Half a unit of the last printed digit is the least.
    assert verdict(row_of(55.5, None, decimals=2), [55.5]).tolerance == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (Amount(scale=0.05), "at scale 0.05"),
        (Amount(sets=1), "1 of 5 sets"),
        (Amount(sets=7), "7 sets, not 5"),
        (Amount(nets=1), "1 of 20 networks"),
        (Amount(epochs=300), "epochs=300"),
        (Amount(data="digits"), "on digits"),
    ],
)
def test_what_departs_from_the_paper_is_never_called_reproduced(amount: Amount, said: str) -> None:
    row = find("dc/table1", "mnist/1/dc")
    experiment = experiment_of(row)
    assert isinstance(experiment, Experiment)
    assert amount.departures(experiment) == (said,)
    found = verdict(row, [91.7], amount.departures(experiment))
    assert (found.short, found.text) == ("within 1 std", f"within 1 std ({said})")
    assert verdict(row, [91.7], Amount().departures(experiment)).text == "reproduced"


def test_departures_know_what_a_row_is_made_of() -> None:
    whole = experiment_of(find("dc/table1", "mnist/all/whole"))
    random = experiment_of(find("dc/table1", "mnist/1/random"))
    assert isinstance(whole, Experiment)
    assert isinstance(random, Experiment)
    # The whole data's schedule is ours, so it is never reproduced; nothing is scaled there.
    assert Amount(scale=0.5, sets=3).departures(whole) == ("our schedule for the whole data",)
    assert Amount(scale=0.5).departures(random) == ()
    assert Amount(sets=5, nets=20, data="mnist").departures(random) == ()


def test_a_scale_moves_the_drops_with_the_iterations() -> None:
    config = configure(stand_in("mnist"), "cafe", {"ipc": 1})
    short = scaled(config, 0.05)
    assert (config.iterations, config.optimizer.drops) == (2000, [1200, 1400, 1800])
    assert (short.iterations, short.optimizer.drops) == (100, [60, 70, 90])
    # The rate is the same at the same share of the schedule, and nothing else moves.
    for k in range(100):
        assert short.optimizer.rate_at(k) == config.optimizer.rate_at(20 * k)
    same = {**short.as_dict(), "iterations": 2000, "optimizer": config.as_dict()["optimizer"]}
    assert same == config.as_dict()
    assert scaled(config, 1.0) is config
    least = scaled(config, 1e-6)
    assert (least.iterations, least.optimizer.drops) == (1, [1, 1, 1])


# --- running -------------------------------------------------------------------------------------

QUICK = ["--data", "digits", "--scale", "0.002", "--epochs", "2", "--threads", "1"]
SHORT = ["reproduce", "dc/table1", "--row", "mnist/1/dc", *QUICK, "--sets", "1", "--nets", "1"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONDENSERY_DATA", raising=False)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "no-hub"))
    return tmp_path


@pytest.fixture
def small(here: Path) -> list[str]:
    """Flags that name three classes of images, lying here; a fifth of them is for testing."""
    train = tiny((80, 80, 80)).train
    np.savez(here / "small.npz", images=train.images.numpy(), labels=train.labels.numpy())
    return ["--data", "small.npz"]


def test_a_row_from_end_to_end(small: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    wanted = [*SHORT, *small]
    assert main([*wanted, "--json", "r.json"]) == 0
    out = capsys.readouterr().out
    departures = "on small.npz, at scale 0.002, 1 of 5 sets, 1 of 20 networks, epochs=2"
    assert "published 91.7 ± 0.5 %" in out
    assert f"here: {departures}" in out
    assert "1 row, about" in out
    assert "reproduced" not in out.replace("reproduce dc", "")
    (made,) = json.loads(Path("r.json").read_text())["results"]
    (file,) = Path("runs/reproduce/results/dc/table1").iterdir()
    assert json.loads(file.read_text()) == made
    assert made["published"]["mean"] == 91.7
    assert (made["n"], made["protocol"], made["scale"]) == (1, "dc+epochs=2", 0.002)
    assert (made["iterations"], made["experiment"]["data"]) == (2, "small.npz")
    assert made["verdict"] in ("above", "below", "within 1 std")
    (folder,) = Path("runs/reproduce/sets").glob("*-dc-ipc1-scale=0.002/0")
    # A processor with bf16 units condenses with them, and the verdict says so.
    narrow = narrow_types(json.loads((folder / "run.json").read_text())["plan"])
    types = [f"condensed with {kind}" for kind in narrow]
    assert made["verdict_text"].endswith(f"({', '.join([departures, *types])})")
    assert made["accuracies"] == [a for one in made["sets"] for a in one]
    data = load("small.npz")
    assert made["contents"] == contents(data)
    assert made["fingerprints"]["test"] == data.test.fingerprint
    assert {"commit", "version", "versions", "hardware", "seed", "std", "plan"} <= set(made)
    assert made["command"].split()[1:] == [*SHORT[:4], "--scale", "0.002", "--sets", "1",
        "--nets", "1", "--epochs", "2", "--data", "small.npz", "--threads", "1"]  # fmt: skip
    config = json.loads(json.dumps(made["condensing"]))
    assert config["seconds"] >= 0
    # It is what the other commands give: the set, and its accuracy.
    plain = ["condense", "--recipe", "dc", *small, "--ipc", "1", "--iterations", "2"]
    assert main([*plain, "--threads", "1", "--out", "plain", "--quiet"]) == 0
    sets = [(place / "condensed.safetensors").read_bytes() for place in (folder, Path("plain"))]
    assert sets[0] == sets[1]
    (tested,) = evaluate(
        str(folder), "small.npz", network="convnet3", protocol="dc", repeats=1, epochs=2, threads=1
    )
    assert list(tested.accuracies) == made["accuracies"]
    # Again: nothing is left to do, and the result is the same.
    before = file.read_text()
    assert main(wanted) == 0
    assert "condensing set" not in capsys.readouterr().out
    assert file.read_text() == before


def test_it_goes_on_where_it_was_stopped(
    small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "mnist/1/dc/test_net=convnet1,train_net=convnet1"
    wanted = [
        "reproduce",
        "dc/tableT6",
        "--row",
        name,
        *QUICK,
        *small,
        "--sets",
        "2",
        "--nets",
        "2",
    ]
    assert main([*wanted, "--out", "whole", "--quiet"]) == 0

    # Ctrl-C in the first set, between two pixel steps.
    with monkeypatch.context() as patched:
        keep = RunFolder.metrics

        def stop(self: RunFolder, line: dict[str, Any]) -> None:
            keep(self, line)
            os.kill(os.getpid(), signal.SIGINT)

        patched.setattr(RunFolder, "metrics", stop)
        assert main([*wanted, "--out", "parts"]) == 130
    assert "the same command continues parts" in capsys.readouterr().err
    assert not list(Path("parts").rglob("condensed.safetensors"))

    # Ctrl-C after the third network: that one is kept.
    with monkeypatch.context() as patched:
        remember, counted = KeptCells.keep, [0]

        def then_stop(
            self: KeptCells, cell: Cell, number: int, network: int, found: Measured
        ) -> None:
            remember(self, cell, number, network, found)
            counted[0] += 1
            if counted[0] == 3:
                raise KeyboardInterrupt

        patched.setattr(KeptCells, "keep", then_stop)
        assert main([*wanted, "--out", "parts"]) == 130
    assert not list(Path("parts/results").rglob("*.json"))
    kept = [json.loads(file.read_text()) for file in Path("parts/tested").glob("*.json")]
    assert sorted(len(one["networks"]) for one in kept) == [1, 2]
    capsys.readouterr()
    assert main([*wanted, "--out", "parts"]) == 0
    assert "condensing set" not in capsys.readouterr().out

    results = [next(Path(place).glob("results/**/*.json")) for place in ("whole", "parts")]
    first, second = (json.loads(file.read_text()) for file in results)
    assert first["sets"] == second["sets"]
    assert len({a for one in first["sets"] for a in one}) > 1
    # As evaluate numbers the networks of a folder of several sets.
    home = next(Path("parts/sets").iterdir())
    (row,) = evaluate(
        str(home), "small.npz", network="convnet1", protocol="dc", repeats=2, epochs=2, threads=1
    )
    assert [list(one) for one in row.sets] == first["sets"]


def test_rows_that_differ_in_their_test_share_their_sets(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"mnist/1/dc/test_net={net},train_net=convnet3" for net in ("convnet1", "convnet2")]
    wanted = ["reproduce", "dc/tableT6", "--row", names[0], "--row", names[1], *QUICK, *small]
    assert main([*wanted, "--sets", "1", "--nets", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("condensing set") == 1
    assert "for 1 set to condense" in out
    assert len(list(Path("runs/reproduce/sets").iterdir())) == 1
    assert len(list(Path("runs/reproduce/results/dc/tableT6").iterdir())) == 2
    # Another table takes the same set.
    assert main([*SHORT, *small]) == 0
    assert "condensing set" not in capsys.readouterr().out


def test_selections_and_the_whole_data_are_rows_too(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--row", "mnist/1/random", "mnist/all/whole"]
    wanted = ["reproduce", "dc/table1", *rows, *small, "--threads", "1"]
    assert main([*wanted, "--sets", "2", "--nets", "1", "--epochs", "1", "--scale", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "select random; convnet3, protocol dc, 5 × 20" in out
    files = sorted(Path("runs/reproduce/results/dc/table1").iterdir())
    random, whole = (json.loads(file.read_text()) for file in files)
    assert (random["n"], random["scale"], random["iterations"]) == (2, 1.0, None)
    assert (whole["n"], whole["protocol"]) == (1, "whole(epochs=1)+dc")
    assert "our schedule for the whole data" in whole["departures"]
    for seed in range(2):
        (folder,) = Path("runs/reproduce/sets").glob(f"*-random-ipc1/{seed}")
        expected = select_random(load("small.npz"), ipc=1, seed=seed)
        assert torch.equal(CondensedSet.load(folder).stored, expected.stored)


def test_a_table_without_a_row_takes_what_can_be_run(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    taken = ["reproduce", "dm/tableT6", *QUICK, *small, "--sets", "1", "--nets", "1"]
    taken += ["--scale", "0.0001"]
    assert main(taken) == 0
    out = capsys.readouterr().out
    assert "left out: 9 of 18 rows: cifar10/1/gmmn (no recipe: generative" in out
    assert "9 rows, about" in out
    files = Path("runs/reproduce/results/dm/tableT6").iterdir()
    methods = Counter(json.loads(file.read_text())["published"]["method"] for file in files)
    assert methods == {"random": 3, "mmd": 3, "dm": 3}
    # Without the data nothing is downloaded unless a row is named.
    assert main(["reproduce", "gm/table2"]) == 2
    captured = capsys.readouterr()
    assert "data is unavailable here: svhn" in captured.out
    assert "no rows of gm/table2 can be run" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a table, such as dc/table1"),
        (["dc/table3", "--row", "mnist/10/dd"], "cannot be run: no recipe"),
        (["dc/table1", "--scale", "0"], "--scale must be above 0"),
        (["dc/table1", "--scale", "1.5"], "--scale must be above 0"),
        (["dc/table1", "--sets", "0"], "--sets must be at least 1"),
        (["dc/table1", "--nets", "0"], "--nets must be at least 1"),
        (["dc/table1", "--seed", "-1"], "--seed must be at least 0"),
        (["dc/table1", "--markdown", "x.md"], "--markdown requires --status"),
        (["--status", "--row", "mnist/1/dc"], "leave out --row and --list"),
        (["--status", "--results", "nowhere"], "--results nowhere is not a folder"),
        (["dc/table1", "--row", "mnist/1/dc", "--out", "taken"], "--out taken is a file"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("")
    assert main(["reproduce", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not Path("runs").exists()


# --- status --------------------------------------------------------------------------------------


def result(address: str, accuracies: list[float], departures: list[str], **more: Any) -> Any:
    held: dict[str, Any] = {"address": address, "accuracies": accuracies, "departures": departures}
    held["contents"] = dict(ORIGINALS["mnist"])
    return {**held, "protocol": "dc", "scale": 1.0, "commit": None, **more}


def test_status_counts_every_row_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = here / "results"
    full = {"a": ("random", [64.0, 66.0]), "b": ("herding", [95.0]), "c": ("k_center", [80.0])}
    for name, (method, accuracies) in full.items():
        write_json(folder / f"{name}.json", result(f"dc/table1/mnist/1/{method}", accuracies, []))
    tried = result("dc/table1/mnist/1/dc", [91.7], ["at scale 0.1"], scale=0.1)
    write_json(folder / "deep" / "d.json", tried)
    # A row with a full result and a short one counts by the full one, whatever its verdict says.
    short = result("dc/table1/mnist/1/random", [10.0], ["1 of 5 sets"], verdict="reproduced")
    write_json(folder / "e.json", short)

    found = statuses(read_records(folder), lambda name: name == "mnist")
    held = {c.row.name: c.status for c in found["dc/table1"]}
    assert held["mnist/1/random"] == "reproduced"
    assert (held["mnist/1/herding"], held["mnist/1/k_center"]) == ("above", "below")
    assert (held["mnist/1/dc"], held["mnist/10/dc"]) == ("tried", "untried")
    assert held["svhn/1/dc"] == "data is unavailable here"
    # One of the two data sets of a row is not enough.
    assert {c.status for c in found["dc/table4"]} == {"data is unavailable here"}
    assert {c.status for c in found["dc/tableT2"]} == {"not accuracy"}
    counts = Counter(c.status for rows in found.values() for c in rows)
    assert counts.total() == sum(TOTALS.values())
    assert set(counts) == set(STATUSES)

    assert main(["reproduce", "--status", "--results", str(folder), "--json", "s.json"]) == 0
    out = capsys.readouterr().out
    assert "within 1 std (at scale 0.1)" in out
    assert re.search(r"\nall +1137 ", out)
    rows = json.loads(Path("s.json").read_text())["rows"]
    assert len(rows) == sum(TOTALS.values())
    assert main(["reproduce", "--status", "dc/table1", "--results", str(folder)]) == 0
    assert "dc/table2" not in capsys.readouterr().out

    torn = folder / "deep" / ".d-writing-1" / "d.json"  # by a process that was killed
    torn.parent.mkdir()
    torn.write_text('{"address": ')
    assert len(read_records(folder)) == 5

    write_json(folder / "f.json", {"results": []})
    assert main(["reproduce", "--status", "--results", str(folder)]) == 1
    assert "f.json was not written by reproduce" in capsys.readouterr().err
    write_json(folder / "f.json", result("dc/table1/mnist/1/none", [1.0], []))
    with pytest.raises(DataError, match="was not written by reproduce"):
        read_records(folder)


def test_data_are_the_originals_by_their_content_in_any_order() -> None:
    data = tiny()
    train = data.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    shuffled = dataclasses.replace(train, images=train.images[order], labels=train.labels[order])
    assert content_of(shuffled) == content_of(train)
    other = train.images.clone()
    other[3, 0, 0, 0] ^= 1
    wrong = train.labels.clone()
    wrong[0], wrong[-1] = wrong[-1].item(), wrong[0].item()
    for changed in (
        dataclasses.replace(train, images=other),
        dataclasses.replace(train, labels=wrong),
        dataclasses.replace(train, images=train.images.flatten(2).unflatten(2, (4, 16))),
    ):
        assert content_of(changed) != content_of(train)
    known = ORIGINALS["mnist"]
    assert departure("mnist", known) is None
    assert departure("mnist", {**known, "test": known["train"]}) == OTHER_CONTENT
    for name, found in (("mnist", None), ("mnist", {"train": known["train"]}), ("cifar10", known)):
        assert departure(name, found) == NOT_COMPARED


@pytest.mark.parametrize("name", [pytest.param("mnist", marks=pytest.mark.slow), "usps"])
def test_real_data_are_the_originals(name: str, real_data: Path) -> None:
    if not (real_data / name).is_dir():
        pytest.skip(f"put {name} into CONDENSERY_DATA to run this test")
    assert departure(name, contents(load(name))) is None


def test_only_a_row_on_the_original_reads_reproduced(here: Path) -> None:
    """Whatever a file says of itself: what counts is the content that it notes."""
    full = [("dc/table1/mnist/1/random", 64.9), ("dc/table1/cifar10/1/random", 14.4)]
    cases: list[tuple[int, Any, str]] = [
        (0, dict(ORIGINALS["mnist"]), "reproduced"),
        (0, None, f"within 1 std ({NOT_COMPARED})"),
        (0, {"train": "1", "test": "2"}, f"within 1 std ({OTHER_CONTENT})"),
        (1, dict(ORIGINALS["mnist"]), f"within 1 std ({NOT_COMPARED})"),
        (1, {"train": "1", "test": "2"}, f"within 1 std ({NOT_COMPARED})"),
    ]
    for number, (which, held, text) in enumerate(cases):
        address, mean = full[which]
        made = result(address, [mean] * 100, [], contents=held)
        write_json(here / str(number) / "a.json", made)
        (one,) = read_records(here / str(number))
        assert one.verdict.text == text
    # What was not compared then may be listed now.
    made = result(full[0][0], [64.9] * 100, [NOT_COMPARED])
    write_json(here / "later" / "a.json", made)
    assert read_records(here / "later")[0].verdict.text == "reproduced"


def test_narrow_number_types_of_condensing_are_departures(here: Path) -> None:
    """Plans that round more than float32 were not shown to give equal sets."""
    said = "condensed in number types that were not recorded"
    cases: list[tuple[dict[str, Any] | None, str]] = [
        ({"plans": ["exact"]}, "reproduced"),
        ({"plans": ["auto"], "narrow": []}, "reproduced"),
        ({"plans": ["auto"]}, f"within 1 std ({said})"),
        (
            {"plans": ["auto"], "narrow": ["TF32", "bfloat16"]},
            "within 1 std (condensed with TF32 and bfloat16)",
        ),
    ]
    for number, (condensing, text) in enumerate(cases):
        made = result("dc/table1/mnist/1/dc", [91.7] * 100, [said])
        write_json(here / str(number) / "a.json", {**made, "condensing": condensing})
        (one,) = read_records(here / str(number))
        assert one.verdict.text == text


def test_plans_say_which_types_are_narrow() -> None:
    plan = {"device": "cuda:0", "real_dtype": "bfloat16", "update_dtype": "float32", "tf32": True}
    assert narrow_types(plan) == ["bfloat16", "TF32"]
    assert narrow_types({**plan, "device": "cpu"}) == ["bfloat16"]
    assert narrow_types({**plan, "real_dtype": "float32", "tf32": False}) == []


def test_an_installed_package_has_no_results(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = here / "site-packages" / "condensery"
    monkeypatch.setattr("condensery.runtime.provenance.PACKAGE", installed)
    assert main(["reproduce", "--status"]) == 0
    assert "no results: an installed package has none" in capsys.readouterr().out


def test_data_are_looked_for_without_the_network(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(here / "hub"))
    names = ("digits", "mnist", "svhn", "imagenet10", "fsdd", "no_such_set")
    assert [name for name in names if lies_here(name)] == ["digits"]
    (here / "hub" / "ylecun___mnist").mkdir(parents=True)
    (here / "data" / "imagenet1k").mkdir(parents=True)
    monkeypatch.setenv("CONDENSERY_DATA", str(here / "data"))
    assert [name for name in names if lies_here(name)] == ["digits", "mnist", "imagenet10"]


def test_lists_say_what_would_be_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "mnist").mkdir(parents=True)
    monkeypatch.setenv("CONDENSERY_DATA", str(here / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["reproduce", "dc/table1", "--list", "--json", "l.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 44
    (line,) = (line for line in lines if line.startswith("mnist/1/dc "))
    assert "91.7 ± 0.5 %" in line
    assert "--recipe dc" in line
    (line,) = (line for line in lines if line.startswith("svhn/1/dc "))
    assert "[data is unavailable here: svhn needs a download]: --recipe dc" in line
    listed = json.loads(Path("l.json").read_text())["rows"]
    assert Counter(row["status"] for row in listed) == {
        "untried": 11, "data is unavailable here": 33,
    }  # fmt: skip
    assert main(["reproduce", "--list"]) == 0
    assert "dc/tableT5" in capsys.readouterr().out


@pytest.mark.parametrize("data", [None, "elsewhere"])
def test_the_page_of_results_is_what_the_command_writes(
    data: str | None, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if data:
        (here / data / "svhn").mkdir(parents=True)
        monkeypatch.setenv("CONDENSERY_DATA", str(here / data))
    written = here / "results.md"
    assert main(["reproduce", "--status", "--markdown", str(written), "--quiet"]) == 0
    assert written.read_text("utf-8") == (ROOT / "docs" / "results.md").read_text("utf-8")
    assert written.read_text("utf-8") == page(read_records(RESULTS))


def test_committed_results_are_whole(here: Path) -> None:
    records = read_records(RESULTS)
    assert records
    for one in records:
        held = json.loads((RESULTS / one.path).read_text("utf-8"))
        # A verdict may depend on what was learnt since; what it is about does not.
        assert held["difference"] == pytest.approx(one.verdict.difference, abs=1e-4)
        assert set(held["departures"]) <= set(one.verdict.departures)
        assert held["published"] == json.loads(json.dumps(one.row.as_dict()))
        assert (held["n"], held["mean"]) == (one.n, pytest.approx(one.mean))
        assert held["std"] == pytest.approx(np.std(held["accuracies"]))
        assert held["command"].startswith(f"condensery reproduce {one.row.place} --row ")
        assert "/" not in str(held["experiment"]["data"])


def test_data_in_place_of_the_published_are_read_as_they_are_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (24, 8, 8, 8)).astype(np.float32)
    images[0, 0, 0] = np.linspace(-1, 1, 8)
    labels = np.arange(24) % 2
    file = tmp_path / "own.npz"
    np.savez(file, images=images, labels=labels, images_test=images, labels_test=labels)
    out = ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "made.json")]
    some = ["--row", "mnist/1/random", "--sets", "1", "--nets", "1", "--epochs", "1"]
    row = ["reproduce", "dc/table1", *some, *out]
    assert main([*row, "--layout", "NHWC"]) == 2
    assert "--layout and --range tell how --data is read" in capsys.readouterr().err
    read_so = ["--data", str(file), "--layout", "NHWC", "--range", "-1,1"]
    assert main([*row, *read_so]) == 0
    (made,) = json.loads((tmp_path / "made.json").read_text())["results"]
    assert "--layout NHWC --range=-1,1" in made["command"]
    loaded = load(str(file), layout="NHWC", value_range="-1,1")
    assert made["fingerprints"]["train"] == loaded.train.fingerprint
    assert loaded.train.images[0, :, 0, 0].tolist() == pytest.approx(np.linspace(0, 1, 8))
    assert main([*row, *read_so[:-1], "normalised"]) == 0  # a result, and a set, of its own


def test_sigterm_ends_reproduce_with_its_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(number: int) -> Any:
        return lambda *_: signal.raise_signal(number)

    monkeypatch.setattr(cli, "_wanted", lambda *_: [])
    monkeypatch.setattr(cli, "_estimate", lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        monkeypatch.setattr(cli, "_work_through", stopped(number))
        assert main(["reproduce", "dm/table1", "--out", str(tmp_path)]) == 128 + number
        assert "stopped; the same command continues" in capsys.readouterr().err
