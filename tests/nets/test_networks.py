"""The networks against the papers' sizes, slow references, and what objectives rely on."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from condensery.config.net_spec import parse
from condensery.errors import UsageError
from condensery.nets import build, describe, embed, features, mixes_examples, names, with_norm
from condensery.nets.norms import make_norm
from condensery.runtime.randomness import fork_rng, stream

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)
WIDTHS, DEPTHS = (32, 64, 128, 256), (1, 2, 3, 4)
NORMS = ("none", "batch", "layer", "instance", "group")
ACTIVATIONS = ("sigmoid", "relu", "leaky_relu")
POOLINGS = ("none", "max", "avg")
SMALL = {  # one network of every family, at the smallest images that suit it
    "convnet2:width=8": (1, 8, 8),
    "mlp:width=8": (1, 8, 8),
    "lenet": (1, 12, 12),
    "alexnet": (3, 8, 8),
    "alexcifarnet": (3, 8, 8),
    "vgg11": (3, 32, 32),
    "resnet18": (1, 9, 9),
    "resnet18_ap:norm=instance": (1, 16, 16),
}


def net(spec: str, shape: tuple[int, int, int] = CIFAR, classes: int = 10) -> nn.Module:
    with fork_rng(0, "test-network"):
        return build(spec, shape, classes).double()


def images(n: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.from_numpy(stream(0, "test-images").standard_normal((n, *shape)))


def perturbed(network: nn.Module) -> nn.Module:
    """With scales, shifts and biases away from 1 and 0, so that a test sees them."""
    rng = stream(0, "test-weights")
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.from_numpy(0.3 * rng.standard_normal(weight.shape)))
    return network


# --- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "shape", "classes", "count"),
    [
        ("convnet3", CIFAR, 10, 320_010),
        ("convnet3", CIFAR, 100, 504_420),
        ("convnet3", MNIST, 10, 317_706),
        ("convnet4", (3, 64, 64), 200, 857_160),
        ("mlp", CIFAR, 10, 411_146),
        ("lenet", CIFAR, 10, 62_006),
        ("alexnet", CIFAR, 10, 1_872_202),
        # grey 28×28 becomes 32×32 (LeNet: stays 28×28), so only the first convolution differs
        ("lenet", MNIST, 10, 62_006 - 2 * 25 * 6),
        ("alexnet", MNIST, 10, 1_872_202 - 2 * 25 * 128),
        ("vgg11", MNIST, 10, 9_231_114 - 2 * 9 * 64),
        # by hand: two convolutions, 4096–384–192–10
        ("alexcifarnet", CIFAR, 10, 4_864 + 102_464 + 1_573_248 + 73_920 + 1_930),
        ("alexnet:norm=batch", CIFAR, 10, 1_872_202 + 2 * (128 + 192 + 256 + 192 + 192)),
        ("vgg11", CIFAR, 10, 9_231_114),
        ("vgg11:norm=batch", CIFAR, 10, 9_231_114),
        ("resnet18", CIFAR, 10, 11_173_962),
        ("resnet18:norm=batch", CIFAR, 10, 11_173_962),
        ("resnet18_ap", CIFAR, 10, 11_250_762),
    ],
)
def test_parameter_counts(spec: str, shape: tuple[int, int, int], classes: int, count: int) -> None:
    with torch.device("meta"):
        network = build(spec, shape, classes)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    assert f"{count:,}" in describe(spec, shape, classes)


@pytest.mark.parametrize("norm", NORMS)
def test_search_space_of_convnets(norm: str) -> None:
    """DM 3.6: networks build, and say ten numbers an image; every width at one depth."""
    choices = [*itertools.product(WIDTHS[:1], DEPTHS, ACTIVATIONS, POOLINGS)]
    choices += [(width, 3, "relu", "avg") for width in WIDTHS[1:]]
    assert [one for one in choices if not _is_in_the_space(norm, *one)] == []


@pytest.mark.slow  # a filter more changes nothing but numbers
@pytest.mark.parametrize("norm", NORMS)
def test_all_720_convnets(norm: str) -> None:
    choices = itertools.product(WIDTHS, DEPTHS, ACTIVATIONS, POOLINGS)
    assert [one for one in choices if not _is_in_the_space(norm, *one)] == []


def _is_in_the_space(norm: str, width: int, depth: int, activation: str, pooling: str) -> bool:
    """Whether a network has ten outputs, and as many features as its filters and pools say."""
    spec = f"convnet{depth}:width={width},norm={norm},activation={activation},pooling={pooling}"
    side = 32 if pooling == "none" else 32 >> depth
    batch, network = torch.zeros(2, *CIFAR), build(spec, CIFAR, 10)
    with torch.no_grad():
        shapes = network(batch).shape, network.embed(batch).shape  # type: ignore[operator]
    return shapes == ((2, 10), (2, width * side**2))


@pytest.mark.parametrize(
    ("size", "depth"),
    [(2, 1), (8, 3), (16, 3), (32, 3), (33, 4), (64, 4), (96, 5), (128, 5), (129, 6), (224, 6)],
)
def test_depth_by_size(size: int, depth: int) -> None:
    with torch.device("meta"):
        assert len(build("convnet", (3, size, size), 2).blocks) == depth  # type: ignore[arg-type]


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("convnet", (1, 8, 8)),
        ("convnet", (3, 8, 40)),
        ("convnet3", (3, 28, 28)),
        ("convnet2:norm=layer", (2, 12, 17)),
        ("convnet5:pooling=none,width=4", (1, 2, 3)),
        ("mlp", (5, 3, 7)),
        ("lenet", MNIST),
        ("lenet", (3, 17, 30)),
        ("alexnet:norm=layer", MNIST),
        ("alexnet", (1, 4, 4)),
        ("alexcifarnet", (3, 7, 9)),
        ("vgg11:norm=layer", MNIST),
        ("vgg11", (3, 64, 96)),
        ("resnet18:norm=batch", (1, 8, 8)),
        ("resnet18:norm=layer", (3, 28, 20)),
        ("resnet18_ap:norm=layer", MNIST),
        ("resnet18_ap", (3, 64, 64)),
        ("resnet18", (3, 64, 64)),
    ],
)
def test_unusual_sizes(spec: str, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        assert build(spec, shape, 7)(torch.empty(3, *shape)).shape == (3, 7)


# --- what is computed --------------------------------------------------------------------------


def slow_norm(kind: str, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    n, c, h, w = x.shape
    over: tuple[int, ...]
    if kind == "group":
        x, over = x.reshape(n, 4, c // 4, h, w), (2, 3, 4)
    else:
        over = {"batch": (0, 2, 3), "layer": (1, 2, 3), "instance": (2, 3)}[kind]
    mean = x.mean(over, keepdim=True)
    variance = (x - mean).square().mean(over, keepdim=True)
    x = ((x - mean) / (variance + 1e-5).sqrt()).reshape(n, c, h, w)
    if kind == "layer":
        return x * scale + shift
    return x * scale[:, None, None] + shift[:, None, None]


def slow_pool(kind: str, x: Tensor) -> Tensor:
    if kind == "none":
        return x
    h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    corners = torch.stack([x[:, :, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)])
    return corners.amax(0) if kind == "max" else corners.mean(0)


SLOW_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "relu": lambda x: x.clamp(min=0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
}


@pytest.mark.parametrize("shape", [(3, 8, 8), MNIST])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("norm", NORMS)
def test_convnet_is_the_papers_formula(
    norm: str, pooling: str, shape: tuple[int, int, int]
) -> None:
    activation = ACTIVATIONS[(NORMS.index(norm) + POOLINGS.index(pooling)) % 3]
    spec = f"convnet2:width=8,norm={norm},activation={activation},pooling={pooling}"
    network = perturbed(net(spec, shape))
    weights = iter(network.parameters())
    x = inputs = images(4, shape)
    layers = []
    for block in range(2):
        padding = 3 if shape == MNIST and block == 0 else 1
        x = F.conv2d(x, next(weights), next(weights), padding=padding)
        if norm != "none":
            x = slow_norm(norm, x, next(weights), next(weights))
        layers.append(SLOW_ACTIVATIONS[activation](x))
        x = slow_pool(pooling, layers[-1])
    logits = x.flatten(1) @ next(weights).T + next(weights)
    assert next(weights, None) is None
    torch.testing.assert_close(network(inputs), logits)
    torch.testing.assert_close(embed(network, inputs), x.flatten(1))
    found = features(network, inputs)
    assert list(found) == ["block1", "block2", "pooled", "embedding"]
    for got, wanted in zip(found.values(), [*layers, x, x.flatten(1)], strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("average", [False, True])
def test_resnet_is_the_papers_formula(average: bool) -> None:
    """Strides against average pooling (DC, appendix A), from the weights alone."""
    shape = (1, 8, 8)
    network = perturbed(net("resnet18_ap" if average else "resnet18:norm=batch", shape))
    named = dict(network.named_parameters())

    def conv(x: Tensor, name: str, stride: int) -> Tensor:
        weight = named[f"{name}.weight"]
        return F.conv2d(x, weight, None, 1 if average else stride, weight.shape[-1] // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        return slow_norm("batch", x, named[f"{name}.weight"], named[f"{name}.bias"])

    def pool(x: Tensor, stride: int) -> Tensor:
        return slow_pool("avg", x) if average and stride == 2 else x

    x = inputs = images(3, shape)
    x = norm(conv(x, "stem.0", 1), "stem.1").relu()
    for stage, block in itertools.product(range(4), range(2)):
        at = f"stages.{stage}.{block}"
        stride = 2 if stage and not block else 1
        y = pool(norm(conv(x, f"{at}.conv1", stride), f"{at}.norm1").relu(), stride)
        y = norm(conv(y, f"{at}.conv2", 1), f"{at}.norm2")
        if stride == 2:
            x = pool(conv(x, f"{at}.shortcut.0", 2), 2)
            x = norm(x, f"{at}.shortcut.2")
        x = (x + y).relu()
    x = x.flatten(1) if average else x.mean((2, 3))
    torch.testing.assert_close(embed(network, inputs), x)
    logits = x @ named["classifier.weight"].T + named["classifier.bias"]
    torch.testing.assert_close(network(inputs), logits)


def test_instance_norm_is_torchs() -> None:
    ours = perturbed(make_norm("instance", 6, (5, 4)).double())
    theirs = nn.InstanceNorm2d(6, affine=True).double()
    theirs.load_state_dict(ours.state_dict())
    x = images(3, (6, 5, 4))
    torch.testing.assert_close(ours(x), theirs(x))


def test_instance_norm_makes_the_bias_before_it_irrelevant() -> None:
    network = net("convnet2:width=8", (1, 8, 8))
    before = network(x := images(2, (1, 8, 8)))
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith("conv.bias"):
                weight.add_(5)
    torch.testing.assert_close(network(x), before)


def test_initialisation_is_torchs() -> None:
    """Uniform in ±1/√fan-in, the same for the same seed, and another for another."""
    first = build_at(0)
    assert all(torch.equal(a, b) for a, b in zip(first, build_at(0), strict=True))
    assert not torch.equal(first[0], build_at(1)[0])
    for weight in (w for w in first if w.dim() > 1):
        limit = weight[0].numel() ** -0.5
        assert 0.9 * limit < float(weight.abs().max()) <= limit


def build_at(seed: int) -> list[Tensor]:
    with fork_rng(seed, "test-network"):
        return [w.detach() for w in build("convnet2:width=16", (1, 8, 8), 4).parameters()]


def test_building_does_not_seed() -> None:
    with fork_rng(0, "test-network"):
        first, second = build("mlp", (1, 4, 4), 2), build("mlp", (1, 4, 4), 2)
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


# --- what objectives rely on -------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "shape"), SMALL.items())
def test_features_and_embedding_agree_with_forward(spec: str, shape: tuple[int, int, int]) -> None:
    network = net(spec, shape, 3)
    x = images(2, shape)
    found = features(network, x)
    assert list(found)[-1] == "embedding"
    assert all(len(value) == 2 for value in found.values())
    assert found["embedding"].dim() == 2
    torch.testing.assert_close(network.get_submodule("classifier")(found["embedding"]), network(x))
    torch.testing.assert_close(embed(network, x), found["embedding"])


@pytest.mark.parametrize(("spec", "shape"), SMALL.items())
def test_gradient_reaches_every_weight_and_the_pixels(
    spec: str, shape: tuple[int, int, int]
) -> None:
    network = net(spec, shape, 3)
    x = images(2, shape).requires_grad_()
    sum(value.square().sum() for value in features(network, x).values()).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    assert bool((x.grad != 0).any((1, 2, 3)).all())
    idle = [n for n, w in network.named_parameters() if w.grad is None]
    assert idle == ["classifier.weight", "classifier.bias"]


@pytest.mark.parametrize(
    ("spec", "shape"),
    [*SMALL.items(), ("convnet2:width=8,norm=group", CIFAR), ("convnet2:norm=layer", (1, 8, 8))],
)
def test_without_batch_norm_examples_are_independent(
    spec: str, shape: tuple[int, int, int]
) -> None:
    network = net(spec, shape, 3)
    x = images(3, shape)
    assert not mixes_examples(network)
    torch.testing.assert_close(network(x), torch.cat([network(one[None]) for one in x]))


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("convnet2:width=8,norm=batch", (1, 8, 8)),
        ("alexnet:norm=batch", (3, 16, 16)),
        ("vgg11:norm=batch", (3, 32, 32)),
        ("resnet18:norm=batch", (1, 16, 16)),
        ("resnet18_ap", (1, 16, 16)),
    ],
)
def test_batch_norm_mixes_examples(spec: str, shape: tuple[int, int, int]) -> None:
    network = net(spec, shape, 3)
    x = images(3, shape)
    assert mixes_examples(network)
    alone = torch.cat([network(torch.cat([x[i : i + 1], x[:1] * 0])) for i in range(3)])
    assert not torch.allclose(network(x), alone[::2])


class _Embedding(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return embed(self.network, x)


@pytest.mark.parametrize(("spec", "shape"), SMALL.items())
def test_embed_under_functional_call(spec: str, shape: tuple[int, int, int]) -> None:
    """One template serves every network's weights."""
    with torch.device("meta"):
        template = _Embedding(build(spec, shape, 3))
    network = net(spec, shape, 3)
    weights = {f"network.{name}": w.detach() for name, w in network.named_parameters()}
    x = images(2, shape)
    torch.testing.assert_close(functional_call(template, weights, (x,)), embed(network, x))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_embed_compiles_whole() -> None:
    shape = (1, 8, 8)
    network = net("convnet2:width=8", shape)
    template = _Embedding(network)

    def call(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(template, weights, (x,))  # type: ignore[no-any-return]

    compiled = torch.compile(call, fullgraph=True, dynamic=False, backend="aot_eager")
    x = images(2, shape)
    for change in (0.0, 0.1):  # other weights do not need another graph
        weights = {f"network.{n}": w.detach() + change for n, w in network.named_parameters()}
        torch.testing.assert_close(compiled(weights, x), call(weights, x))


# --- specs -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shapes_alone")
def test_names_can_be_built() -> None:
    known = names()
    assert known == sorted(set(known))
    with torch.device("meta"):
        for name in known:
            assert build(name, (3, 64, 64), 4)(torch.empty(2, 3, 64, 64)).shape == (2, 4)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("convnet3", "convnet:depth=3,width=128,norm=instance,activation=relu,pooling=avg"),
        ("convnet", "convnet3"),
        (" convnet4 : width = 64 , pooling = max", "convnet4:pooling=max,width=64"),
        ("alexnet", "alexnet:norm=none"),
        ("vgg11", "vgg11:norm=instance"),
        ("resnet18_ap", "resnet18_ap:norm=batch"),
        ("mlp", "mlp:width=128"),
    ],
)
def test_specs_that_mean_the_same(short: str, long: str) -> None:
    with torch.device("meta"):
        assert str(build(short, CIFAR, 10)) == str(build(long, CIFAR, 10))


def test_options_reach_the_network() -> None:
    network = build("convnet2:width=8,norm=group,activation=leaky_relu,pooling=max", CIFAR, 10)
    said = str(network)
    for part in ("GroupNorm(4, 8,", "LeakyReLU(negative_slope=0.01)", "MaxPool2d(kernel_size=2,"):
        assert part in said


@pytest.mark.parametrize("spec", ["convnet3", "a.b:Net", "a.b:Net:x=1,y=2", "a.b.Net:x=1"])
def test_parsed_specs_are_written_back(spec: str) -> None:
    assert str(parse(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("convent3", "unknown network 'convent3'; did you mean 'convnet3'"),
        ("convent3:norm=batch", "did you mean 'convnet3'"),
        ("convnet0", "unknown network 'convnet0'"),
        ("", "has no name"),
        (":norm=batch", "has no name"),
        ("convnet3:batch", "'batch' in the network .* is not key=value"),
        ("convnet3:norm=", "'norm=' in the network .* is not key=value"),
        ("convnet3:norm=batch,norm=none", "sets norm twice"),
        ("convnet3:depth=4", "sets its depth twice"),
        ("convnet3:nrom=batch", "unknown option of convnet 'nrom'; did you mean 'norm'"),
        ("convnet3:norm=bach", "unknown norm 'bach'; did you mean 'batch'"),
        ("convnet3:activation=rellu", "unknown activation 'rellu'; did you mean 'relu'"),
        ("convnet3:pooling=average", "unknown pooling 'average'; did you mean 'avg'"),
        (
            "convnet3:width=wide",
            "width of a network must be a whole number of at least 1, got 'wide'",
        ),
        ("convnet:depth=0", "depth of a network must be a whole number"),
        ("lenet:width=3", "lenet has no options"),
        ("vgg11:width=3", "unknown option of vgg11 'width'"),
        ("convnet3:norm=group,width=6", "do not divide 6; use a width that is a multiple of 4"),
    ],
)
def test_wrong_specs(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(spec, CIFAR, 10)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (
            "convnet5",
            (1, 8, 8),
            "allows 3; use convnet3, larger images .--size 32. or pooling=none",
        ),
        ("convnet6", MNIST, "use convnet5"),
        ("convnet1", (1, 1, 1), "allows 0; larger images .--size 2."),
        ("vgg11", (1, 8, 8), "vgg11 needs images of at least 32×32.*8×8.*--size 32.*convnet3"),
        ("vgg11", (3, 28, 28), "at least 32×32"),
        ("lenet", (1, 11, 28), "at least 12×12"),
        ("lenet", (3, 15, 32), "at least 16×16"),
        ("alexnet", (3, 7, 7), "at least 8×8"),
        ("alexnet", (1, 3, 3), "at least 4×4"),
        ("resnet18_ap", (3, 7, 32), "at least 8×8"),
        ("resnet18", (1, 8, 8), "norm=instance has nothing left.*norm=batch"),
        ("convnet3", (3, 32), "C, H, W"),
        ("convnet3", (0, 32, 32), "all at least 1"),
    ],
)
def test_images_too_small(spec: str, shape: tuple[int, int, int], message: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=message):
        build(spec, shape, 10)


def test_with_norm() -> None:
    assert with_norm("convnet3", "batch") == "convnet3:norm=batch"
    assert with_norm("convnet3:norm=batch,width=8", "none") == "convnet3:norm=none,width=8"
    assert with_norm("resnet18_ap", "instance") == "resnet18_ap:norm=instance"
    assert mixes_examples(net(with_norm("convnet1:width=2", "batch")))
    for spec, norm, message in [
        ("convnet3", "bathc", "unknown norm 'bathc'; did you mean 'batch'"),
        ("mlp", "batch", "mlp has no norm to change to batch.*alexnet, convnet"),
        ("torch.nn.Identity", "batch", "cannot be changed to batch by name"),
        ("convnet3:nrom=batch", "batch", "unknown option of convnet 'nrom'"),
        ("vgg", "batch", "did you mean 'vgg11'"),
    ]:
        with pytest.raises(UsageError, match=message):
            with_norm(spec, norm)


def test_describe() -> None:
    line = describe("convnet:norm=batch", CIFAR, 10)
    assert line == (
        "convnet:norm=batch (width=128, depth=3, activation=relu, pooling=avg): 320,010 parameters"
    )
    assert describe("lenet", CIFAR, 10) == "lenet: 62,006 parameters"


# --- networks of other packages ----------------------------------------------------------------

FOREIGN = """
import torch
from torch import nn


class Told(nn.Module):
    def __init__(self, in_channels, num_classes, *, image_size, shape, width=4, name="x"):
        super().__init__()
        self.told = (in_channels, num_classes, image_size, shape, width, name)
        self.features = nn.Conv2d(in_channels, width, 3)  # a submodule, not a method
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Needy(nn.Module):
    def __init__(self, channels, secret, heads=2):
        super().__init__()


class Own(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(3, classes)

    def embed(self, x):
        return x.mean((2, 3)) + 1

    def features(self, x):
        return {"input": x, "embedding": self.embed(x)}

    def forward(self, x):
        return self.head(self.embed(x))


class Patches(Own):
    def embed(self, x):
        return x


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 1000)

    def forward(self, x):
        return self.head(x.mean((2, 3)))


class Bare(nn.Module):
    def forward(self, x):
        return x.flatten(1)


class Unused(Bare):
    def __init__(self, classes):
        super().__init__()
        self.spare = nn.Linear(2, classes)


def factory(**options):
    return Own(options["num_classes"])


def liar(size):
    return size


constant = 3
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "condensery_test_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "someone.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)


HOME = "condensery_test_package.someone"


@pytest.mark.usefixtures("foreign")
class TestForeign:
    @pytest.mark.parametrize("separator", [".", ":"])
    def test_is_told_about_the_data(self, separator: str) -> None:
        spec = f"{HOME}{separator}Told"
        assert net(spec, (3, 8, 8), 5).told == (3, 5, 8, (3, 8, 8), 4, "x")
        network = net(f"{spec}:width=6,name=none", (1, 8, 9), 5)
        assert network.told == (1, 5, (8, 9), (1, 8, 9), 6, "none")

    def test_embedding_is_what_feeds_the_last_linear_layer(self) -> None:
        network = net(f"{HOME}:Told", (3, 8, 8), 5)
        x = images(2, (3, 8, 8)).requires_grad_()
        wanted = network.features(x).mean((2, 3))  # type: ignore[operator]
        found = embed(network, x)
        torch.testing.assert_close(found, wanted)
        slopes = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, wanted)]
        torch.testing.assert_close(*slopes)
        assert list(features(network, x)) == ["embedding"]
        assert not network.head._forward_pre_hooks  # type: ignore[union-attr]

    def test_embedding_under_functional_call(self) -> None:
        network, other = net(f"{HOME}:Told", (3, 8, 8), 5), build(f"{HOME}:Told", (3, 8, 8), 5)
        weights = {f"network.{name}": w.detach() for name, w in network.named_parameters()}
        x = images(2, (3, 8, 8))
        found = functional_call(_Embedding(other), weights, (x,))
        torch.testing.assert_close(found, network.features(x).mean((2, 3)))  # type: ignore[operator]

    def test_own_methods_win(self) -> None:
        network = net(f"{HOME}:Own", (3, 8, 8), 5)
        x = images(2, (3, 8, 8))
        torch.testing.assert_close(embed(network, x), x.mean((2, 3)) + 1)
        assert list(features(network, x)) == ["input", "embedding"]

    def test_functions_are_not_called(self) -> None:
        with pytest.raises(UsageError, match=r"is a function, not a subclass of torch\.nn"):
            build(f"{HOME}:factory:num_classes=7", (3, 8, 8), 7)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("Needy", "needs secret, .* as in .*Needy:secret=VALUE. It takes .*channels, secret"),
            ("Told:widht=3", "unknown argument of .*Told 'widht'; did you mean 'width'"),
            ("Told:width=wide", "cannot be built with .*'wide'"),
            ("Nobody", "cannot be imported: .*Nobody.*convnet3"),
            ("constant", "is a int, not a subclass of torch.nn.Module"),
            ("liar", "is a function, not a subclass of torch.nn.Module"),
            ("Fixed", "ends in 1000 outputs and the data have 5 classes; .*num_classes"),
        ],
    )
    def test_what_does_not_fit(self, spec: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            build(f"{HOME}:{spec}", (3, 8, 8), 5)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("Bare", "Bare has no nn.Linear.*method embed"),
            ("Unused", "Unused does not use its last nn.Linear"),
            ("Patches", "returned 4 dimensions.*N×d"),
        ],
    )
    def test_without_an_embedding(self, name: str, message: str) -> None:
        network = build(f"{HOME}:{name}", (3, 8, 8), 5)
        with pytest.raises(UsageError, match=message):
            embed(network, torch.zeros(2, 3, 8, 8))

    def test_describe_leaves_the_global_generator_alone(self) -> None:
        before = torch.get_rng_state()
        assert describe(f"{HOME}:Told:width=6", (3, 8, 8), 5).endswith(
            "Told:width=6: 203 parameters"
        )
        assert torch.equal(torch.get_rng_state(), before)


def test_a_module_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match=r"'no\.such:Net' cannot be imported: No module named"):
        build("no.such:Net", CIFAR, 10)
