"""The flags of commands, and what they share. Each field's sentence is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """How data is read."""

    size: int | None = None
    """Side length in pixels to resize pictures to; required when their sizes differ."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; detected by default."""
    sample_rate: int | None = None
    """Sample
    rate to resample recordings to; by default that of the first one, at most 16000."""
    layout: Literal["NCHW", "NHWC"] | None = None
    """Order of the axes of arrays (images, channels, height, width), where it cannot be told."""
    range: str | None = None
    """Numbers of black and white in arrays of floating numbers, such as 0,255 or -1,1, of the data
    and of sets from elsewhere; normalised: their images are normalised already."""
    zca: bool = False
    """Whiten the images with statistics of the training split (ZCA, IDC's appendix E.6)."""
    no_flip: bool = False
    """Never flip images horizontally when augmenting (for digits, text and the like)."""


@dataclass(frozen=True, kw_only=True)
class OutputFlags:
    """What is written for people and programs."""

    json: str | None = None
    """Write the result to this file as JSON; - is standard output, without the lines for people."""
    quiet: bool = False
    """Print nothing but errors."""


@dataclass(frozen=True, kw_only=True)
class PlanFlags:
    """Where and how it runs."""

    plan: str = "auto"
    """Execution plan: auto, exact, or a YAML file."""
    device: str | None = None
    """Torch device, such as cpu or cuda:0; by default the first GPU, if any."""
    threads: int | None = None
    """CPU threads; by default all that the process may use, or OMP_NUM_THREADS."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFlags:
    """When a run is kept, and how long it may take."""

    checkpoint_every: str | None = None
    """Time or number between checkpoints: 60s (default), 10m, 200it (outer iterations), 50steps."""
    keep_checkpoints: bool = False
    """Keep the last two checkpoints of a finished run, and not the last one alone."""
    minutes: float | None = None
    """Time limit in minutes for each of --sets; the set is finished then, and resume continues. A
    recipe such as best is fitted to it."""


@dataclass(frozen=True, kw_only=True)
class CondenseFlags(OutputFlags, PlanFlags, DataFlags, CheckpointFlags):
    """Learn a tiny synthetic set from a large labelled one.

    Any field of the recipe can be overridden with dots: --optimizer.rate 0.1,
    --supply.net convnet3:width=64, --objective.kind my.module:Class.
    """

    recipe: str | None = None
    """Method: the name of a recipe (default dm), a YAML file, or auto: the one that was measured to
    be best for such data, budget and time, if any was."""
    config: str | None = None
    """Repeat the run that wrote this recipe.yaml; other flags override it."""
    data: str | None = None
    """What to condense (default digits): see `condensery data --help`."""
    ipc: int | None = None
    """Budget: images per class (default 10)."""
    bytes: str | None = None
    """Budget in place of --ipc: the bytes that the set may take, such as 30k or 2M."""
    iterations: int | None = None
    """Outer iterations; fewer truncate the recipe's schedule, 0 writes the initial set."""
    until: Literal["iterations", "converged"] | None = None
    """converged: stop early once the matching loss has stopped falling."""
    window: int | None = None
    """Outer iterations per window that --until converged compares (default 5 % of the recipe's,
    or 500 pixel steps where that is less, at least 10)."""
    real_batch: int | None = None
    """Real images per class in one step (DM: 256); a smaller class is used whole."""
    real_batches: Literal["random", "kmeans"] | None = None
    """Which ones: random (default), or those nearest to centroids of their class (DREAM)."""
    real_batches_renewed: int | None = None
    """Steps after which centroids are computed anew (default 10)."""
    real_batches_of: int | None = None
    """Random images of each class that they are computed of (default 1024)."""
    synthetic_batch: int | None = None
    """Most training images per class that a step takes of the synthetic set."""
    sets: int = 1
    """Independent sets, with seeds seed … seed+N-1, in OUT/0 … OUT/N-1."""
    seed: int | None = None
    """Random seed (default 0)."""
    out: str | None = None
    """Run folder (default runs/DATA-RECIPE-ipcN); run the same command again to continue."""
    evaluate_at: str | None = None
    """Keep the set at these outer iterations, such as 0,100,1000, and evaluate them at the end."""
    evaluate_protocol: str = "dsa"
    """With --evaluate-at: the protocol."""
    evaluate_nets: int = 3
    """With --evaluate-at: networks per set."""
    evaluate_epochs: int | None = None
    """With --evaluate-at: fewer epochs than the protocol's."""
    evaluate_plot: str | None = None
    """With --evaluate-at: draw the accuracies into this file, .png, .svg or .pdf."""
    trust_imports: bool = False
    """Import the classes that a recipe file or --config names; their code runs here."""
    dry_run: bool = False
    """Estimate time and memory from a few measured steps, and write nothing."""
    picture: bool = False
    """Show the finished set in the terminal, where that can: kitty, Ghostty, iTerm2, WezTerm, foot,
    mlterm, contour, mintty."""


@dataclass(frozen=True, kw_only=True)
class ResumeFlags(OutputFlags, CheckpointFlags):
    """Continue a run from its last checkpoint, with its original plan.

    A run that was killed before its first checkpoint starts over. A finished one stays as it is,
    unless more iterations are requested.
    """

    iterations: int | None = None
    """Total outer iterations; may be increased."""
    trust_imports: bool = False
    """Import the classes that the run's recipe.yaml names; their code runs here."""


@dataclass(frozen=True, kw_only=True)
class PoolFlags(OutputFlags, PlanFlags, DataFlags):
    """Train networks on the real training split and keep them for condensing.

    Part of each class is held out; every snapshot records its accuracy on it. Use one with
    condense --supply.kind pool --supply.path OUT, whole or a band: --supply.above 40
    --supply.below 50.
    """

    data: str = "digits"
    """What to train on."""
    net: str | None = None
    """The network, such as convnet3:width=64; chosen by image size by default."""
    count: int = 10
    """Total networks; a finished pool can grow."""
    epochs: int | None = None
    """Epochs of each network (default 20)."""
    snapshots: list[float] | None = None
    """Epochs at which weights are kept, such as 0 0.5 1 5; by default the last."""
    held_out: float | None = None
    """Share of each class's training images held out to measure accuracy (default 0.1); 0: train
    on all, without accuracies."""
    rate: float | None = None
    """Learning rate (default 0.01)."""
    schedule: Literal["constant", "linear"] | None = None
    """constant (default), or linear: the rate rises over the first twentieth of the steps up to
    the last snapshot, and falls to zero at it."""
    average: float | None = None
    """Decay of an exponential moving average of the weights, which is kept in their place, such as
    0.995; 0 (default): the weights themselves."""
    momentum: float | None = None
    """SGD's momentum (default 0.9)."""
    weight_decay: float | None = None
    """SGD's weight decay (default 0.0005)."""
    batch: int | None = None
    """Images per step (default 256)."""
    augmentation: Literal["none", "batch_op", "image_op", "sequence", "idc", "photos"] | None = None
    """none (default), batch_op as DSA trains, image_op as DC, sequence (colour and crop as IDC
    trains; every op of --strategy), idc, or photos for larger images."""
    strategy: str | None = None
    """The augmentation's ops, such as color_crop_cutout."""
    cutmix: float | None = None
    """Probability of CutMix per mini-batch (default 0)."""
    seed: int = 0
    """Seed of initialisation, shuffling and the held-out split."""
    checkpoint_every: str | None = None
    """Time or epochs between checkpoints: 60s (default), 10m, 5it (epochs)."""
    out: str | None = None
    """The pool's folder (default runs/DATA-NET-pool); run the same command again to continue."""


@dataclass(frozen=True, kw_only=True)
class SelectFlags(OutputFlags, PlanFlags, DataFlags):
    """Select real images: the baselines a condensed set has to beat.

    random; herding: the kept images' mean feature follows the class mean; nearest: the images
    nearest to that mean; k-center: no image is far from a kept one in feature space; kmeans: the
    images nearest to the centroids of k-means; rded: crops that the network is surest of, packed;
    forgetting: the images that are learned and forgotten most often; forgetting-toneva: the same,
    those never learned first. All but random train a network on the whole training split for each
    set.
    """

    data: str = "digits"
    """What to select from."""
    ipc: int = 10
    """Images per class."""
    factor: int | None = None
    """Of rded: f×f crops are packed into a stored image (default 2)."""
    sets: int = 1
    """Independent draws or networks, with seeds seed … seed+N-1, in OUT/0 … OUT/N-1."""
    seed: int = 0
    """Which draw, or which network."""
    net: str | None = None
    """The network to train, such as convnet3:width=64; chosen by image size by default."""
    epochs: int | None = None
    """Epochs of its training (default: about 600 000 images, at least 5 and at most 30 epochs)."""
    rate: float | None = None
    """Peak learning rate of its training, which rises to it and falls to 0 (default 0.05)."""
    batch: int | None = None
    """Images per step of its training (default 128)."""
    augmentation: Literal["none", "batch_op", "image_op", "idc", "photos"] | None = None
    """none (default), batch_op as DSA trains, image_op as DC, idc, or photos for larger images."""
    out: str | None = None
    """Folder of the set (default runs/DATA-METHOD-ipcN)."""


@dataclass(frozen=True, kw_only=True)
class ShowFlags(OutputFlags):
    """Describe a condensed set: contents, size and origin; draw it."""

    picture: str | None = None
    """Draw the picture into this PNG file, with class names and a scale; by default the run
    folder's images.png is named."""
    plain: bool = False
    """With --picture: the images alone, without names and scale."""
    before: bool = False
    """With --picture: the start of the run beside its end."""


@dataclass(frozen=True, kw_only=True)
class ExportFlags(OutputFlags, PlanFlags, DataFlags):
    """Write a condensed set as plain data, to train with anything, or as another set."""

    to: str = "npz"
    """npz (float32, exact), images (8-bit PNG class folders), parquet (8-bit PNG), wav (sound of
    spectrograms, with estimated phases); or another set: 8bit (a quarter of the size), packed
    (images that are shrunk afterwards)."""
    out: str = "exported"
    """File or folder to write."""
    factor: int | None = None
    """With packed: images per side packed into each stored image."""
    iterations: int | None = None
    """With wav: iterations of Griffin-Lim (default 100)."""
    seed: int | None = None
    """With wav: seed of the initial phases (default 0)."""
    stored: bool = False
    """With npz: the stored tensors instead of the decoded images."""
    verify: bool = False
    """Measure the accuracy lost to 8 bits: train on both and test on the real test split."""
    data: str | None = None
    """With --verify: the data set; by default the source of the set."""
    nets: int = 5
    """With --verify: networks per set."""
    epochs: int | None = None
    """With --verify: fewer epochs than protocol dsa's."""


@dataclass(frozen=True, kw_only=True)
class DataCommandFlags(OutputFlags, DataFlags):
    """Describe a data set as it was read: splits, classes, sizes, normalisation, problems.

    SPEC is digits; a known name (mnist, fashion_mnist, usps, svhn, cifar10, cifar100,
    tiny_imagenet, imagenet1k, imagenet10, imagenet100, mini_speech_commands); hub:owner/name; a
    folder of class folders of pictures, or of parquet, arrow or .tar files; or a .npz file.
    Names are looked up in $CONDENSERY_DATA before the hub.
    """


@dataclass(frozen=True, kw_only=True)
class ReportFlags(OutputFlags):
    """Write one self-contained page about runs, sets and results, to look at and to hand on.

    It needs no network, trains nothing, and works without an evaluation or the original data:
    what is missing is named.
    """

    out: str = "report.html"
    """The page's file."""
    data: str | None = None
    """Data set whose nearest training images are shown; by default what the run recorded, where it
    is on this machine."""


@dataclass(frozen=True, kw_only=True)
class ListFlags(OutputFlags):
    """List what there is by name, or describe one.

    KIND is recipes, networks, protocols, data or selections.
    """
