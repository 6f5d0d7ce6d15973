"""What is stored, and how it is decoded into training images."""

from typing import Any

from .base import Formation as Formation
from .base import weights_of as weights_of
from .fsrcnn import Fsrcnn as Fsrcnn
from .multi import MultiFormation as MultiFormation
from .pixels import Pixels as Pixels
from .pixels import random_rows as random_rows

#: What a recipe calls each kind.
KINDS: dict[str, type[Any]] = {
    "fsrcnn": Fsrcnn,
    "multi_formation": MultiFormation,
    "pixels": Pixels,
}
