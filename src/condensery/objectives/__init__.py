"""What is compared between the real and the synthetic batches."""

from .base import Objective as Objective
from .mean_features import MeanFeatures as MeanFeatures
