"""One self-contained page about runs, sets and results, to look at and to hand on."""

from .page import report as report
