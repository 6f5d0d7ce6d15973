"""What a published row means here: what would be run for it, or why nothing is."""

from __future__ import annotations

from .experiment import Experiment as Experiment
from .experiment import Unmapped as Unmapped
from .mapping import experiment_of as experiment_of
