"""What a recipe does with a limit of time: the ``budget`` section of its file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from condensery.errors import UsageError

from .build import make
from .recipes import OVER, with_cases

SECTION = "budget"


@dataclass(frozen=True, kw_only=True)
class TimeBudget:
    """How a recipe with ``--minutes`` spends them; everything chosen ends up in ``recipe.yaml``."""

    pool: float = 0.3
    """Share of the time in which a pool of networks is trained; 0: the recipe's own networks."""
    least_epochs: float = 0.3
    """Epochs below which a network knows too little: then networks are fresh and tell no class."""
    most_epochs: float = 10.0
    """Epochs after which a network need not be trained further, if it took ``least_steps``."""
    least_steps: int = 0
    """Steps that a network needs; on few images it is trained beyond ``most_epochs`` for them."""
    few_images: int = 0
    """Training images per class, on average, below which networks are fresh and tell no class,
    unless the data are easy: what a pool learns of so few holds for no others."""
    ahead: float = 0.0
    """The pool's ``supply.ahead``."""
    width: int | None = 64
    """Filters of a ConvNet on a CPU, where the network was not named; null: its own."""
    rate: float = 0.05
    """Learning rate of the pool's networks."""
    batch: int = 128
    """Images per step of the pool's networks."""
    schedule: Literal["constant", "linear"] = "constant"
    """Of that rate, as ``condensery pool --schedule``."""
    average: float = 0.0
    """Of the pool's weights, as ``condensery pool --average``."""
    early: float = 0.0
    """Share of the pool's training before which no weights are kept: such networks know little."""
    early_steps: int = 0
    """Training steps after which weights are kept even so; 0: by the share alone."""
    known: float = 100.0
    """What the pool knows of held-out images, in percent, above which the data are easy: networks
    that know nearly every image have little to tell. 0 is what naming the most frequent class gets
    right, and 100 every image."""
    least_known: float = 0.0
    """What it has to know, on that scale: networks are fresh, and tell no class, below it."""
    easy: dict[str, Any] = field(default_factory=lambda: {"objective.classification": 0.0})
    """Fields, dotted, that easy data get. With another supply than the pool, a network trained for
    a tenth of the pool's time tells whether they are easy, and the pool is not trained then.
    Batches that stand here are not made larger."""
    detail: float = 0.0
    """Share of the training images' variance that tiles must keep: the largest factor that does,
    up to the recipe's ``formation.factor``, is taken; 0: the recipe's own."""
    least_iterations: int = 1
    """Iterations below which nothing is learned, because so few make a set worse than its start."""
    enough_iterations: int = 0
    """Where more would fit, every step takes larger batches instead, real and synthetic alike; 0:
    the recipe's batches."""
    most_real: int = 256
    """Real images per class that such a step takes at most. Of synthetic ones it takes all there
    are at most."""

    def __post_init__(self) -> None:
        kinds = {"pool": "share", "early": "share", "average": "decay", "detail": "share"}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise UsageError(f"budget.{name} is a {kind} from 0 to below 1, got {value:g}")
        for name in ("known", "least_known"):
            if not 0 <= getattr(self, name) <= 100:
                raise UsageError(
                    f"budget.{name} is a percentage from 0 to 100, got {getattr(self, name):g}"
                )
        least = {
            "least_steps": 0,
            "early_steps": 0,
            "few_images": 0,
            "least_iterations": 0,
            "enough_iterations": 0,
            "most_real": 1,
            "batch": 1,
            "ahead": 0,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(
                    f"budget.{name} must be at least {bound}, got {getattr(self, name):g}"
                )
        if not 0 < self.rate < math.inf:
            raise UsageError(f"budget.rate must be positive, got {self.rate:g}")
        if not 0 < self.least_epochs <= self.most_epochs:
            raise UsageError(
                f"budget.least_epochs ({self.least_epochs:g}) must be positive and at most "
                f"budget.most_epochs ({self.most_epochs:g})"
            )


def time_budget(
    recipe: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> TimeBudget | None:
    """What a recipe, or what stands on top of one, says of time; None where it says nothing.

    Args:
        recipe: its content.
        facts: what its cases may ask for; they are left alone by default.

    Raises:
        UsageError: for a field or value that is invalid.
    """
    found: dict[str, Any] = {}
    for part in (recipe, recipe.get(OVER, {})):
        held = (part if facts is None else with_cases(part, facts)).get(SECTION) or {}
        if not isinstance(held, Mapping):
            raise UsageError(f"budget must be a mapping of fields, got {held!r}")
        found.update(held)
    if not found:
        return None
    made: TimeBudget = make(TimeBudget, found, SECTION)
    return made
