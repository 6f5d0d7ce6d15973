"""What people pass to evaluate: arrays, data sets, exports, classes of networks."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from condensery import DataError, UsageError, compare, evaluate, export, select_random
from condensery.cli.main import _parse, main
from condensery.data import Data, load
from condensery.evaluation.api import Evaluation
from condensery.evaluation.rows import rows_of
from condensery.evaluation.run import EvaluationSettings
from condensery.runtime.plan import exact_plan

HOW: dict[str, Any] = {"network": "mlp", "repeats": 1, "epochs": 3, "plan": exact_plan("cpu", 1)}


class Convolutional(nn.Module):
    """Ends in a convolution, so it has no nn.Linear."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.only = nn.Conv2d(channels, classes, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.only(images).mean((2, 3))  # type: ignore[no-any-return]


class Lazy(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.only = nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.only(images.flatten(1))  # type: ignore[no-any-return]


class Greedy(Convolutional):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.add_(1))


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits")


def test_arrays_are_a_set(digits: Data, tmp_path: Path) -> None:
    chosen = select_random(digits, ipc=2)
    images = chosen.images * digits.train.std[0] + digits.train.mean[0]
    bytes_ = (images * 255).round().byte()
    forms: list[Any] = [
        (bytes_, chosen.labels),
        (bytes_.numpy(), chosen.labels.tolist()),
        TensorDataset(bytes_, chosen.labels),
        {"images": bytes_, "labels": chosen.labels},
        {"mine": (bytes_, chosen.labels)},
        [(bytes_, chosen.labels)],
        export(chosen, "parquet", tmp_path / "set"),
    ]
    for form in forms:
        (row,) = rows_of(form, digits)
        (one,) = row.sets
        torch.testing.assert_close(one.images, chosen.images, atol=1e-5, rtol=0)
        assert torch.equal(one.labels, chosen.labels)
    assert rows_of(forms[4], digits)[0].name == "mine"
    assert evaluate(forms[0], digits, **HOW)[0].sets == evaluate(forms[2], digits, **HOW)[0].sets


@pytest.mark.parametrize("given", [3, [None], {"a": 1.5}])
def test_what_is_no_set_is_refused(digits: Data, given: Any) -> None:
    with pytest.raises(UsageError, match=r"is no set; give a path, a CondensedSet, \(images"):
        rows_of(given, digits)


def test_arrays_that_do_not_fit_the_data(digits: Data) -> None:
    images = np.zeros((20, 1, 9, 9), np.uint8)
    with pytest.raises(DataError, match="1×9×9, but digits has 1×8×8"):
        rows_of((images, np.arange(20) % 10), digits)


def test_classes_of_networks(digits: Data) -> None:
    chosen = select_random(digits, ipc=2)
    how = {**HOW, "network": Convolutional}
    (result,) = evaluate(chosen, digits, **how)
    assert result.net == f"{__name__}:Convolutional"
    assert result.mean >= 5
    (lazy,) = evaluate(chosen, digits, **{**HOW, "network": [Lazy]})
    assert lazy.sets == evaluate(chosen, digits, **{**HOW, "network": f"{__name__}:Lazy"})[0].sets
    with pytest.raises(UsageError, match="got an instance of Lazy; give its class"):
        evaluate(chosen, digits, **{**HOW, "network": Lazy(10)})
    with pytest.raises(UsageError, match="got a int"):
        evaluate(chosen, digits, **{**HOW, "network": [3]})
    with pytest.raises(UsageError, match="changes the images it is given in place"):
        evaluate(chosen, digits, **{**HOW, "nets": Greedy})


def test_the_next_command_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a run's folder"
    assert main(["select", "random", "--data", "digits", "--ipc", "1", "--out", str(out)]) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("next: ")]
    words = shlex.split(line)
    assert words[:4] == ["next:", "condensery", "evaluate", str(out)]
    assert _parse(words[2:])[0] == "evaluate"


def test_a_letter_for_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["condense", "--ipc", "a"])
    assert stopped.value.code == 2
    assert "--ipc must be a whole number, got a" in capsys.readouterr().err


def test_a_seed_below_zero_is_refused_at_once(tiny_data: Data) -> None:
    for call in (evaluate, compare):
        with pytest.raises(UsageError, match=r"seed must lie in .*got -1"):
            call([select_random(tiny_data, ipc=1)], tiny_data, seed=-1)


def test_what_must_not_be_flipped_is_not_flipped_in_any_row(tiny_data: Data) -> None:
    still = select_random(dataclasses.replace(tiny_data, flip=False), ipc=1)
    usual = select_random(tiny_data, ipc=1)
    how: Any = {"network": "mlp", "protocol": "dsa", "how": EvaluationSettings(1)}
    for sets, flips in (([usual], True), ([usual, still], False), ([still], False)):
        cells = Evaluation(sets, tiny_data, **how).cells
        assert [cell.data.flip for cell in cells] == [flips] * len(sets)
    kept = dataclasses.replace(tiny_data, flip=False)
    assert Evaluation([usual], kept, **how).data is kept


def test_a_set_of_test_images_is_refused_whatever_the_data_are_called() -> None:
    """Copies of a known set may differ by a byte: another split of it is no copy."""
    digits = load("digits")
    leaked = select_random(load(digits.test), ipc=2)
    with pytest.raises(DataError, match="made from training images other than those of digits"):
        evaluate(leaked, digits, network="mlp", epochs=1)
    half = dataclasses.replace(digits, train=digits.test)
    with pytest.raises(DataError, match="made from training images other than those of digits"):
        evaluate(select_random(half, ipc=2), digits, network="mlp", epochs=1)
