"""The selections: real images of every class, as condensed sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from condensery.data import Data, load
from condensery.errors import UsageError, unknown_name
from condensery.methods.clusters import k_means
from condensery.methods.formation import Pixels, random_rows
from condensery.runtime.randomness import stream
from condensery.sets.about import About
from condensery.sets.condensed import CondensedSet
from condensery.utils.renamed import old_names

from .about import about_selection as about_selection
from .about import check_budget as check_budget
from .about import networks_of
from .crops import Realistic
from .greedy import herding, k_center, most_forgettable, nearest
from .networks import Networks
from .rded import select_rded

#: What says where and how a network is trained, and nothing about the set.
_PLACE = ("plan", "device", "threads", "on_part", "say")


def select_random(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    sample_rate: int | None = None,
    **renamed: Any,
) -> CondensedSet:
    """Random training images of every class, without replacement.

    The same seed gives the images that a recipe with ``formation.start_from: real`` starts from.

    Args:
        data: anything that :func:`condensery.load` takes.
        ipc: images per class.
        seed: which draw.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        sample_rate: what to resample recordings to.
        **renamed: the old name ``rate`` of ``sample_rate``, which warns.

    Raises:
        DataError: when a class has fewer images than the budget.
    """
    old = old_names("select_random", renamed, {"rate": "sample_rate"})
    rate = old.get("sample_rate", sample_rate)
    loaded = load(data, size=size, channels=channels, sample_rate=rate)
    about = about_selection("random", loaded, ipc=ipc, seed=seed, size=size, channels=channels)
    check_budget(loaded, ipc)
    return _set_of(loaded, random_rows(loaded.train, ipc, seed), about)


def select_herding(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """Images of every class whose running feature mean follows the class mean: see :func:`herding`.

    Features are the embedding of a network trained on the whole training split.

    Args:
        data: anything that :func:`condensery.load` takes; recordings at a rate of your own as
            ``load(…, sample_rate=…)``, since ``rate`` is the training's here.
        ipc: images per class.
        seed: which network.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        networks: shared ones of the same data; otherwise made as ``training`` says.
        **training: what :meth:`Networks.of` takes, such as ``network``, ``epochs`` and ``threads``.

    Raises:
        DataError: when a class has fewer images than the budget.
        UsageError: for a wrong value.
        DivergedError: when the network's training produces NaN or inf.
    """
    given = {"size": size, "channels": channels, "networks": networks, **training}
    return _by_network(data, "herding", ipc, seed, _by_features(herding), **given)


def select_nearest(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """Images of every class nearest to its mean in feature space: see :func:`nearest`.

    Args and errors as of :func:`select_herding`.
    """
    given = {"size": size, "channels": channels, "networks": networks, **training}
    return _by_network(data, "nearest", ipc, seed, _by_features(nearest), **given)


def select_k_center(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """Images of every class that leave none far from them in feature space: see :func:`k_center`.

    Args and errors as of :func:`select_herding`.
    """
    given = {"size": size, "channels": channels, "networks": networks, **training}
    return _by_network(data, "k_center", ipc, seed, _by_features(k_center), **given)


def select_kmeans(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """Images of every class nearest to k-means centroids of its features: see :func:`k_means`.

    Args and errors as of :func:`select_herding`.
    """
    given = {"size": size, "channels": channels, "networks": networks, **training}
    return _by_network(data, "kmeans", ipc, seed, _by_k_means, **given)


def select_forgetting(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """Images of every class that a network forgot most often: see :func:`most_forgettable`.

    Those that it never learned count 0, as in DM's words. Args and errors as of
    :func:`select_herding`.
    """
    given = {"size": size, "channels": channels, "networks": networks, **training}
    return _by_network(data, "forgetting", ipc, seed, _by_forgetting, **given)


def select_forgetting_toneva(
    data: Any,
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    networks: Networks | None = None,
    **training: Any,
) -> CondensedSet:
    """As :func:`select_forgetting`, with images that were never learned first (Toneva et al.).

    Args and errors as of :func:`select_herding`.
    """
    given = {"size": size, "channels": channels, "networks": networks, **training}
    return _by_network(data, "forgetting_toneva", ipc, seed, _unlearned_first, **given)


#: Name, as the papers' tables have it → what selects.
SELECTIONS: dict[str, Callable[..., CondensedSet]] = {
    "random": select_random,
    "herding": select_herding,
    "nearest": select_nearest,
    "k_center": select_k_center,
    "kmeans": select_kmeans,
    "rded": select_rded,
    "forgetting": select_forgetting,
    "forgetting_toneva": select_forgetting_toneva,
}


#: Selections that pack what they keep, and how.
_PACKINGS: dict[str, Callable[..., Realistic]] = {"rded": Realistic}


def selection_named(name: str) -> str:
    """The canonical name of a selection; ``k-center`` is ``k_center``.

    Raises:
        UsageError: for one that does not exist, with the nearest one that does.
    """
    plain = name.replace("-", "_")
    if plain not in SELECTIONS:
        raise unknown_name("selection", name, [known.replace("_", "-") for known in SELECTIONS])
    return plain


def trains(name: str) -> bool:
    """Whether a selection uses a trained network."""
    return name != "random"


def select(
    data: Any,
    method: str = "random",
    *,
    ipc: int = 10,
    seed: int = 0,
    size: int | None = None,
    channels: int | None = None,
    **training: Any,
) -> CondensedSet:
    """Real images of every class: the baselines a condensed set has to beat.

    Args:
        data: anything that :func:`condensery.load` takes.
        method: ``random``, ``herding``, ``nearest``, ``k_center``, ``kmeans``, ``rded``,
            ``forgetting`` or ``forgetting_toneva``.
        ipc: images per class.
        seed: which draw, or which network.
        size: side length in pixels to resize pictures to.
        channels: 1 for grey, 3 for colour.
        **training: ``networks``, or what :meth:`Networks.of` takes; ``random`` trains no network.

    Raises:
        DataError: when a class has fewer images than the budget.
        UsageError: for a wrong name or value.
    """
    name = selection_named(method)
    packing_of(name, training.get("factor"))
    if not trains(name):
        check_no_training(name, training)
        training = {}
    given = {"size": size, "channels": channels, **training}
    return SELECTIONS[name](data, ipc=ipc, seed=seed, **given)


def packing_of(name: str, factor: int | None) -> Realistic | None:
    """How a selection packs what it keeps; None where it keeps whole images.

    Args:
        name: of the selection.
        factor: f×f in a stored image; the selection's own by default.

    Raises:
        UsageError: for a factor where nothing is packed, naming the selections that pack.
    """
    made = _PACKINGS.get(name)
    if made is not None:
        return made() if factor is None else made(factor)
    if factor is not None:
        packing = " or ".join(_PACKINGS)
        raise UsageError(f"{name} keeps whole images; leave out --factor, or select {packing}")
    return None


def check_no_training(name: str, given: dict[str, Any]) -> None:
    """Raise if training settings are given where nothing is trained.

    Raises:
        UsageError: naming them.
    """
    extra = [key for key, value in given.items() if value is not None and key not in _PLACE]
    if extra:
        words = ("net" if key == "network" else key for key in extra)
        flags = ", ".join(f"--{word.replace('_', '-')}" for word in words)
        raise UsageError(f"{name} selection trains no network; leave out {flags}")


def _set_of(data: Data, rows: Tensor, about: About) -> CondensedSet:
    """The images at some rows of the training split, classes × ipc, as a condensed set."""
    train = data.train
    flat = rows.flatten().to(train.images.device)
    return CondensedSet(train.normalised(flat).reshape(*rows.shape, *train.shape), about, Pixels())


#: Networks, seed, class, budget → positions in the class.
_Rule = Callable[[Networks, int, int, int], Tensor]


def _by_features(choose: Callable[[Tensor, int], Tensor]) -> _Rule:
    def rule(networks: Networks, seed: int, c: int, ipc: int) -> Tensor:
        return choose(networks.features(seed, c), ipc)

    return rule


def _by_k_means(networks: Networks, seed: int, c: int, ipc: int) -> Tensor:
    return k_means(networks.features(seed, c), ipc, seed)


def _by_forgetting(networks: Networks, seed: int, c: int, ipc: int) -> Tensor:
    trained, members = networks.trained(seed), networks.train.index[c]
    rng = stream(seed, "selection-ties", group=c)
    return most_forgettable(trained.forgotten[members], ipc, rng)


def _unlearned_first(networks: Networks, seed: int, c: int, ipc: int) -> Tensor:
    trained, members = networks.trained(seed), networks.train.index[c]
    rng = stream(seed, "selection-ties", group=c)
    return most_forgettable(trained.forgotten[members], ipc, rng, trained.learned[members])


def _by_network(
    data: Any,
    method: str,
    ipc: int,
    seed: int,
    rule: _Rule,
    *,
    size: int | None,
    channels: int | None,
    networks: Networks | None,
    **training: Any,
) -> CondensedSet:
    """Select class by class, by what a trained network says."""
    loaded = load(data, size=size, channels=channels)
    check_budget(loaded, ipc)
    networks = networks_of(loaded, networks, training)
    settings = networks.settings
    about = about_selection(
        method, loaded, ipc=ipc, seed=seed, size=size, channels=channels, training=settings
    )
    rows = []
    with torch.no_grad(), networks.plan.applied():
        accuracy = networks.trained(seed).accuracy
        for c, members in enumerate(networks.train.index):
            rows.append(members[rule(networks, seed, c, ipc).to(members.device)].cpu())
    config = {**about.config, "train_accuracy": accuracy}
    return _set_of(loaded, torch.stack(rows), dataclasses.replace(about, config=config))
