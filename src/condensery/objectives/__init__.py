"""What is compared between the real and the synthetic batches."""

from .base import Objective as Objective
from .class_gradients import ClassGradients as ClassGradients
from .mean_features import MeanFeatures as MeanFeatures
