"""The networks that have names. To add one: a family's file, and a line in ``_FAMILIES``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable

import torch
from torch import nn

from condensery.config.net_spec import Spec, parse
from condensery.errors import UsageError, unknown_name
from condensery.runtime.randomness import fork_rng

from .alexnet import AlexCifarNet, AlexNet
from .convnet import ConvNet
from .densenet import DenseNet121
from .efficientnet import EfficientNetB0
from .foreign import build_foreign
from .lenet import LeNet
from .mlp import MLP
from .norms import NORMS
from .resnet import ResNet10, ResNet18, ResNet18ImageNet
from .resnetap import ResNetAP10, first_width
from .sizes import Shape, first_padding, halvings
from .vgg import VGG11
from .views import embed


def _convnet(
    shape: Shape,
    classes: int,
    *,
    width: int = 128,
    depth: int = 0,
    norm: str = "instance",
    activation: str = "relu",
    pooling: str = "avg",
) -> nn.Module:
    """The usual matching network: blocks by image size, convnetN has N of them."""
    return ConvNet(
        shape,
        classes,
        width=width,
        depth=depth or depth_for(shape),
        norm=norm,
        activation=activation,
        pooling=pooling,
    )


def _resnet18(shape: Shape, classes: int, *, norm: str = "instance") -> nn.Module:
    """ResNet-18 for small images: a 3×3 stem without pooling."""
    return ResNet18(shape, classes, norm=norm)


def _resnet18_ap(shape: Shape, classes: int, *, norm: str = "batch") -> nn.Module:
    """ResNet-18 for small images with average pooling in place of strides, for condensing."""
    return ResNet18(shape, classes, norm=norm, average=True)


#: Name → what builds it; its keyword-only parameters are the spec's keys.
_FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "alexcifarnet": AlexCifarNet,
    "alexnet": AlexNet,
    "convnet": _convnet,
    "densenet121": DenseNet121,
    "efficientnet_b0": EfficientNetB0,
    "lenet": LeNet,
    "mlp": MLP,
    "resnet10": ResNet10,
    "resnet18": _resnet18,
    "resnet18_ap": _resnet18_ap,
    "resnet18_imagenet": ResNet18ImageNet,
    "resnetap10": ResNetAP10,
    "vgg11": VGG11,
}
#: ``convnetN`` is a ConvNet of any depth N; these are the ones that lists show.
_SHOWN_DEPTHS = range(1, 7)


def depth_for(shape: Shape) -> int:
    """Blocks of a ConvNet by image size: 3 up to 32 pixels, 4 to 64, 5 to 128, then 6.

    Never more than the shorter side can be halved.
    """
    depth = 3 + sum(max(shape[1:]) > limit for limit in (32, 64, 128))
    return max(1, min(depth, halvings(first_padding(shape)[1])))


def names() -> list[str]:
    """The names that :func:`build` knows, sorted; ``convnetN`` takes other depths as well."""
    return sorted([*_FAMILIES, *(f"convnet{depth}" for depth in _SHOWN_DEPTHS)])


def families() -> list[str]:
    """The networks of different make, sorted; ``convnet`` stands for all depths."""
    return sorted(_FAMILIES)


def about(name: str) -> tuple[str, dict[str, str | int]]:
    """A network in one line, and its options with their defaults (0: by the size of the images).

    Raises:
        UsageError: for a name that does not exist.
    """
    family, _ = _resolve(_parsed(name))
    text = inspect.getdoc(_FAMILIES[family]) or ""
    return text.partition("\n")[0].rstrip("."), _defaults(family)


def parameters(spec: str, shape: Shape, classes: int) -> int:
    """Trainable parameters of a network of the zoo, without drawing any."""
    with torch.device("meta"):
        network = build(spec, shape, classes)
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def build(spec: str, shape: Shape, classes: int) -> nn.Module:
    """A network with torch's own random initialisation, drawn from torch's global generator.

    Args:
        spec: a name with options, such as ``convnet3``, ``convnet4:width=64,pooling=max`` or
            ``resnet18:norm=batch``, or an import path, ``package.module:Class[:key=value…]``, of
            any module class.
        shape: C, H, W of one image.
        classes: number of classes.

    Raises:
        UsageError: for a name, key or value that does not exist, or images of a size that the
            network cannot take.

    >>> sum(p.numel() for p in build("convnet3", (3, 32, 32), 10).parameters())
    320010
    """
    if len(shape) != 3 or min(shape) < 1 or classes < 1:
        raise UsageError(
            f"a network needs C, H, W of an image and a number of classes, all at least 1; got "
            f"{tuple(shape)} and {classes}"
        )
    parsed = _parsed(spec)
    if parsed.is_path:
        return build_foreign(parsed, shape, classes, names())
    family, options = _resolve(parsed)
    return _FAMILIES[family](shape, classes, **options)


def try_out(spec: str, shape: Shape, classes: int, *, embeds: bool = True) -> nn.Module:
    """A network built and run once on two empty images, so that a misfit is found at the start.

    Args:
        spec: as :func:`build` takes it.
        shape: C, H, W of one image.
        classes: number of classes.
        embeds: whether the embedding is needed, too; accuracies need the logits alone.

    Raises:
        UsageError: when it cannot be built, cannot take such images, or gives no N×classes logits.
    """
    try:
        with fork_rng(0, "try-out"), torch.no_grad():
            network = build(spec, shape, classes)
            images = torch.zeros(2, *shape)
            logits = network(images)
            unchanged = not images.any()
            found = embed(network, torch.zeros(2, *shape)) if embeds else logits
        fits = logits.shape == (2, classes) and len(found) == 2
    except UsageError:
        raise
    except Exception as error:  # a foreign module may raise anything
        words = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"the network '{spec}' does not take {'×'.join(map(str, shape))} images and "
            f"{classes} classes ({words})"
        ) from error
    if not unchanged:
        raise UsageError(
            f"the network '{spec}' changes the images it is given in place; let it work on a copy"
        )
    if not fits:
        raise UsageError(f"the network '{spec}' must return logits of shape N×{classes}")
    return network


def is_import_path(spec: str) -> bool:
    """Whether a spec names a class of another package, which building it would import and call."""
    return parse(spec).is_path


def import_path(network: object) -> str:
    """The spec of a module class that can be imported.

    Raises:
        UsageError: for anything else; every network is built anew, so an instance does not do.
    """
    if not isinstance(network, type) or not issubclass(network, nn.Module):
        instance = isinstance(network, nn.Module)
        what = "an instance of" if instance else "a"
        raise UsageError(
            f"a network is named, such as 'convnet3' or 'package.module:Class', got {what} "
            f"{type(network).__name__}" + "; give its class" * instance
        )
    path = f"{network.__module__}:{network.__qualname__}"
    if getattr(sys.modules.get(network.__module__), network.__qualname__, None) is not network:
        raise UsageError(f"the network class {path} cannot be imported; define it in a module")
    return path


def with_norm(spec: str, norm: str) -> str:
    """The same network with another normalisation.

    Raises:
        UsageError: for a norm that does not exist, a network without one, or an import path.

    >>> with_norm("convnet3:norm=batch", "instance")
    'convnet3:norm=instance'
    """
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS)
    parsed = _parsed(spec)
    if parsed.is_path:
        raise UsageError(
            f"the norm of '{parsed.name}' cannot be changed to {norm} by name; give the network "
            "with the norm you want"
        )
    family, _ = _resolve(parsed)
    if "norm" not in _defaults(family):
        having = [name for name in sorted(_FAMILIES) if "norm" in _defaults(name)]
        raise UsageError(
            f"{parsed.name} has no norm to change to {norm}; networks that have one: "
            f"{', '.join(having)}"
        )
    return str(Spec(parsed.name, {**parsed.options, "norm": norm}))


def describe(spec: str, shape: Shape, classes: int) -> str:
    """One line about a network: its spec, the options left at their defaults, its parameters."""
    parsed = _parsed(spec)
    if parsed.is_path:  # foreign constructors may compute, which a device without data cannot
        with fork_rng(0, "describe"):
            network, options = build(spec, shape, classes), {}
    else:
        with torch.device("meta"):
            network = build(spec, shape, classes)
        family, given = _resolve(parsed)
        options = {k: v for k, v in _defaults(family).items() if k not in given}
        if options.get("depth") == 0:
            options["depth"] = depth_for(shape)
        if options.get("width") == 0:
            options["width"] = first_width(shape)
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    rest = f" ({', '.join(f'{k}={v}' for k, v in options.items())})" if options else ""
    return f"{parsed}{rest}: {count:,} parameters"


def _parsed(spec: str) -> Spec:
    """The parsed spec; its name is one of the zoo's or an import path."""
    parsed = parse(spec)
    head, colon, rest = parsed.name.partition(":")
    if colon and _is_known(head):
        raise UsageError(
            f"'{rest}' in the network '{spec}' is not key=value; write it as in {head}:KEY=VALUE"
        )
    if not parsed.is_path and not _is_known(parsed.name):
        raise unknown_name("network", parsed.name, names())
    return parsed


def _is_known(name: str) -> bool:
    return name in _FAMILIES or re.fullmatch(r"convnet[1-9]\d*", name, re.ASCII) is not None


def _resolve(spec: Spec) -> tuple[str, dict[str, str | int]]:
    """Family and typed options of a spec of the zoo."""
    family, options = spec.name, dict[str, str | int]()
    if spec.name not in _FAMILIES:
        family = "convnet"
        options["depth"] = int(spec.name.removeprefix("convnet"))
        if "depth" in spec.options:
            raise UsageError(
                f"the network '{spec}' sets its depth twice; write convnet:depth="
                f"{spec.options['depth']} or {spec.name}"
            )
    defaults = _defaults(family)
    for key, text in spec.options.items():
        if key not in defaults:
            if not defaults:
                raise UsageError(f"{family} has no options, so {key}={text} cannot be set")
            raise unknown_name(f"option of {family}", key, defaults)
        options[key] = _count(key, text) if isinstance(defaults[key], int) else text
    return family, options


def _defaults(family: str) -> dict[str, str | int]:
    parameters = inspect.signature(_FAMILIES[family]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _count(key: str, text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text, re.ASCII):
        raise UsageError(f"{key} of a network must be a whole number of at least 1, got '{text}'")
    return int(text)
