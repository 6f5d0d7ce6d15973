"""What is compared between the real and the synthetic batches."""

from typing import Any

from .base import Objective as Objective
from .class_gradients import ClassGradients as ClassGradients
from .mean_features import MeanFeatures as MeanFeatures

#: What a recipe calls each kind.
KINDS: dict[str, type[Any]] = {
    "class_gradients": ClassGradients,
    "mean_features": MeanFeatures,
}
