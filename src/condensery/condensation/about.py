"""What a condensed set says of the run that made it."""

from __future__ import annotations

from typing import Any

from condensery.config.schema import RunConfig
from condensery.data import LabelledSet
from condensery.sets.about import About, Source


def about_run(
    train: LabelledSet,
    config: RunConfig,
    iterations: int,
    *,
    flip: bool,
    zca: bool,
    rate: int | None,
) -> About:
    """The description that goes into the set's file.

    Args:
        train: what was condensed.
        config: of the run.
        iterations: outer iterations done.
        flip: whether augmentation might flip images horizontally.
        zca: whether the images were whitened.
        rate: samples per second of recordings.
    """
    # A known name goes into the file, but not where users keep their own data.
    named = _without_places(config.as_dict())
    named["data"] = train.name if config.data == train.name else None
    named["zca"], named["sample_rate"] = zca, rate  # what was found, if not requested
    return About(
        method=config.recipe,
        formation=config.formation,
        ipc=config.ipc,
        seed=config.seed,
        iterations=iterations,
        class_names=train.class_names,
        mean=train.mean,
        std=train.std,
        flip=flip,
        source=Source(train.name, train.fingerprint, len(train), train.nbytes),
        config=named,
    )


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the paths of this machine; their content has fingerprints."""
    return {
        name: {k: v for k, v in value.items() if k != "path"} if isinstance(value, dict) else value
        for name, value in config.items()
    }
