"""What each command does, once its options are read."""

from .making import condense as condense
from .making import resume as resume
from .measuring import compare as compare
from .measuring import data as data
from .measuring import evaluate as evaluate
from .pooling import pool as pool
from .reproducing import reproduce as reproduce
from .selecting import select as select
from .sets import export as export
from .sets import show as show
