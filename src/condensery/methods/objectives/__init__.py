"""What is compared between the real and the synthetic batches."""

from typing import Any

from .aligned_features import AlignedFeatures as AlignedFeatures
from .base import Objective as Objective
from .characteristic_function import CharacteristicFunction as CharacteristicFunction
from .class_gradients import ClassGradients as ClassGradients
from .mean_features import MeanFeatures as MeanFeatures

#: What a recipe calls each kind.
KINDS: dict[str, type[Any]] = {
    "aligned_features": AlignedFeatures,
    "characteristic_function": CharacteristicFunction,
    "class_gradients": ClassGradients,
    "mean_features": MeanFeatures,
}
