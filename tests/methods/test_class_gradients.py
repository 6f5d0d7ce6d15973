"""Class gradients, their distances and one step of each recipe against slow transcriptions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import distance as scipy_distance
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condensery import UsageError
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.config.recipes import recipe_names
from condensery.config.schema import RunConfig
from condensery.data import Data
from condensery.methods.augmentation import SiameseOp
from condensery.methods.objectives import distances
from condensery.methods.objectives.chain_gradients import chain_gradients
from condensery.methods.objectives.distances import parse_distance, row_distance
from condensery.methods.objectives.gradients import class_gradients, matched_parameters
from condensery.methods.supply.random_networks import still
from condensery.nets import build, chain, names
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng, stream
from tests.conftest import tiny

FLOAT64 = exact_plan("cpu", 1, "float64")
GRADIENT_RECIPES = [name for name in recipe_names() if name.startswith(("dc", "ds", "gm"))]
#: A batch takes 8, 7 and 8 images of the tiny data's classes: unequal on purpose.
SMALL = {"ipc": 2, "iterations": 2, "real_batch": 8, "supply.net": "convnet2:width=4"}

#: Every network of the zoo, each norm once, and the image size it is tried on.
ZOO = [
    ("convnet3:width=6", (3, 16, 16)),
    ("convnet2:width=8,norm=group,activation=leaky_relu", (3, 8, 8)),
    ("convnet2:width=4,norm=layer,pooling=max", (1, 8, 8)),
    ("convnet2:width=4,norm=batch,activation=sigmoid", (1, 8, 8)),
    ("convnet2:width=4,norm=none,pooling=none", (1, 6, 6)),
    ("convnet3:width=4", (1, 28, 28)),
    ("mlp:width=8", (1, 6, 6)),
    ("lenet", (3, 16, 16)),
    ("alexnet", (3, 8, 8)),
    ("alexnet:norm=batch", (1, 8, 8)),
    ("alexcifarnet", (3, 16, 16)),
    ("vgg11", (3, 32, 32)),
    ("vgg11:norm=batch", (1, 28, 28)),
    ("resnet18", (3, 16, 16)),
    ("resnet18_ap", (3, 8, 8)),
    ("resnet10", (3, 16, 16)),
    ("resnetap10", (3, 16, 16)),
    ("densenet121", (3, 16, 16)),
    ("resnet18_imagenet", (3, 32, 32)),
    ("efficientnet_b0", (3, 32, 32)),
]


def network_of(spec: str, shape: tuple[int, int, int], classes: int = 3) -> nn.Module:
    with fork_rng(0, "test"):
        network = build(spec, shape, classes).double()
    with torch.no_grad():  # affine parameters that are not 1 and 0, statistics that are not 0 and 1
        rng = stream(0, "perturb")
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.from_numpy(rng.standard_normal(tuple(parameter.shape))))
        network.train()
        network(images_of(4, shape))
    still(network)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return network


def images_of(n: int, shape: tuple[int, int, int], address: int = 0) -> Tensor:
    return torch.from_numpy(stream(0, "images", address).standard_normal((n, *shape)))


def plain_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """The mean cross-entropy's gradient to weights of ≥ 2 dimensions, with a graph."""
    weights = [p for p in network.parameters() if p.dim() >= 2]
    loss = cross_entropy(network(images), labels)
    return list(torch.autograd.grad(loss, weights, create_graph=True))


def test_every_network_is_tried() -> None:
    tried = {spec.split(":")[0] for spec, _ in ZOO}
    assert {name for name in names() if not name.startswith("convnet")} <= tried


#: Large networks of the same blocks as smaller ones.
LARGE = ("vgg11", "vgg11:norm=batch", "resnet18", "resnet18_ap", "resnet18_imagenet")


def zoo(only_chains: bool = False) -> list[Any]:
    """The networks that are tried, the large ones marked slow."""
    return [
        pytest.param(spec, shape, marks=[pytest.mark.slow] if spec in LARGE else [])
        for spec, shape in ZOO
        if not only_chains or re.match("conv|mlp|lenet|alexnet|vgg", spec)
    ]


@pytest.mark.parametrize(("spec", "shape"), zoo())
def test_class_gradients_equal_a_loop_of_autograd(spec: str, shape: tuple[int, int, int]) -> None:
    network = network_of(spec, shape)
    sizes = (1, 2)  # classes of unequal size
    images, labels = images_of(3, shape), torch.tensor([0, 1, 1])
    share = torch.zeros(2, 3, dtype=torch.float64)
    expected, first = [], 0
    for c, n in enumerate(sizes):
        part = slice(first, first + n)
        share[c, part] = 1 / n
        found = plain_gradients(network, images[part], labels[part])
        expected.append(torch.cat([g.flatten() for g in found]).detach())
        first += n
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found_rows = class_gradients(network, images, labels, share, "weights").detach()
        torch.testing.assert_close(found_rows, torch.stack(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("spec", "shape"), zoo(only_chains=True))
def test_written_out_gradients_equal_autograd_to_the_second_order(
    spec: str, shape: tuple[int, int, int]
) -> None:
    network = network_of(spec, shape)
    labels, share = torch.tensor([1, 1, 0]), torch.tensor([0.5, 0.5, 0.7], dtype=torch.float64)
    layers = chain(network)
    assert layers is not None
    wanted = dict(network.named_parameters())
    ours, theirs = images_of(3, shape).requires_grad_(), images_of(3, shape).requires_grad_()
    found = {
        name: slope[0]
        for name, slope in chain_gradients(layers, ours, labels, share, frozenset(wanted)).items()
    }
    network.requires_grad_(True)
    loss = (cross_entropy(network(theirs), labels, reduction="none") * share).sum()
    expected = torch.autograd.grad(loss, list(wanted.values()), create_graph=True)
    directions = [
        torch.from_numpy(stream(0, "direction", i).standard_normal(tuple(p.shape)))
        for i, p in enumerate(wanted.values())
    ]
    for (name, _), slope in zip(wanted.items(), expected, strict=True):
        torch.testing.assert_close(found[name], slope, rtol=1e-9, atol=1e-11)
    pairs = zip(wanted, directions, strict=True)
    ours_sum = torch.stack([(found[name] * v).sum() for name, v in pairs]).sum()
    theirs_sum = torch.stack(
        [(e * v).sum() for e, v in zip(expected, directions, strict=True)]
    ).sum()
    (second,) = torch.autograd.grad(ours_sum, ours)
    torch.testing.assert_close(
        second, torch.autograd.grad(theirs_sum, theirs)[0], rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize(("spec", "shape"), zoo(only_chains=True))
def test_classes_together_are_classes_apart(spec: str, shape: tuple[int, int, int]) -> None:
    network = network_of(spec, shape)
    layers = chain(network)
    assert layers is not None
    images, labels = images_of(6, shape), torch.tensor([0, 0, 1, 1, 2, 2])
    share = torch.tensor([0.5, 0.5, 1.0, 0.0, 0.5, 0.5], dtype=torch.float64)
    wanted = frozenset(dict(network.named_parameters()))
    together = chain_gradients(layers, images, labels, share, wanted, 3)
    for c in range(3):
        part = slice(2 * c, 2 * c + 2)
        alone = chain_gradients(layers, images[part], labels[part], share[part], wanted)
        for name, slope in alone.items():
            torch.testing.assert_close(together[name][c], slope[0], rtol=1e-9, atol=1e-11)


def test_a_chain_is_the_network() -> None:
    for spec, shape in ZOO:
        if spec in LARGE:
            continue
        network = network_of(spec, shape)
        layers = chain(network)
        if layers is None:
            assert re.match("resnet|densenet|efficientnet|alexcifarnet", spec), spec
            continue
        x = images_of(2, shape)
        out = x
        for _, layer in layers:
            out = layer(out)
        torch.testing.assert_close(out, network(x))


def test_only_what_is_wanted_is_computed() -> None:
    network = network_of("convnet2:width=4", (1, 8, 8))
    layers = chain(network)
    assert layers is not None
    images, labels = images_of(2, (1, 8, 8)), torch.tensor([0, 1])
    share = torch.full((2,), 0.5, dtype=torch.float64)
    found = chain_gradients(layers, images, labels, share, frozenset({"classifier.bias"}))
    assert set(found) == {"classifier.bias"}


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("weights", ["blocks.0.conv.weight", "blocks.0.norm.weight", "classifier.weight"]),
        ("conv", ["blocks.0.conv.weight"]),
        ("all", None),
    ],
)
def test_which_parameters_take_part(which: Any, expected: list[str] | None) -> None:
    # Layer norm's scale has three dimensions, so it counts as a weight.
    network = build("convnet1:width=4,norm=layer", (1, 8, 8), 3)
    found = list(matched_parameters(network, which))
    wanted = expected or list(dict(network.named_parameters()))
    # Layer norm's shift has three dimensions as well.
    if which == "weights":
        found.remove("blocks.0.norm.bias")
    assert found == wanted


A = np.random.default_rng(1).standard_normal((2, 3, 7))
B = np.random.default_rng(2).standard_normal((2, 3, 7))
ORACLES: dict[str, Callable[[Any, Any], float]] = {
    "cosine": scipy_distance.cosine,
    "l2": scipy_distance.euclidean,
    "squared": scipy_distance.sqeuclidean,
    "mean_squared": lambda a, b: scipy_distance.sqeuclidean(a, b) / len(a),
    "l1": scipy_distance.cityblock,
}


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_distances_are_scipys(name: str) -> None:
    found = distances.DISTANCES[name](torch.from_numpy(A), torch.from_numpy(B))
    expected = [
        [ORACLES[name](a, b) for a, b in zip(*rows, strict=True)] for rows in zip(A, B, strict=True)
    ]
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_distances_have_their_own_finite_differences(name: str) -> None:
    b = torch.from_numpy(B)
    a = torch.from_numpy(A).clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distances.DISTANCES[name](x, b), (a,))


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_equal_and_vanishing_gradients_have_finite_slopes(name: str) -> None:
    for a in (torch.from_numpy(A), torch.zeros(2, 3, 7, dtype=torch.float64)):
        leaf = a.clone().requires_grad_()
        value = distances.DISTANCES[name](leaf, a).sum()
        (slope,) = torch.autograd.grad(value, leaf)
        assert torch.isfinite(slope).all()
        limit = 1e-4 if a.any() else 6.0  # the cosine of nothing with nothing counts as 1 a row
        assert 0 <= float(value.detach()) + 1e-12 <= limit + 1e-9


def test_row_distance_is_the_papers_sum() -> None:
    shapes = [torch.Size((2, 3, 1, 1)), torch.Size((4,)), torch.Size((2, 5))]
    rng = np.random.default_rng(0)
    real, made = (torch.from_numpy(rng.standard_normal((2, 20))) for _ in range(2))
    expected = 0.0
    for c in range(2):
        for lo, hi, rows in ((0, 6, 2), (6, 10, 1), (10, 20, 2)):
            a, b = (v[c, lo:hi].view(rows, -1).numpy() for v in (real, made))
            for i in range(rows):
                expected += ORACLES["cosine"](a[i], b[i]) + 0.1 * ORACLES["l2"](a[i], b[i])
    found = row_distance(real, made, shapes, parse_distance("cosine+0.1*l2"))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("cosine", {"cosine": 1.0}),
        ("cosine_l2", {"cosine": 1.0, "l2": 1.0}),
        ("mse", {"squared": 1.0}),
        ("cosine + 100*mean_squared", {"cosine": 1.0, "mean_squared": 100.0}),
        ("1e-2*l1+0.5*cosine", {"l1": 0.01, "cosine": 0.5}),
        ("1e+3*l1+cosine", {"l1": 1000.0, "cosine": 1.0}),
        ("0.1*cosine_l2", {"cosine": 0.1, "l2": 0.1}),
    ],
)
def test_distances_are_read(text: str, terms: dict[str, float]) -> None:
    assert dict(parse_distance(text)) == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "did you mean 'cosine'"),
        ("cosine+cosine", "names cosine twice"),
        ("-1*l2", "positive number"),
        ("x*l2", "positive number"),
        ("nan*l2", "positive number"),
        ("cosine+", "has an empty term"),
    ],
)
def test_distances_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("*", r"\*")):
        parse_distance(text)


# --- one run of each recipe against a transcription of the papers' algorithms ----------------


def class_batches(config: RunConfig, data: Data, k: int, t: int) -> list[Tensor]:
    """The real batch of each class, in float64."""
    out = []
    for c, rows in enumerate(data.train.index):
        if len(rows) > config.real_batch:
            rng = stream(config.seed, "real-batch", k, t, c)
            rows = rows[rng.choice(len(rows), config.real_batch, replace=False, shuffle=False)]
        out.append(data.train.normalised(rows, dtype=torch.float64))
    return out


def rowwise(a: list[Tensor], b: list[Tensor], norm: float) -> Tensor:
    """Equation 8 or 9 of GM over all layers."""
    total = torch.zeros((), dtype=torch.float64)
    for one, other in zip(a, b, strict=True):
        for x, y in zip(one.flatten(1), other.flatten(1), strict=True):
            total = total + 1 - (x * y).sum() / (x.norm() * y.norm() + 1e-6)
            total = total + norm * (x - y).norm()
    return total


def transcribed(data: Data, config: RunConfig) -> Tensor:
    """DC's algorithm 1 with GM's levels, norms and schedules, in float64."""
    train, classes, ipc = data.train, data.train.classes, config.ipc
    supply, objective = config.supply.settings, config.objective.settings
    if config.formation.settings["start_from"] == "noise":
        start = [
            stream(config.seed, "start", group=c).standard_normal((ipc, *train.shape), np.float32)
            for c in range(classes)
        ]
        s = torch.from_numpy(np.stack(start)).double()
    else:
        rows = [
            train.index[c][stream(config.seed, "start", group=c).permutation(n)[:ipc]]
            for c, n in enumerate(train.counts)
        ]
        s = torch.stack([train.normalised(r, dtype=torch.float64) for r in rows])
    s.requires_grad_()
    labels = torch.arange(classes).repeat_interleave(ipc)
    augmentation = None
    if config.augmentation.kind == "siamese_op":
        augmentation = SiameseOp(**dict(config.augmentation.settings)).for_data(data.flip)
    velocity, number = torch.zeros_like(s), 0
    for k in range(config.iterations):
        with fork_rng(config.seed, "network", k):
            network = build(supply["net"], train.shape, classes).double()
        sgd = torch.optim.SGD(network.parameters(), lr=supply["rate"], momentum=supply["momentum"])
        for t in range(supply["steps"]):
            g_s, g_t, sizes = [], [], []
            for c, real in enumerate(class_batches(config, data, k, t)):
                made = s[c]
                if augmentation is not None:
                    draw = augmentation.draw(stream(config.seed, "augmentation", k, t, c))
                    real, made = augmentation.apply(real, draw), augmentation.apply(made, draw)
                target = torch.full((len(real),), c)
                g_t.append([g.detach() for g in plain_gradients(network, real, target)])
                g_s.append(plain_gradients(network, made, torch.full((ipc,), c)))
                sizes.append(len(real))
            norm = 1.0 if objective["distance"] == "cosine+l2" else 0.0
            intra = torch.stack([rowwise(a, b, norm) for a, b in zip(g_s, g_t, strict=True)]).sum()
            mean_s = [torch.stack(layer).mean(0) for layer in zip(*g_s, strict=True)]
            share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)  # equation 5
            mean_t = [
                torch.einsum("c,c...->...", share, torch.stack(layer))
                for layer in zip(*g_t, strict=True)
            ]
            inter = classes * rowwise(mean_s, mean_t, norm)
            level = objective["level"]
            if level == "interleaved":
                level = "inter" if number % 2 else "intra"
            loss = {"intra": intra, "inter": inter, "multi": intra + inter}[level]
            (gradient,) = torch.autograd.grad(loss, s)
            velocity = config.optimizer.momentum * velocity + gradient
            s = (s - config.optimizer.rate * velocity).detach().requires_grad_()
            number += 1
            if t == supply["steps"] - 1:
                break  # the network is not used any more
            zeta = supply["epochs"] if isinstance(supply["epochs"], list) else [supply["epochs"]]
            held_out = watched(config, data, k, t)
            before = cross_entropy(network(held_out[0]), held_out[1])
            until_overfit = supply["until"] == "overfit"
            for epoch in range(supply["cap"] if until_overfit else zeta[min(t, len(zeta) - 1)]):
                images = s.detach().flatten(0, 1)
                if supply["augmentation"] == "batch_op":
                    images, target = augmented_batch(images, labels, config, data, (k, t, epoch))
                else:
                    target = labels
                sgd.zero_grad()
                cross_entropy(network(images), target).backward()
                sgd.step()
                now = cross_entropy(network(held_out[0]), held_out[1])
                if until_overfit and now > before:  # section 4.4
                    break
                before = now
    return s.detach()


def watched(config: RunConfig, data: Data, k: int, t: int) -> tuple[Tensor, Tensor]:
    """The mixed real batch whose loss says when a network overfits."""
    train, n = data.train, config.supply.settings["validation"]
    rng = stream(config.seed, "validation", k, t)
    rows = torch.from_numpy(rng.choice(len(train), min(n, len(train)), replace=False))
    return train.normalised(rows, dtype=torch.float64), train.labels[rows]


def augmented_batch(
    images: Tensor, labels: Tensor, config: RunConfig, data: Data, address: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    """What the network learns from in DSA: the shuffled set under one op with its own draws."""
    from condensery.augment import augment_batch, parse_strategy

    rng = stream(config.seed, "update", *address)
    order = torch.from_numpy(rng.permutation(len(images)))
    strategy = parse_strategy(str(config.supply.settings["strategy"]))
    strategy = strategy if data.flip else strategy.without("flip")
    return augment_batch(images[order], rng, strategy), labels[order]


@pytest.mark.parametrize("recipe", GRADIENT_RECIPES)
def test_exact_is_a_transcription_of_the_paper(recipe: str) -> None:
    data = tiny(channels=3)
    schedule: dict[str, Any] = {"supply.steps": 3}
    if recipe == "gm_mda":
        schedule["iterations"] = 1  # of 50 and 40 epochs
    else:
        schedule["supply.epochs"] = 2
    if recipe == "gm_mdo":  # a rate and a batch with which some networks overfit, and some do not
        schedule |= {"supply.cap": 6, "supply.rate": 0.3, "supply.validation": 12}
    config = configure(data, recipe, {**SMALL, **schedule, "optimizer.rate": 0.02})
    if recipe == "gm_mda":
        assert config.supply.settings["epochs"][:5] == [50, 40, 30, 20, 10]
    condenser = Condenser(data, config, FLOAT64)
    start = condenser.stored.detach().clone()
    condenser.run()
    found = condenser.stored.detach()
    torch.testing.assert_close(found, transcribed(data, config), rtol=1e-7, atol=1e-9)
    assert (found - start).abs().mean() > 1e-4, "the pixels must have moved"
    if recipe == "gm_mdo":
        report = condenser.supply.report()
        assert 4 < report["epochs"] < 4 * 6, "neither at once nor at the cap alone"


@pytest.mark.parametrize("distance", [*distances.DISTANCES, "cosine+100*mean_squared"])
@pytest.mark.parametrize("level", ["intra", "multi"])
def test_pixel_gradients_of_every_distance(distance: str, level: str, tiny_data: Data) -> None:
    given = {**SMALL, "objective.distance": distance, "objective.level": level}
    config = configure(tiny_data, "dc", given)
    condenser = Condenser(tiny_data, config, FLOAT64)
    network, stored = condenser.supply.new(0), condenser.stored.detach().clone()
    loss, gradient = condenser.matcher.gradient(network, stored, 0, 0)

    terms = parse_distance(distance)
    network.requires_grad_(True)
    leaf = stored.clone().requires_grad_()
    g_s, g_t, sizes = [], [], []
    for c, real in enumerate(class_batches(config, tiny_data, 0, 0)):
        g_t.append(
            [g.detach() for g in plain_gradients(network, real, torch.full((len(real),), c))]
        )
        g_s.append(plain_gradients(network, leaf[c], torch.full((config.ipc,), c)))
        sizes.append(len(real))

    def slowly(a: list[Tensor], b: list[Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for one, other in zip(a, b, strict=True):
            for x, y in zip(one.flatten(1), other.flatten(1), strict=True):
                each = {
                    "cosine": 1 - x @ y / (x.norm() * y.norm() + 1e-6),
                    "l2": (x - y).norm(),
                    "squared": ((x - y) ** 2).sum(),
                    "mean_squared": ((x - y) ** 2).sum() / len(x),
                    "l1": (x - y).abs().sum(),
                }
                for name, weight in terms.items():
                    total = total + weight * each[name]
        return total

    expected = torch.stack([slowly(a, b) for a, b in zip(g_s, g_t, strict=True)]).sum()
    if level == "multi":
        share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
        mean_t = [
            torch.einsum("c,c...->...", share, torch.stack(g)) for g in zip(*g_t, strict=True)
        ]
        mean_s = [torch.stack(g).mean(0) for g in zip(*g_s, strict=True)]
        expected = expected + len(sizes) * slowly(mean_s, mean_t)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-9, atol=1e-12)
    (slope,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(gradient, slope, rtol=1e-8, atol=1e-11)

    direction = torch.from_numpy(stream(0, "direction").standard_normal(tuple(stored.shape)))
    step = 1e-6
    ahead, _ = condenser.matcher.gradient(network, stored + step * direction, 0, 0)
    behind, _ = condenser.matcher.gradient(network, stored - step * direction, 0, 0)
    along = float((gradient * direction).sum())
    assert float(ahead - behind) / (2 * step) == pytest.approx(along, rel=1e-4)


def after(data: Data, plan: Plan, recipe: str, **overrides: Any) -> Tensor:
    condenser = Condenser(data, configure(data, recipe, {**SMALL, **overrides}), plan)
    condenser.run()
    found: Tensor = condenser.stored.detach()
    return found


@pytest.mark.parametrize("recipe", ["dc", "gm_inter", "gm_md"])
def test_neither_chunks_nor_memory_change_anything(recipe: str, tiny_data: Data) -> None:
    given = {"ipc": 3, "iterations": 1, "supply.steps": 2, "supply.epochs": 1}
    expected = after(tiny_data, FLOAT64, recipe, **given)
    less = 1e-9
    for change in ({"chunk": 1}, {"chunk": 2, "memory_gb": less}, {"memory_gb": less}):
        plan = dataclasses.replace(FLOAT64, **change)
        torch.testing.assert_close(after(tiny_data, plan, recipe, **given), expected)


def test_limiting_cases(tiny_data: Data) -> None:
    """GM without the mean is DC; DSA without augmentation from noise is DC."""
    one = {"supply.steps": 2, "supply.epochs": 2}
    dc = after(tiny_data, FLOAT64, "dc", **one)
    same = {"objective.level": "intra", "supply.momentum": 0.0}
    assert torch.equal(after(tiny_data, FLOAT64, "gm_m", **one, **same), dc)
    plain = {
        "augmentation.kind": "none",
        "supply.augmentation": "none",
        "formation.start_from": "noise",
    }
    assert torch.equal(after(tiny_data, FLOAT64, "dsa", **one, **plain), dc)
    tiny_mean = {**same, "objective.level": "multi", "objective.inter_weight": 1e-12}
    nearly = after(tiny_data, FLOAT64, "gm_m", **one, **tiny_mean)
    torch.testing.assert_close(nearly, dc, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "net", ["convnet2:width=4,norm=batch", "resnetap10:norm=batch", "mlp:width=8"]
)
def test_other_networks_condense(net: str) -> None:
    data = tiny(channels=3)
    config = configure(data, "dc", {**SMALL, "iterations": 1, "supply.net": net, "supply.steps": 2})
    condenser = Condenser(data, config, exact_plan("cpu", 1))
    start = condenser.stored.detach().clone()
    condenser.run()
    moved = condenser.stored.detach() - start
    assert torch.isfinite(moved).all()
    assert (moved != 0).double().mean() > 0.9
    assert config.optimizer.rate == (0.01 if net.startswith("mlp") else 0.1)


def test_batch_statistics_are_those_of_the_real_query() -> None:
    data = tiny((20, 7, 30))
    config = configure(data, "dc", {**SMALL, "supply.net": "convnet1:width=4,norm=batch"})
    condenser = Condenser(data, config, FLOAT64)
    network = condenser.supply.new(0)
    seen: list[Tensor] = []
    norm = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    handle = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    condenser.supply.prepare(network, condenser.context())
    handle.remove()
    (maps,) = seen
    assert len(maps) == 16 + 7 + 16, "16 images per class, or all of a smaller one"
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)))
    assert not norm.training
    assert network.training


def movement(data: Data, plan: Plan, recipe: str, **overrides: Any) -> Tensor:
    """What a run adds to its start."""
    start = after(data, plan, recipe, **{**overrides, "iterations": 0})
    return after(data, plan, recipe, **overrides) - start


def apart(found: Tensor, expected: Tensor) -> float:
    """Relative distance of two movements."""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.slow  # the same functions are compiled for batches of classes below
@pytest.mark.parametrize("recipe", ["dc", "gm_md"])
def test_compiled_equals_eager(recipe: str, tiny_data: Data) -> None:
    eager = Plan(chunk=4)
    fast = dataclasses.replace(eager, compile=True, channels_last=True)
    one = {"iterations": 1, "supply.steps": 2, "supply.epochs": 2}
    expected = movement(tiny_data, eager, recipe, **one)
    assert apart(movement(tiny_data, fast, recipe, **one), expected) < 1e-3


def _batches_and_a_loop(
    data: Data, recipe: str, net: str, compiled: bool = True
) -> tuple[Tensor, Tensor]:
    """How far pixels move when classes are compiled as a batch, and when taken one by one."""
    loop = Plan(chunk=36, compile=compiled, channels_last=True)
    batch = dataclasses.replace(loop, compile=True, together=True)
    # Classes of unequal size: the batch has to be filled.
    one: dict[str, Any] = {"iterations": 1, "supply.steps": 1, "real_batch": 12}
    one |= {"optimizer.rate": 0.01, "supply.net": net}
    return movement(data, batch, recipe, **one), movement(data, loop, recipe, **one)


@pytest.mark.usefixtures("traced_only")
def test_traced_batches_of_classes_equal_a_loop() -> None:
    data, net = tiny((12, 7, 7)), "convnet1:width=4"
    assert apart(*_batches_and_a_loop(data, "gm_md", net, compiled=False)) < 1e-4


@pytest.mark.slow  # a minute of the C++ compiler, where nothing is cached
@pytest.mark.parametrize("recipe", ["dc", "gm_md"])
def test_compiled_batches_of_classes_equal_a_loop(recipe: str, tiny_data: Data) -> None:
    assert apart(*_batches_and_a_loop(tiny_data, recipe, "convnet2:width=4")) < 1e-4


def test_bfloat16_stays_close(tiny_data: Data) -> None:
    one = {"iterations": 1, "supply.steps": 1, "real_batch": 12}
    start = after(tiny_data, FLOAT64, "dc", **{**one, "iterations": 0})
    reference = after(tiny_data, FLOAT64, "dc", **one) - start
    half = Plan(real_dtype="bfloat16", update_dtype="bfloat16", chunk=4)
    found = after(tiny_data, half, "dc", **one).double() - start
    assert torch.nn.functional.cosine_similarity(found.flatten(), reference.flatten(), dim=0) > 0.99


def test_layer_norms_parameters_take_part_as_in_the_authors_program() -> None:
    """They have a dimension for each of a map's: 768 of ConvNet-3's 1162 rows."""
    network = build("convnet3:norm=layer", (3, 32, 32), 10)
    shapes = matched_parameters(network, "weights")
    rows = {name: shape[0] for name, shape in shapes.items()}
    assert sum(rows.values()) == 1162
    norms = {n for n, m in network.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert sum(count for name, count in rows.items() if name.rpartition(".")[0] in norms) == 768
    assert not any(name.endswith(".bias") and name.rpartition(".")[0] not in norms for name in rows)
