"""What every program of the tests would import and read for itself; their parent does it once."""

from __future__ import annotations

import torch
import torch.fx.experimental.symbolic_shapes  # the first pass back imports it

from condensery.cli.main import COMMANDS
from condensery.cli.parser import parsed
from condensery.condensation.configure import configure
from condensery.config.recipes import recipe_names
from tests.conftest import tiny

torch.set_num_threads(1)
for recipe in recipe_names():
    configure(tiny(), recipe)
for words in (["condense", "--ipc", "1"], ["resume", "run"], ["evaluate", "run"]):
    parsed(words, COMMANDS)
