"""Spaces of networks to search, as YAML: families with options, or a list."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from condensery import nets
from condensery.config.recipes import read_yaml
from condensery.data import LabelledSet
from condensery.errors import UsageError
from condensery.runtime.randomness import stream
from condensery.utils.text import plural

#: DM's space (section 3.6): 720 ConvNets.
CONVNETS: dict[str, Any] = {
    "convnet": {
        "width": [32, 64, 128, 256],
        "depth": [1, 2, 3, 4],
        "norm": ["none", "batch", "layer", "instance", "group"],
        "activation": ["sigmoid", "relu", "leaky_relu"],
        "pooling": ["none", "max", "avg"],
    }
}
_MOST = 100_000


def space_of(file: str | None) -> list[str]:
    """The networks of a space, each once.

    Args:
        file: YAML with ``networks``, a list of them, and families whose options have lists of
            values; DM's 720 ConvNets without one.

    Raises:
        UsageError: for a file that is none of this, or too large.
    """
    content = CONVNETS if file is None else read_yaml(Path(file), "--space")
    out: list[str] = []
    for name, options in content.items():
        if name == "networks":
            if not isinstance(options, list) or not all(isinstance(o, str) for o in options):
                raise UsageError(f"networks of --space {file} must be a list of names")
            out += options
            continue
        if not isinstance(options, Mapping):
            raise UsageError(
                f"'{name}' of --space {file} must hold options with lists of values, such as "
                f"{name}: {{width: [32, 64]}}"
            )
        values = [v if isinstance(v, list) else [v] for v in options.values()]
        if np.prod([float(len(v)) for v in values]) > _MOST:
            raise UsageError(f"--space {file} has more than {_MOST} networks; leave some out")
        out += [
            _spec(name, dict(zip(options, one, strict=True))) for one in itertools.product(*values)
        ]
    found = list(dict.fromkeys(out))
    if len(found) < 2:
        raise UsageError(f"--space {file} has {len(found)} networks; a search needs at least 2")
    return found


def _spec(family: str, options: dict[str, Any]) -> str:
    depth = options.pop("depth", "") if family == "convnet" else ""
    pairs = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{family}{depth}:{pairs}" if pairs else f"{family}{depth}"


def sampled(
    space: list[str],
    sample: int | None,
    seed: int,
    train: LabelledSet,
    say: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """A random part of a space, of networks that take the images; in the space's order.

    Args:
        space: what :func:`space_of` gave.
        sample: how many; all by default.
        seed: of the draw.
        train: whose shape and classes the networks must take.
        say: called with a line where some of them do not.

    Raises:
        UsageError: for fewer than two, or more than there are.
    """
    wanted = len(space) if sample is None else sample
    if not 2 <= wanted <= len(space):
        raise UsageError(f"--sample must be 2 to {len(space)}, the size of the space, got {sample}")
    order = [int(i) for i in stream(seed, "search-sample").permutation(len(space))]
    chosen: list[int] = []
    misfits = 0
    for place in order:
        if len(chosen) == wanted:
            break
        try:
            nets.try_out(space[place], train.shape, train.classes, embeds=False)
            chosen.append(place)
        except UsageError as error:
            if not misfits and sample is None:
                say(f"note: left out, since it does not fit: {error}")
            misfits += 1
    if misfits:
        left = plural(misfits, "network")
        say(f"note: {left} of the space left out, for not taking images of this size")
    if len(chosen) < 2:
        raise UsageError(
            "fewer than two networks of the space take these images; give larger ones (--size)"
        )
    return [space[place] for place in sorted(chosen)]
