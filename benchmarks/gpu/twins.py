"""Plain class-by-class float32 twins of the steps, on any device.

The same work as the twins of the benchmarks beside this folder, with every tensor made on the
device: eager, one class after another, with ReLUs in place and no needless work. Those that already
ran on any device are taken from there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from condensery.augment import augment_batch, augment_sequence, cutmix, parse_strategy
from condensery.condensation.loop import Condenser
from condensery.condensation.matching.draws import draw_step
from condensery.nets import embed
from condensery.runtime.randomness import stream

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cafe_step import layers_of
from gradient_step import twin_distance

from measure import in_place


@contextmanager
def plain(device: str, tf32: bool = False) -> Iterator[None]:
    """Torch's switches as a plain program has them; TF32 in convolutions is torch's default."""
    if not device.startswith("cuda"):
        yield
        return
    torch.set_float32_matmul_precision("highest")
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=False, allow_tf32=tf32
    )
    with flags:
        yield


def labels_of(c: int, images: Tensor) -> Tensor:
    """As many labels of a class as there are images."""
    return torch.full((len(images),), c, device=images.device)


def dm_step(run: Condenser, k: int) -> Tensor:
    """DM, algorithm 1, with the pixels' update: a fresh network, class by class."""
    train, rate = run.train, run.config.optimizer.rate
    network = in_place(run.supply.new(k))
    draws = draw_step(train, run.augmentation, run.task, run.config.real_batch, k, 0)
    losses, leaf = [], run.stored.detach().requires_grad_()
    for c, rows in enumerate(draws.rows):
        with torch.no_grad():
            images = run.augmentation.apply(train.normalised(rows), draws.augmentation[c])
            real = embed(network, images).mean(0)
        made = embed(network, run.augmentation.apply(leaf[c], draws.augmentation[c])).mean(0)
        losses.append((real - made).square().sum())
    slope: Tensor = torch.autograd.grad(torch.stack(losses).sum(), leaf)[0]
    with torch.no_grad():
        leaf -= rate * slope
    return slope


def gradient_match(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """DC's algorithm 1, lines 5 to 7 (GM's with the mean): the gradient to the pixels."""
    train, augmentation = run.train, run.augmentation
    draws = draw_step(train, augmentation, run.task, run.config.real_batch, k, 0)
    in_place(network).requires_grad_(True)
    weights = [p for p in network.parameters() if p.dim() >= 2]
    settings = run.config.objective.settings
    norm, multi = "l2" in settings["distance"], settings["level"] == "multi"
    slopes, reals, mades, pixels = [], [], [], []
    for c, rows in enumerate(draws.rows):
        images = augmentation.apply(train.normalised(rows), draws.augmentation[c])
        loss = cross_entropy(network(images), labels_of(c, images))
        real = list(torch.autograd.grad(loss, weights))
        leaf = run.stored[c].detach().requires_grad_()
        images = augmentation.apply(leaf, draws.augmentation[c])
        loss = cross_entropy(network(images), labels_of(c, images))
        made = list(torch.autograd.grad(loss, weights, create_graph=True))
        if multi:
            reals.append(real)
            mades.append(made)
            pixels.append(leaf)
        else:
            slopes.append(torch.autograd.grad(twin_distance(made, real, norm), leaf)[0])
    if multi:
        pairs = zip(mades, reals, strict=True)
        total = torch.stack([twin_distance(a, b, norm) for a, b in pairs]).sum()
        mean_real = [torch.stack(layer).mean(0) for layer in zip(*reals, strict=True)]
        mean_made = [torch.stack(layer).mean(0) for layer in zip(*mades, strict=True)]
        total = total + len(reals) * twin_distance(mean_made, mean_real, norm)
        slopes = list(torch.autograd.grad(total, pixels))
    network.requires_grad_(False)
    return torch.stack(slopes)


def train_epochs(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    *,
    rate: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch: int = 256,
    strategy: str | None = None,
) -> None:
    """A network's training on a small set: eager, one batch after another."""
    in_place(network).train().requires_grad_(True)
    sgd = torch.optim.SGD(
        network.parameters(), lr=rate, momentum=momentum, weight_decay=weight_decay
    )
    ops = parse_strategy(strategy) if strategy else None
    for epoch in range(epochs):
        rng = stream(0, "twin", epoch)
        order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
        for rows in order.split(batch):
            taken = images[rows]
            if ops is not None:
                taken = augment_batch(taken, rng, ops)
            sgd.zero_grad()
            cross_entropy(network(taken), labels[rows]).backward()
            sgd.step()


def supply_epochs(run: Condenser, network: nn.Module, epochs: int) -> None:
    """The epochs between two pixel steps of DC, DSA, GM and CAFE."""
    settings = run.config.supply.settings
    augmented = settings.get("augmentation") == "batch_op"
    train_epochs(
        network,
        *run.context().synthetic(),
        epochs,
        rate=settings["rate"],
        momentum=settings["momentum"],
        batch=settings["batch"],
        strategy=settings["strategy"] if augmented else None,
    )


def decoded(stored: Tensor, run: Condenser) -> Tensor:
    """The quarters of each stored image at full size, by torch's own upsampling."""
    facts = run.train.mean, run.train.std
    mean, std = (torch.tensor(v, device=stored.device).view(-1, 1, 1) for v in facts)
    half = stored.shape[-1] // 2
    cells = [stored[..., a : a + half, b : b + half] for a in (0, half) for b in (0, half)]
    made = [interpolate(cell, stored.shape[-2:], mode="bilinear") for cell in cells]
    return (torch.stack(made, 1).flatten(0, 1) - mean) / std


def idc_match(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """The slope of the distances between the convolutions' gradients, class by class."""
    train, augmentation = run.train, run.augmentation
    draws = draw_step(train, augmentation, run.task, run.config.real_batch, k, 0)
    whole = run.formation.decoded(run.stored.shape[1])
    taken = min(whole, run.config.synthetic_batch or whole)
    rows = draws.with_synthetic(run.task, whole, taken, k, 0).synthetic if taken < whole else None
    in_place(network).requires_grad_(True)
    weights = [p for p in network.parameters() if p.dim() == 4]
    out = []
    for c, members in enumerate(draws.rows):
        images = augmentation.apply(train.normalised(members), draws.augmentation[c])
        real = torch.autograd.grad(cross_entropy(network(images), labels_of(c, images)), weights)
        leaf = run.stored[c].detach().requires_grad_()
        made = decoded(leaf, run)
        made = made if rows is None else made[rows[c]]
        made = augmentation.apply(made, draws.augmentation[c])
        loss = cross_entropy(network(made), labels_of(c, made))
        found = torch.autograd.grad(loss, weights, create_graph=True)
        total = torch.stack([(a - b).square().sum() for a, b in zip(real, found, strict=True)])
        out.append(torch.autograd.grad(total.sum(), leaf)[0])
    network.requires_grad_(False)
    return torch.stack(out)


def idc_update(run: Condenser, network: nn.Module, k: int) -> None:
    """The network's steps on real images."""
    settings, train = run.config.supply.settings, run.train
    in_place(network).train().requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    rng = stream(0, "update-real", k, 0)
    count = min(settings["images"], len(train))
    picked = torch.from_numpy(rng.choice(len(train), count, replace=False)).to(train.device)
    strategy = parse_strategy(settings["strategy"])
    for rows in picked.split(settings["batch"]):
        images = augment_sequence(train.normalised(rows), rng, strategy)
        images, one, other, share = cutmix(images, train.labels[rows], rng, p=settings["cutmix"])
        logits = network(images)
        loss = share * cross_entropy(logits, one)
        if share < 1:
            loss = loss + (1 - share) * cross_entropy(logits, other)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    network.requires_grad_(False)


def cafe_match(run: Condenser, network: nn.Module, k: int) -> Tensor:
    """Equations 1 to 4 and their gradient to the pixels."""
    in_place(network)
    train, settings = run.train, run.config.objective.settings
    draws = draw_step(train, run.augmentation, run.task, run.config.real_batch, k, 0)
    means, rows, labels = [], [], []
    with torch.no_grad():
        for c, members in enumerate(draws.rows):
            layers = layers_of(network, train.normalised(members))
            means.append([layer.mean(0) for layer in layers])
            rows.append(layers[-1])
            labels.append(labels_of(c, layers[-1]))
    leaf = run.stored.detach().requires_grad_()
    losses, centers = [], []
    for c, real in enumerate(means):
        made = [layer.mean(0) for layer in layers_of(network, leaf[c])]
        for weight, a, b in zip(settings["weights"], real, made, strict=True):
            losses.append(weight * (a - b).square().sum())
        centers.append(made[-1])
    logits = torch.cat(rows) @ torch.stack(centers).T
    loss = torch.stack(losses).sum() + settings["discrimination"] * cross_entropy(
        logits, torch.cat(labels), reduction=settings["reduction"]
    )
    slope: Tensor = torch.autograd.grad(loss, leaf)[0]
    return slope


def cafe_check(run: Condenser, network: nn.Module, number: int) -> float:
    """The accuracy on some images a class, 256 at a time, read once."""
    in_place(network)
    images, labels = run.context().query(run.config.supply.settings["query"], number).all()
    with torch.no_grad():
        pairs = zip(images.split(256), labels.split(256), strict=True)
        right = torch.stack([(network(x).argmax(1) == y).sum() for x, y in pairs]).sum()
    return int(right) / len(images)
