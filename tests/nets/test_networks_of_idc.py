"""IDC's networks: the sizes of the papers, slow references, and what objectives rely on."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from condensery.errors import UsageError
from condensery.methods.supply.random_networks import still
from condensery.nets import build, describe, embed, features, mixes_examples, with_norm
from condensery.nets.efficientnet import _DropBranch
from condensery.nets.norms import NORMS, make_conv
from condensery.runtime.randomness import fork_rng, stream

Shape = tuple[int, int, int]
CIFAR: Shape = (3, 32, 32)
LARGE: Shape = (3, 224, 224)
SMALL: dict[str, Shape] = {  # the smallest images that suit
    "resnet10": (1, 9, 9),
    "densenet121": (1, 8, 16),
    "resnetap10": (1, 8, 16),
    "resnet18_imagenet": (1, 33, 33),
    "efficientnet_b0": (1, 33, 33),
}
WIDTHS = {
    "resnet10": 256,
    "densenet121": 384,
    "resnetap10": 256,
    "resnet18_imagenet": 512,
    "efficientnet_b0": 1280,
}
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]


def net(spec: str, shape: Shape, classes: int = 3) -> nn.Module:
    """As matching has it: in training mode, without anything dropped."""
    with fork_rng(0, "test-network"):
        return still(build(spec, shape, classes).double())


def images(n: int, shape: Shape) -> Tensor:
    return torch.from_numpy(stream(0, "test-images").standard_normal((n, *shape)))


def frozen(spec: str, shape: Shape) -> nn.Module:
    """With the statistics of one batch, as gradient matching keeps them for a pixel step."""
    network = net(spec, shape)
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 1.0
        network(images(4, shape))
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    return network


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "shape", "classes", "count"),
    [
        ("resnet10", CIFAR, 10, 1_228_970),
        ("resnet10:norm=instance", CIFAR, 10, 1_228_970),
        ("densenet121", CIFAR, 10, 1_000_618),
        ("resnetap10", LARGE, 10, 4_910_922),
        ("resnetap10:norm=batch", LARGE, 10, 4_910_922),
        # the stem is a 7×7 convolution above 128 pixels and a 3×3 one below
        ("resnetap10", (3, 129, 40), 10, 4_910_922),
        ("resnetap10", (3, 128, 96), 10, 4_910_922 - (49 - 9) * 3 * 64),
        ("resnetap10:width=64", CIFAR, 10, 4_910_922 - (49 - 9) * 3 * 64),
        ("resnetap10", CIFAR, 10, 1_228_970),  # as many as ResNet-10's: poolings have none
        ("resnetap10", (3, 33, 32), 10, 4_910_922 - (49 - 9) * 3 * 64),
        ("resnet18_imagenet", LARGE, 10, 11_181_642),
        ("resnet18_imagenet", LARGE, 1000, 11_689_512),
        ("efficientnet_b0", LARGE, 10, 4_020_358),
        ("efficientnet_b0", LARGE, 1000, 5_288_548),
        ("convnet4", (1, 64, 64), 8, 461_448),
    ],
)
def test_parameter_counts(spec: str, shape: Shape, classes: int, count: int) -> None:
    with torch.device("meta"):
        network = build(spec, shape, classes)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    assert f"{count:,}" in describe(spec, shape, classes)


#: Every norm in the quickest network, and each network with two of them; the rest is slow.
SIZES = [
    pytest.param(
        name,
        norm,
        marks=[] if name == "resnet10" or norm in ("batch", "none") else [pytest.mark.slow],
    )
    for name in SMALL
    for norm in NORMS
]


@pytest.mark.parametrize(("name", "norm"), SIZES)
@pytest.mark.usefixtures("shapes_alone")
def test_every_size_and_norm(name: str, norm: str) -> None:
    with torch.device("meta"):
        for shape in [(3, 64, 64), (1, 96, 70), LARGE]:
            network = build(f"{name}:norm={norm}", shape, 7)
            found = embed(network, torch.empty(2, *shape))
            wide = 512 if name == "resnetap10" else WIDTHS[name]  # above 32 pixels
            assert found.shape == (2, wide), shape
            assert network.get_submodule("classifier")(found).shape == (2, 7), shape


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *SMALL.items(),
        ("resnet10", (1, 28, 28)),
        ("densenet121", (1, 28, 28)),
        ("resnetap10", (1, 28, 28)),
        *((name, CIFAR) for name in SMALL),
        ("resnet10", (3, 5, 40)),
        ("densenet121", (3, 8, 8)),
    ],
)
def test_small_images(name: str, shape: Shape) -> None:
    norm = "instance, width=32" if name == "resnetap10" else "batch"
    assert describe(name, shape, 3).startswith(f"{name} (norm={norm}): ")
    with torch.device("meta"):
        assert build(name, shape, 3)(torch.empty(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("densenet121", (3, 7, 32), "densenet121 needs images of at least 8×8.*7×32.*--size 8"),
        ("resnetap10", (3, 7, 8), "resnetap10 needs images of at least 8×8"),
        ("resnetap10", (3, 15, 65), "at least 16×16"),
        ("resnetap10", (3, 31, 129), "at least 32×32.*convnet4"),
        ("resnetap10", (3, 8, 8), "norm=instance has nothing left.*norm=batch"),
        ("resnet10:norm=instance", (3, 8, 8), "norm=instance has nothing left"),
        ("densenet121:norm=instance", (3, 8, 8), "norm=instance has nothing left"),
        ("resnet18_imagenet", (3, 31, 40), "resnet18_imagenet needs images of at least 32×32"),
        ("efficientnet_b0", (3, 40, 31), "efficientnet_b0 needs images of at least 32×32"),
        ("efficientnet_b0:norm=instance", CIFAR, "norm=instance has nothing left"),
        ("resnetap10:depth=3", CIFAR, "unknown option of resnetap10 'depth'"),
        ("densenet121:norm=bach", CIFAR, "unknown norm 'bach'; did you mean 'batch'"),
    ],
)
def test_what_is_refused(spec: str, shape: Shape, message: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=message):
        build(spec, shape, 10)


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize(("side", "stem"), [(224, 56), (129, 32), (128, 64), (65, 32), (64, 64)])
def test_stem_of_resnetap10(side: int, stem: int) -> None:
    with torch.device("meta"):
        found = features(build("resnetap10", (3, side, side), 2), torch.empty(2, 3, side, side))
    assert [found[name].shape[-1] for name in STAGES] == [stem, *(stem >> i for i in range(4))]


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("resnet18_imagenet", [56, 56, 28, 14, 7]),
        ("efficientnet_b0", [112, 112, 56, 28, 14, 14, 7, 7, 7]),
        ("densenet121", [224, 224, 112, 56, 28]),
        ("resnet10", [224, 224, 112, 56, 28]),
    ],
)
def test_maps_of_large_images(name: str, sides: list[int]) -> None:
    with torch.device("meta"):
        found = features(build(name, LARGE, 2), torch.empty(1, *LARGE))
    assert [value.shape[-1] for value in found.values()] == [*sides, WIDTHS[name]]


# --- what is computed --------------------------------------------------------------------------


def standardised(x: Tensor, kind: str, eps: float = 1e-5) -> Tensor:
    over = (0, 2, 3) if kind == "batch" else (2, 3)
    mean = x.mean(over, keepdim=True)
    variance = (x - mean).square().mean(over, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_resnetap10_from_its_weights(norm: str) -> None:
    shape = (2, 16, 70)
    network = net(f"resnetap10:norm={norm}", shape)
    named = dict(network.named_parameters())

    def conv(x: Tensor, name: str) -> Tensor:
        weight = named[f"{name}.weight"]
        return F.conv2d(x, weight, None, 1, weight.shape[-1] // 2)

    x = inputs = images(3, shape)
    x = F.avg_pool2d(standardised(conv(x, "stem.0"), norm).relu(), 2)
    for stage in range(4):
        at = f"stages.{stage}.0"
        y = standardised(conv(x, f"{at}.conv1"), norm).relu()
        if stage:
            y = F.avg_pool2d(y, 2)
            x = standardised(F.avg_pool2d(conv(x, f"{at}.shortcut.0"), 2), norm)
        x = (x + standardised(conv(y, f"{at}.conv2"), norm)).relu()
    torch.testing.assert_close(embed(network, inputs), x.mean((2, 3)))


def test_densenet121_from_its_weights() -> None:
    shape = (2, 8, 8)
    network = net("densenet121", shape)
    weights = [w for w in network.parameters() if w.dim() == 4]
    assert [w.shape[0] for w in weights[:4]] == [24, 48, 12, 48]
    rest = iter(weights)
    x = inputs = images(3, shape)
    x = F.conv2d(x, next(rest), padding=1)
    for number, layers in enumerate((6, 12, 24, 16)):
        if number:
            x = F.avg_pool2d(F.conv2d(standardised(x, "batch").relu(), next(rest)), 2)
        for _ in range(layers):
            y = F.conv2d(standardised(x, "batch").relu(), next(rest))
            y = F.conv2d(standardised(y, "batch").relu(), next(rest), padding=1)
            x = torch.cat([x, y], 1)
    assert next(rest, None) is None
    torch.testing.assert_close(embed(network, inputs), standardised(x, "batch").relu().mean((2, 3)))


def test_efficientnet_b0_from_its_weights() -> None:
    shape = (1, 40, 64)
    network = net("efficientnet_b0", shape)
    rest = iter([w for name, w in network.named_parameters() if not name.startswith("classifier")])

    def unit(x: Tensor, stride: int, active: bool = True) -> Tensor:
        weight, _, _ = next(rest), next(rest), next(rest)
        groups = x.shape[1] // weight.shape[1]
        x = standardised(
            F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups), "batch", 1e-3
        )
        return x * torch.sigmoid(x) if active else x

    x = inputs = images(3, shape)
    x = unit(x, 2)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        y = unit(x, 1) if number else x
        y = unit(y, stride)
        means = y.mean((2, 3))
        squeezed = means @ next(rest).flatten(1).T + next(rest)
        assert squeezed.shape[1] == x.shape[1] // 4
        scale = (squeezed * torch.sigmoid(squeezed)) @ next(rest).flatten(1).T + next(rest)
        y = unit(y * torch.sigmoid(scale)[:, :, None, None], 1, active=False)
        x = x + y if x.shape == y.shape else y
    x = unit(x, 1).mean((2, 3))
    assert next(rest, None) is None
    torch.testing.assert_close(embed(network, inputs), x)


def test_resnet18_imagenet_stem() -> None:
    network = net("resnet18_imagenet", (3, 37, 50))
    weight = next(network.parameters())
    assert weight.shape == (64, 3, 7, 7)
    x = images(2, (3, 37, 50))
    maps = standardised(F.conv2d(x, weight, stride=2, padding=3), "batch").relu()
    torch.testing.assert_close(
        features(network, x)["stem"], F.max_pool2d(maps, 3, stride=2, padding=1)
    )


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("resnetap10", LARGE),
        ("resnet10:norm=instance", CIFAR),
        ("resnet18_imagenet:norm=instance", LARGE),
    ],
)
def test_initialisation_of_idcs_resnets(spec: str, shape: Shape) -> None:
    network = net(spec, shape)
    for conv in (m for m in network.modules() if isinstance(m, nn.Conv2d)):
        assert conv.bias is None
        weight = conv.weight.detach()
        wanted = (2 / (conv.kernel_size[0] ** 2 * conv.out_channels)) ** 0.5
        few = 4 / weight.numel() ** 0.5  # four standard errors
        assert float(weight.std()) == pytest.approx(wanted, rel=few)
        assert abs(float(weight.mean())) < few * wanted
    for norm in (m for m in network.modules() if isinstance(m, nn.GroupNorm)):
        assert norm.num_groups == norm.num_channels
        assert bool((norm.weight == 1).all())
        assert not norm.bias.any()


def test_efficientnet_b0_drops_what_its_authors_drop() -> None:
    with fork_rng(0, "test-network"):
        network = build("efficientnet_b0", (1, 32, 32), 3).double().train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    drops = [m.p for m in network.modules() if isinstance(m, nn.Dropout)]
    assert drops == pytest.approx([*(0.2 * i / 16 for i in range(16)), 0.2])
    x = images(3, (1, 32, 32))
    for norm in norms:
        norm.eval()
    assert not torch.equal(network(x), network(x))
    torch.testing.assert_close(still(network)(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_a_dropped_branch_is_all_or_nothing_and_the_mean_stays() -> None:
    drop = _DropBranch(0.25)
    x = images(4000, (2, 1, 2)).abs() + 1
    torch.manual_seed(0)
    ratios = (drop(x) / x).flatten(1).round(decimals=9)
    assert bool((ratios == ratios[:, :1]).all()), "an example's maps share their fate"
    kept = ratios[:, 0]
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float(kept.mean()) == pytest.approx(1, abs=4 * (0.25 / 0.75 / 4000) ** 0.5)
    assert drop.eval()(x) is x


@pytest.mark.parametrize("norm", NORMS)
def test_a_convolution_has_a_bias_where_no_norm_shifts(norm: str) -> None:
    assert (make_conv(norm, 4, 8, 3, 2, 2).bias is not None) == (norm == "none")
    for name in SMALL:
        with torch.device("meta"):
            network = build(f"{name}:norm={norm}", (3, 64, 64), 2)
        convs = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
        biased = [m.bias is not None for n, m in convs if ".weigh." not in n]
        assert set(biased) == {norm == "none"}


# --- what objectives rely on -------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "shape"), SMALL.items())
def test_features_and_embedding_agree_with_forward(spec: str, shape: Shape) -> None:
    network, x = net(spec, shape), images(3, shape)
    found = features(network, x)
    stages = {"efficientnet_b0": [*STAGES, "stage5", "stage6", "stage7", "head"]}
    assert list(found) == [*stages.get(spec, STAGES), "embedding"]
    assert all(len(value) == 3 for value in found.values())
    assert found["embedding"].shape == (3, WIDTHS[spec])
    torch.testing.assert_close(embed(network, x), found["embedding"])
    torch.testing.assert_close(network.get_submodule("classifier")(found["embedding"]), network(x))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("name", "shape"), SMALL.items())
def test_gradient_reaches_every_weight_and_the_pixels(name: str, shape: Shape, norm: str) -> None:
    shape = (shape[0], 2 * shape[1], 2 * shape[2])
    network = net(f"{name}:norm={norm}", shape)
    x = images(2, shape).requires_grad_()
    features(network, x)["embedding"].square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any((1, 2, 3)).all())
    idle = [n for n, w in network.named_parameters() if w.grad is None]
    assert idle == ["classifier.weight", "classifier.bias"]


@pytest.mark.parametrize("name", SMALL)
def test_gradient_of_a_gradient(name: str) -> None:
    """Gradient matching differentiates the gradients to the weights by the pixels."""
    shape = (1, 36, 36)
    network, x = frozen(name, shape).float(), images(2, shape).float().requires_grad_()
    weights = list(network.parameters())
    loss = F.cross_entropy(network(x), torch.tensor([0, 1]))
    slopes = torch.autograd.grad(loss, weights, create_graph=True)
    (found,) = torch.autograd.grad(sum(slope.square().sum() for slope in slopes), x)  # type: ignore[arg-type]
    assert bool(torch.isfinite(found).all())
    assert bool((found != 0).any((1, 2, 3)).all())


@pytest.mark.parametrize(("name", "shape"), SMALL.items())
def test_frozen_statistics_keep_examples_apart(name: str, shape: Shape) -> None:
    with torch.device("meta"):
        assert mixes_examples(build(name, shape, 3)) == (name != "resnetap10")
    network, x = frozen(name, shape), images(2, shape)
    assert not mixes_examples(network)
    torch.testing.assert_close(network(x), torch.cat([network(one[None]) for one in x]))


@pytest.mark.parametrize(("name", "shape"), SMALL.items())
def test_with_norm_changes_whether_examples_mix(name: str, shape: Shape) -> None:
    x, other = images(2, shape), torch.zeros(1, *shape).double()
    for norm in ("batch", "instance"):
        network = net(with_norm(name, norm), shape)
        assert mixes_examples(network) == (norm == "batch")
        with torch.no_grad():
            beside = network(torch.cat([x[:1], other]))
            assert torch.allclose(network(x)[0], beside[0]) == (norm == "instance")


@pytest.mark.parametrize(("name", "shape"), SMALL.items())
def test_one_template_serves_every_networks_weights(name: str, shape: Shape) -> None:
    with torch.device("meta"):
        template = build(name, shape, 3)
    network, x = frozen(name, shape), images(2, shape)
    template.train(False)
    weights = {
        n: t.detach()
        for n, t in itertools.chain(network.named_parameters(), network.named_buffers())
    }
    torch.testing.assert_close(functional_call(template, weights, (x,)), network(x))
