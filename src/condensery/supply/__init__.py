"""Through which networks one looks: where they come from and how they move on."""

from .base import Context as Context
from .base import Supply as Supply
from .fresh import Fresh as Fresh
from .synthetic import TrainedOnSynthetic as TrainedOnSynthetic
