"""RDED's selection: crop by crop, as the paper has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from condensery import CondensedSet, DataError, UsageError, load, select
from condensery.augment.photos import crops
from condensery.cli.main import main
from condensery.data import Data
from condensery.methods.formation.multi import pack, unpack
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import stream
from condensery.selection.networks import Networks

SHORT: dict[str, Any] = {"network": "convnet1:width=4", "epochs": 2, "batch": 8}


@pytest.fixture
def networks(tiny_data: Data) -> Networks:
    return Networks.of(tiny_data, **SHORT, plan=Plan())


def slowly(networks: Networks, c: int, n: int) -> torch.Tensor:
    """The n best images of a class, each by its best of five crops."""
    train, teacher = networks.train, networks.trained(0).network
    rng = stream(0, "rded", group=c)
    members = train.index[c][torch.from_numpy(rng.permutation(len(train.index[c])))]
    theta = crops(5 * len(members), 8, 8, rng, False, area=(0.08, 1.0), ratio=(1.0, 1.0))
    best = []
    for k, row in enumerate(members):
        image = train.normalised(row[None])
        seen = []
        for one in theta[5 * k : 5 * k + 5]:
            side = round(one[0, 0] * 8)
            left, top = (round((one[axis, 2] + 1 - one[axis, axis]) * 4) for axis in (0, 1))
            assert 2 <= side <= 8, "from 8 % of the area to all of it"
            # Beside the crop's edge the sampler sees its neighbours, and interpolation does not.
            inner = interpolate(
                image[:, :, top : top + side, left : left + side], (8, 8), mode="bilinear"
            )
            sampled = torch.nn.functional.grid_sample(
                image,
                torch.nn.functional.affine_grid(
                    torch.from_numpy(one)[None].float(), [1, 1, 8, 8], align_corners=False
                ),
                padding_mode="border",
                align_corners=False,
            )
            assert (
                torch.allclose(inner[..., 3:5, 3:5], sampled[..., 3:5, 3:5], atol=1e-4) or side < 4
            )
            loss = float(cross_entropy(teacher(sampled), torch.tensor([c])))
            seen.append((loss, sampled[0]))
        best.append(min(seen, key=lambda pair: pair[0]))
    best.sort(key=lambda pair: pair[0])
    return torch.stack([crop for _, crop in best[:n]])


@pytest.mark.parametrize("factor", [1, 2])
def test_the_surest_crops_of_each_class_packed(
    factor: int, tiny_data: Data, networks: Networks
) -> None:
    found = select(tiny_data, "rded", ipc=1, factor=factor, networks=networks)
    with torch.no_grad():
        wanted = [slowly(networks, c, factor**2) for c in range(3)]
    packed = torch.stack([pack(one, (1, 8, 8), factor, "area") for one in wanted])
    assert torch.allclose(found.stored, packed, atol=1e-5)
    assert found.stored_bytes == 3 * 64 * 4
    decoded = unpack(packed, factor, "area").flatten(0, 1)
    assert torch.allclose(found.images, decoded, atol=1e-5)
    assert len(found) == 3 * factor**2


def test_it_is_written_read_and_repeated_whatever_is_tested(
    tiny_data: Data, tmp_path: Path
) -> None:
    found = select(tiny_data, "rded", ipc=1, out=tmp_path / "a", plan=Plan(), **SHORT)
    again = CondensedSet.load(tmp_path / "a")
    assert torch.equal(found.images, again.images)
    assert (found.about.config["factor"], found.about.config["crops"]) == (2, 5)
    train = tiny_data.train
    poison = (255 - tiny_data.test.images, tiny_data.test.labels.flip(0))
    other = load((train.images.clone(), train.labels.clone()), test=poison, flip=True)
    assert torch.equal(select(other, "rded", ipc=1, plan=Plan(), **SHORT).stored, found.stored)
    with pytest.raises(UsageError, match="holds something else"):
        select(tiny_data, "rded", ipc=1, factor=1, out=tmp_path / "a", plan=Plan(), **SHORT)


def test_what_cannot_be_cropped_is_said_before_any_training(
    tiny_data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match=r"'1' has 7 training images, and 2 .* 2×2 crops take 8"):
        select(tiny_data, "rded", ipc=2)
    with pytest.raises(UsageError, match=r"at most 4"):
        select(tiny_data, "rded", ipc=1, factor=5)
    with pytest.raises(UsageError, match="herding keeps whole images; leave out"):
        select(tiny_data, "herding", ipc=1, factor=2)
    assert main(["select", "random", "--factor", "2"]) == 2
    assert "random keeps whole images; leave out --factor" in capsys.readouterr().err
    assert main(["select", "rded", "--factor", "0"]) == 2
    assert "--factor must be at least 1, got 0" in capsys.readouterr().err
