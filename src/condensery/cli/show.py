"""``condensery show``: what a set is, how big, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from condensery.errors import DataError, UsageError
from condensery.sets.annotated import save_annotated
from condensery.sets.condensed import CondensedSet, load_sets
from condensery.sets.picture import save_picture
from condensery.sets.places import places_of_sets
from condensery.utils.facts import note_facts
from condensery.utils.files import check_writable
from condensery.utils.text import plural, size_text

from .shared import facts_of_set, in_eight_bits
from .telling import conclude


def show(options: Any) -> int:
    """Describe a set and draw it."""
    path = Path(options.run)
    found = load_sets(path)
    condensed = found[0]
    about, stored = condensed.about, condensed.stored
    extra = condensed.formation_bytes
    home = places_of_sets(path)[0]  # a picture of several sets is that of the one described
    drawn = _drawn(condensed, home, options)
    shape = "×".join(str(s) for s in condensed.images.shape[1:])
    several = f" (the first of {len(found)} sets)" if len(found) > 1 else ""
    offer = in_eight_bits(condensed, home)
    lines = [
        f"{path}{several}: {about.method} of {about.source.name}",
        f"  stored        {stored.shape[0] * stored.shape[1]} × {shape}, {about.ipc} per class in "
        f"{len(stored)} classes, {size_text(condensed.stored_bytes)}"
        + (" in 8 bits" if condensed.eight else "")
        + (f", {size_text(extra)} of them the formation's weights" if extra else ""),
        *([f"  in 8 bits     {offer}"] if offer else []),
        f"  decoded       {len(condensed)} training images",
        f"  source        {about.source.images} images, {size_text(about.source.bytes)}: "
        f"{condensed.shrinkage:.0f} times as many images, "
        f"{about.source.bytes / condensed.stored_bytes:.0f} times as many bytes"
        + _of_files(home, condensed.stored_bytes),
        f"  made by       {about.method}, {plural(about.iterations, 'iteration')}, "
        f"seed {about.seed}",
        *(f"  {name:<13} {_flat(about.config[name])}" for name in _CHOICES if name in about.config),
        *_seen_through(about.config),
        f"  classes       {', '.join(about.class_names[:20])}"
        + (" …" if len(about.class_names) > 20 else ""),
        f"  mean, std     {_numbers(about.mean)}, {_numbers(about.std)}",
        f"  picture       {drawn}",
    ]
    conclude(options, {"run": str(path), **facts_of_set(condensed)}, lines)
    return 0


def _drawn(condensed: CondensedSet, home: Path, options: Any) -> Path | str:
    """Where the set's picture is, after it was drawn where that was asked for, or missing."""
    picture = Path(options.picture) if options.picture else home / "images.png"
    for name in ("plain", "before"):
        if getattr(options, name) and not options.picture:
            raise UsageError(f"--{name} says how --picture FILE is drawn; add --picture FILE")
    if options.plain and options.before:
        raise UsageError("--before needs words beside the images; leave --plain out")
    if options.picture:
        check_writable(picture, "--picture")
        before = _start(home) if options.before else None
        save_annotated(condensed, picture, plain=options.plain, before=before)
    elif home.is_dir() and not picture.exists():
        with suppress(OSError):  # the folder may be someone else's, who lets others read
            save_picture(condensed, picture)
    return picture if picture.exists() else "none; draw it with --picture FILE"


def _start(home: Path) -> CondensedSet:
    """The set that a run began with, which its folder keeps.

    Raises:
        DataError: where it is not there.
    """
    file = home / "checkpoints" / f"{0:06d}.safetensors"
    if not file.is_file():
        raise DataError(
            f"{home} does not hold the start of a run ({file.name} in its checkpoints folder); "
            "name the folder of the run, or make the start again with condensery condense --config "
            "RUN --iterations 0 --out FOLDER"
        )
    return CondensedSet.load(file)


_CHOICES = ("formation", "objective", "supply", "augmentation", "optimizer", "training")


def _of_files(home: Path, stored: int) -> str:
    """How the set compares with the files that it was made from, where its run noted them."""
    held = note_facts(home).get("source_file_bytes") if home.is_dir() else None
    if type(held) is not int or held < 1:
        return ""
    times = held / stored
    shown = f"{times:.0f}" if times >= 10 else f"{times:.2g}"
    return f"; its files, {size_text(held)}, {shown} times"


def _seen_through(config: Mapping[str, Any]) -> list[str]:
    """A line on the network that a selection used."""
    found = config.get("train_accuracy")
    if not isinstance(found, float):
        return []
    return [f"  seen through  a network with {found:.1f} % in its last epoch of training"]


def _flat(section: Any) -> str:
    if not isinstance(section, Mapping):
        return str(section)
    rest = ", ".join(f"{k} {v}" for k, v in section.items() if k != "kind" and v is not None)
    parts = [str(section["kind"])] if "kind" in section else []
    return ": ".join([*parts, rest] if rest else parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4f}" for value in values)
