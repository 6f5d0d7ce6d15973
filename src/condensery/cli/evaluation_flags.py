"""The flags of what tests sets. Each field's sentence is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from .flags import DataFlags, OutputFlags, PlanFlags


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags(OutputFlags, PlanFlags, DataFlags):
    """Train fresh networks on sets, and test them on the real test split.

    A set is a run folder, a .safetensors file, a folder of several sets (one row), or a word:
    whole, the whole training split under a short schedule of its own (whole+epochs=N+rate=R), or
    random, three draws of as many real images. Every network's accuracy is kept: a command that
    was stopped continues.
    """

    data: str | None = None
    """Data set whose test split is used; by default the source of the first set."""
    net: list[str] | None = None
    """Networks, such as convnet3 mlp resnet18:norm=batch; chosen by image size by default."""
    nets: int | None = None
    """Networks per set (default 5)."""
    protocol: str = "dsa"
    """How networks are trained: dc, dsa, gm, idc or idc_steps; dc+augmentation=none
    overrides a constant, and the result says so."""
    epochs: int | None = None
    """Epochs to train on each set; the result's protocol says so. whole+epochs=N sets its own."""
    minutes: float | None = None
    """Time for all of it: networks, down to 3, and epochs that you do not give are cut to fit."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""
    confusion: bool = False
    """Also count which classes are taken for which (in --json, for condensery report)."""
    out: str | None = None
    """Folder that keeps accuracies, such as compare's; by default the user's cache."""


#: A field named ``list`` hides the type in its class.
_Words: TypeAlias = list[str] | None


@dataclass(frozen=True, kw_only=True)
class ReproduceFlags(OutputFlags, PlanFlags):
    """Rerun numbers that the papers print, and compare.

    TABLE is a paper and a table of it, such as dc/table1. A row's sets are condensed as in the
    paper, networks are trained on them with the paper's protocol, and our number is shown beside
    theirs. Run the same command again to continue.
    """

    row: _Words = None
    """Rows, such as mnist/1/dc (see --list); by default all that can run."""
    list: bool = False
    """List the table's rows, their published values and what would run."""
    status: bool = False
    """Report which rows were reproduced, and why the others were not."""
    results: str | None = None
    """With --status: folder of results; the checkout's by default."""
    markdown: str | None = None
    """With --status: write the page of results to this file."""
    scale: float = 1.0
    """Scale the schedule by this factor: outer iterations and pixel-rate drops."""
    sets: int | None = None
    """Number of sets; by default the paper's."""
    nets: int | None = None
    """Networks per set; by default the paper's."""
    epochs: int | None = None
    """Epochs of the networks; by default the protocol's."""
    data: str | None = None
    """Use this data set instead of the published one."""
    layout: Literal["NCHW", "NHWC"] | None = None
    """With --data: order of the axes of arrays, where it cannot be told."""
    range: str | None = None
    """With --data: numbers of black and white in arrays of floating numbers, such as 0,255."""
    seed: int = 0
    """Random seed."""
    out: str | None = None
    """Folder of sets and results (default runs/reproduce); the same command continues."""
    plot: str | None = None
    """Draw our numbers beside the published ones into this file, .png, .svg or .pdf."""


@dataclass(frozen=True, kw_only=True)
class CompareFlags(OutputFlags, PlanFlags, DataFlags):
    """Train networks on several sets, through several networks and protocols, into one table.

    A set is anything evaluate takes, or a set from elsewhere: an .npz file, a folder of class
    folders of pictures, or a .pt file written by the papers' programs. NAME=PATH gives a row its
    name. Every network's accuracy is kept, and networks already evaluated are not trained again.
    """

    data: str | None = None
    """Data set whose test split is used; by default the source of the first set."""
    net: list[str] | None = None
    """Networks, such as convnet3 mlp resnet18:norm=batch; chosen by image size by default."""
    nets: int = 5
    """Networks per set; raising it trains only the missing ones."""
    protocol: list[str] | None = None
    """How networks are trained, one or several: dc, dsa (default), gm, idc or idc_steps;
    dc+augmentation=none overrides a constant, and the result says so."""
    epochs: int | None = None
    """Epochs to train on each set; the result's protocol says so. whole+epochs=N sets its own."""
    reference: str | None = None
    """Name of the row the others are compared with; tests use set means."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""
    out: str | None = None
    """Folder that keeps accuracies (default runs/compare); the same command continues."""
    csv: str | None = None
    """Write the table to this file as comma-separated values."""
    markdown: str | None = None
    """Write the table to this file in Markdown."""
    plot: str | None = None
    """Draw the table into this file, .png, .svg or .pdf."""
