"""What each command does, once its options are read."""

from .condense import condense as condense
from .condense import resume as resume
from .evaluate import compare as compare
from .evaluate import data as data
from .evaluate import evaluate as evaluate
from .export import export as export
from .export import show as show
from .pool import pool as pool
from .reproduce import reproduce as reproduce
from .select import select as select
