"""Where matching networks come from, and how they move on."""

from typing import Any

from .base import Context as Context
from .base import Supply as Supply
from .dynamic import Dynamic as Dynamic
from .fresh import Fresh as Fresh
from .from_pool import FromPool as FromPool
from .trained_on_real import TrainedOnReal as TrainedOnReal
from .trained_on_synthetic import TrainedOnSynthetic as TrainedOnSynthetic

#: What a recipe calls each kind.
KINDS: dict[str, type[Any]] = {
    "dynamic": Dynamic,
    "fresh": Fresh,
    "pool": FromPool,
    "trained_on_real": TrainedOnReal,
    "trained_on_synthetic": TrainedOnSynthetic,
}
