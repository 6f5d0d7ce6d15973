"""Class means whose comparison takes as long as ``SECONDS_A_STEP`` says, for runs to be stopped."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from torch import Tensor

from condensery.methods.objectives import MeanFeatures
from condensery.methods.task import Step


@dataclass(kw_only=True)
class Slow(MeanFeatures):
    """Mean features that sleep, which costs nothing."""

    def compare(self, real: Tensor, synthetic: Tensor, step: Step) -> Tensor:
        time.sleep(float(os.environ.get("SECONDS_A_STEP", "0")))
        return super().compare(real, synthetic, step)
