"""Networks of other packages, by import path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from condensery.config.imports import imported
from condensery.config.net_spec import Spec
from condensery.errors import UsageError, unknown_name
from condensery.utils.reading import json_of

from .sizes import Shape


def build_foreign(spec: Spec, shape: Shape, classes: int, known: Iterable[str]) -> nn.Module:
    """The module at an import path, given facts about the data through arguments of these names.

    It gets those of ``channels``/``in_channels``, ``classes``/``num_classes``,
    ``size``/``image_size`` (an int for square images, else height and width) and ``shape``
    (C, H, W) that its signature has, and the spec's options, which win.

    Raises:
        UsageError: when it cannot be imported, lacks an argument, is given one that it does not
            take, makes something else than a module, or ends in another number of classes.
    """
    make = _locate(spec.name, known)
    takes = _parameters(make, spec.name)
    given = {**_facts(takes, shape, classes), **_options(spec, takes)}
    lacking = [
        p.name
        for p in takes.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.default is p.empty
        and p.name not in given
    ]
    if lacking:
        raise UsageError(
            f"{spec.name} needs {', '.join(lacking)}, which the data do not determine; add it to "
            f"the network, as in {spec.name}:{lacking[0]}=VALUE. It takes {_listed(takes)}"
        )
    try:
        network = make(**given)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{spec.name} cannot be built with {given}: {error}. It takes {_listed(takes)}"
        ) from error
    _settle(network, shape)
    if not {"classes", "num_classes"} & set(given):
        _check_classes(network, spec.name, classes)
    return network


def _settle(network: nn.Module, shape: Shape) -> None:
    """Give layers that wait for their first input, such as ``nn.LazyLinear``, their sizes."""
    if any(is_lazy(p) for p in network.parameters()):
        was = network.training
        with torch.no_grad():
            network.eval()(torch.zeros(2, *shape))
        network.train(was)


def _locate(path: str, known: Iterable[str]) -> type[nn.Module]:
    hint = f". Write package.module:Class, or one of {', '.join(known)}"
    found = imported(path, "the network", hint)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        what = found.__name__ if isinstance(found, type) else f"a {type(found).__name__}"
        raise UsageError(
            f"the network '{path}' is {what}, not a subclass of torch.nn.Module; name a class of "
            "networks"
        )
    return found


def _parameters(make: Callable[..., Any], path: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{path} has no readable signature; wrap it in a class that has one"
        ) from error


def _facts(takes: Mapping[str, Any], shape: Shape, classes: int) -> dict[str, Any]:
    channels, height, width = shape
    size = height if height == width else (height, width)
    known = {
        "channels": channels,
        "in_channels": channels,
        "classes": classes,
        "num_classes": classes,
        "size": size,
        "image_size": size,
        "shape": shape,
    }
    return {name: value for name, value in known.items() if name in takes}


def _options(spec: Spec, takes: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    if not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        for key in spec.options:
            if key not in takes:
                raise unknown_name(f"argument of {spec.name}", key, takes)
    return {key: _value(text) for key, text in spec.options.items()}


def _value(text: str) -> Any:
    """A number, true, false or null; anything else is a string."""
    try:
        return json_of(text)
    except ValueError:
        return text


def _listed(takes: Mapping[str, inspect.Parameter]) -> str:
    return ", ".join(str(p.replace(annotation=p.empty)) for p in takes.values()) or "no arguments"


def _check_classes(network: nn.Module, path: str, classes: int) -> None:
    """A network that does not receive the number of classes would silently keep its own."""
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if linears and linears[-1].out_features != classes:
        raise UsageError(
            f"{path} ends in {linears[-1].out_features} outputs and the data have {classes} "
            "classes; give it an argument named classes or num_classes"
        )
