"""The flags of the applications. Each field's sentence is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .flags import OutputFlags, PlanFlags


@dataclass(frozen=True, kw_only=True)
class ApplicationFlags(OutputFlags, PlanFlags):
    """What the applications share."""

    size: int | None = None
    """Side length in pixels to bring all images to."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; detected by default."""
    no_flip: bool = False
    """Never flip images horizontally when augmenting (for digits, text and the like)."""
    iterations: int | None = None
    """Outer iterations of each condensing (default 100; with --full the recipe's own)."""
    select_epochs: int | None = None
    """Epochs of the network that herding and the like train (default 3; with --full their own)."""
    condense_net: str | None = None
    """Network that condensing and selecting use; chosen by image size by default."""
    full: bool = False
    """Do as much as the paper did, where no flag says otherwise; the default ends in minutes."""
    seed: int = 0
    """Random seed of the first run."""
    out: str | None = None
    """Folder that keeps sets and accuracies; the same command continues."""
    csv: str | None = None
    """Write the table to this file as comma-separated values."""
    markdown: str | None = None
    """Write the table to this file in Markdown."""
    picture: str | None = None
    """Draw the result into this file, .png or .svg (needs condensery[plots])."""
    trust_imports: bool = False
    """Import the classes that a recipe file names; their code runs here."""
    dry_run: bool = False
    """Say what would be made and about how long it takes; write nothing."""


@dataclass(frozen=True, kw_only=True)
class ContinualFlags(ApplicationFlags):
    """Learn classes or tasks one after another from a memory, and measure what is still known.

    With --steps the classes of one data set are split evenly (DM, section 3.5; IDC, section 5.3).
    With --tasks several data sets with the same classes follow each other (DC, section 3.2).
    """

    data: str | None = None
    """With --steps: the data set (default digits)."""
    steps: int | None = None
    """Steps that the classes are split into, in a random order."""
    tasks: list[str] | None = None
    """Data sets in their order, such as mnist usps."""
    match: Literal["name", "order"] = "name"
    """With --tasks: how classes are matched, by name or by their order."""
    memory: int = 20
    """Images of each class that are kept."""
    methods: list[str] | None = None
    """What fills the memory: recipes, selections, YAML files, sets (default random herding dm)."""
    net: str | None = None
    """The network, such as convnet3:width=64; chosen by image size by default."""
    strategy: Literal["gdumb", "distil", "e2e", "e2e_distil"] | None = None
    """gdumb (default): fresh networks on the memory; distil: weights carried on, with distillation;
    with --tasks e2e (default) or e2e_distil."""
    seeds: int | None = None
    """Orders of the classes, or runs through the tasks (default 2; with --full 5)."""
    nets: int | None = None
    """Networks for each of them (default 1; with --full 3, with --tasks 1)."""
    epochs: int | None = None
    """Epochs at each step (default 100; with --full 1000)."""
    train_steps: int | None = None
    """With --tasks: SGD steps on each task (default 500; with --full 5000)."""


@dataclass(frozen=True, kw_only=True)
class AdaptFlags(ApplicationFlags):
    """Fine-tune networks of one data set on a few images of another (DC, section 3.2).

    Beside the methods, none is the network as it comes from the source, and whole the one that is
    fine-tuned on the whole training split of the target.
    """

    source: str | None = None
    """Data set that networks are trained on first."""
    target: str | None = None
    """Data set that they are adapted to; it has the same classes."""
    match: Literal["name", "order"] = "name"
    """How classes are matched, by name or by their order."""
    ipc: list[int] | None = None
    """Images of each class of the target, one or several budgets (default 1 10)."""
    methods: list[str] | None = None
    """Where they come from: recipes, selections, YAML files, sets (default random herding dm)."""
    sets: int = 1
    """Sets for each method and budget, with consecutive seeds."""
    nets: int | None = None
    """Networks for each set (default 2; with --full 5)."""
    net: str | None = None
    """The network, such as convnet3:width=64; chosen by image size by default."""
    source_epochs: int = 10
    """Epochs of the networks on the source."""
    finetune_steps: int | None = None
    """Steps on the target, the rate .01 and then .001 after half of them (default 600)."""


@dataclass(frozen=True, kw_only=True)
class SearchFlags(ApplicationFlags):
    """Rank networks by what they come to on a small set (DM, section 3.6).

    A tenth of the training split is held out for choosing. Every network is trained on the whole
    split as well: the last row, which proxies are measured against.
    """

    data: str = "digits"
    """The data set."""
    proxies: list[str] | None = None
    """Recipes, selections, YAML files, sets, early_stopping (default random dm early_stopping)."""
    ipc: int | None = None
    """Images of each class of a proxy (default 10; with --full 50)."""
    space: str | None = None
    """YAML file of the networks: `networks`, a list, or families with lists of values for their
    options; by default DM's 720 ConvNets."""
    sample: int | None = None
    """Take a random part of the space (of DM's, default 12; with --full all)."""
    repeats: int | None = None
    """Trainings of each network (default 1; with --full 5)."""
    epochs: int | None = None
    """Epochs on a proxy (default 50; with --full 200)."""
    whole_epochs: int | None = None
    """Epochs on the whole split (default 5; with --full 100)."""
