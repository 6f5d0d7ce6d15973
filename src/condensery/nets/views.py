"""What an objective asks of any network: its embedding, its layers, whether it mixes examples."""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from condensery.errors import UsageError


class Network(Protocol):
    """What the networks of this package offer; other modules may, and are then asked themselves."""

    def embed(self, images: Tensor) -> Tensor:
        """N×d: what feeds the classifier."""

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Layer names, in order, and their features; the last is ``embedding``."""


class Chained(Protocol):
    """A network that is a plain chain of layers, such as a ConvNet."""

    def chain(self) -> list[nn.Module]:
        """The layers in order; their composition is the network."""


def has_batch_norm(net: nn.Module) -> bool:
    """Whether the network has a batch norm, whatever its mode."""
    return any(isinstance(module, _BatchNorm) for module in net.modules())


def mixes_examples(net: nn.Module) -> bool:
    """Whether one example's output depends on the others of its batch as the network is now.

    Batch norm's does, unless its statistics are frozen (evaluation mode).
    """
    return any(
        isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
        for module in net.modules()
    )


def chain(net: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The layers of a network that is a plain chain of them, with the prefixes of their parameters.

    None for any other network: one with shortcuts, or a third-party one.
    """
    if not _has_method(net, "chain"):
        return None
    prefixes = {id(module): name for name, module in net.named_modules()}
    return [(prefixes.get(id(layer), ""), layer) for layer in cast(Chained, net).chain()]


def embed(net: nn.Module, images: Tensor) -> Tensor:
    """What feeds the network's last linear layer, N×d: ψ of DM (equation 3).

    A module whose class has no method ``embed`` is run with a hook on its last ``nn.Linear``.

    Raises:
        UsageError: for a third-party module without such a layer.
    """
    if _has_method(net, "embed"):
        out = cast(Network, net).embed(images)
        if out.dim() != 2:
            raise UsageError(
                f"{type(net).__name__}.embed returned {out.dim()} dimensions; it must return the "
                "classifier's input, flattened to N×d"
            )
        return out
    return _fed_to_last_linear(net, images)


def embed_and_classify(net: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding, N×d, and the logits, N×classes: one pass where a network is one.

    The networks of this package have a ``classifier`` that their embedding goes into. Any other
    module is run twice.
    """
    classifier = getattr(net, "classifier", None)
    if isinstance(classifier, nn.Linear) and _has_method(net, "embed"):
        embedding = embed(net, images)
        return embedding, classifier(embedding)
    return embed(net, images), net(images)


def features(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The layers that CAFE aligns, by name and in order; the last is ``embedding``.

    A module whose class has no method ``features`` has its embedding alone.
    """
    if _has_method(net, "features"):
        return cast(Network, net).features(images)
    return {"embedding": embed(net, images)}


def _has_method(net: nn.Module, name: str) -> bool:
    # Of the class: a submodule of that name, such as a feature extractor, is something else.
    return callable(getattr(type(net), name, None))


def _fed_to_last_linear(net: nn.Module, images: Tensor) -> Tensor:
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    remedy = "give its class a method embed(images) that returns N×d"
    if not linears:
        raise UsageError(
            f"{type(net).__name__} has no nn.Linear whose input could be used; {remedy}"
        )
    caught: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        caught[:] = [inputs[0]]

    handle = linears[-1].register_forward_pre_hook(catch)
    try:
        net(images)
    finally:
        handle.remove()
    if not caught:
        raise UsageError(f"{type(net).__name__} does not use its last nn.Linear; {remedy}")
    return caught[0].flatten(1)
