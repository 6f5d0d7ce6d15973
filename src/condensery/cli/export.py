"""``condensery export``: sets as plain data, or as other sets."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import yaml

from condensery.config.schema import Choice
from condensery.errors import UsageError, unknown_name
from condensery.evaluation.api import evaluate as evaluate_sets
from condensery.evaluation.result import result_table
from condensery.runtime.malloc import keep_memory
from condensery.sets.condensed import CondensedSet
from condensery.sets.export import FORMATS, rounded
from condensery.sets.export import export as export_set
from condensery.sets.picture import save_picture
from condensery.utils.files import whole_folder, write_text
from condensery.utils.text import plural, size_text

from .shared import data_of, facts_of_set, spec_of
from .telling import conclude


def export(options: Any) -> int:
    """Write a set as plain data, and measure what 8 bits cost where that is asked."""
    condensed = CondensedSet.load(options.run)
    if options.to in _SETS:
        return _SETS[options.to](condensed, options)
    if options.to not in FORMATS:
        raise unknown_name("export format", options.to, (*FORMATS, *_SETS))
    if options.to == "wav" and options.verify:
        raise UsageError("--verify measures what 8 bits cost; leave it out with --to wav")
    if options.factor is not None:
        raise UsageError("--factor needs --to packed: only packing shrinks images")
    how = {"stored": options.stored, "iterations": options.iterations, "seed": options.seed}
    written = export_set(condensed, options.to, options.out, **how)
    lines = [f"{len(condensed)} images: {written}"]
    outcome: dict[str, Any] = {"out": str(written), "to": options.to}
    if options.verify:
        lines += _cost(as_rounded_pixels(condensed), condensed, options, outcome)
    conclude(options, outcome, lines)
    return 0


def _pack(condensed: CondensedSet, options: Any) -> int:
    """Write a new set folder whose images were shrunk afterwards (IDC, table 6)."""
    if options.stored or options.verify or (options.iterations, options.seed) != (None, None):
        raise UsageError("--to packed takes --factor and --out, and no other export flags")
    packed = condensed.packed(2 if options.factor is None else options.factor)
    _write_set(packed, condensed, options, {})
    lines = [
        f"{len(packed)} images in the storage of {packed.ipc} per class, "
        f"{size_text(packed.stored_bytes)}: {options.out}",
        f"next: {shlex.join(['condensery', 'evaluate', options.out])}",
    ]
    conclude(options, {"out": options.out, "to": "packed", **facts_of_set(packed)}, lines)
    return 0


def _eight_bits(condensed: CondensedSet, options: Any) -> int:
    """Write a new set folder whose stored numbers have 8 bits."""
    given = (options.factor, options.iterations, options.seed)
    if options.stored or given != (None, None, None):
        raise UsageError("--to 8bit takes --out and --verify, and no other export flags")
    if condensed.eight is not None:
        raise UsageError(f"{options.run} is stored in 8 bits already")
    eight = condensed.in_eight_bits()
    _write_set(eight, condensed, options, {"stored_bits": 8})
    off = float((eight.pixels() - condensed.pixels()).abs().max())
    lines = [
        f"{plural(len(eight), 'image')} in {size_text(eight.stored_bytes)} in place of "
        f"{size_text(condensed.stored_bytes)}: {options.out}",
        "scale: 256 numbers from the least to the largest of each channel, kept in the file; "
        f"nothing is clipped, and no pixel is off by more than {off:.2g} of white",
    ]
    outcome = {"out": options.out, "to": "8bit", "largest_error": off, **facts_of_set(eight)}
    if options.verify:
        lines += _cost(eight, condensed, options, outcome)
    both = ["condensery", "evaluate", options.run, options.out, "--minutes", "5"]
    conclude(options, outcome, [*lines, f"next: {shlex.join(both)}"])
    return 0


_SETS = {"packed": _pack, "8bit": _eight_bits}
"""Formats that are sets again, which every command reads."""


def _write_set(
    made: CondensedSet, source: CondensedSet, options: Any, more: dict[str, Any]
) -> None:
    """Write a set that was made of another one, as a folder."""
    folder = Path(options.out)
    with whole_folder(folder) as temporary:
        # Where the data came from is for this machine, not for the file.
        place = spec_of(Path(options.run), source.about.config)
        config = {**made.about.config, **more, "data": place}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        write_text(temporary / "recipe.yaml", text)
        save_picture(made, temporary / "images.png")
        made.save(temporary)


def as_rounded_pixels(condensed: CondensedSet) -> CondensedSet:
    """The images of a set as files of 8-bit pixels hold them, each of them stored."""
    eight = (rounded(condensed).float() / 255).to(condensed.images)
    shape = (1, -1, 1, 1)
    about = condensed.about
    mean = eight.new_tensor(about.mean).view(shape)
    images = (eight - mean) / eight.new_tensor(about.std).view(shape)
    return CondensedSet(
        images.unflatten(0, (len(condensed.stored), -1)),
        dataclasses.replace(about, formation=Choice("pixels")),
    )


def _cost(
    coarse: CondensedSet, condensed: CondensedSet, options: Any, outcome: dict[str, Any]
) -> list[str]:
    """What 8 bits cost, in lines; the results go into the outcome."""
    keep_memory()
    data, method = data_of([options.run], options), condensed.about.method
    results = evaluate_sets(
        {method: condensed, f"{method}, 8 bits": coarse},
        data,
        repeats=options.nets,
        epochs=options.epochs,
        plan=options.plan,
        device=options.device,
        threads=options.threads,
    )
    outcome["results"] = [result.as_dict() for result in results]
    cost = results[0].mean - results[1].mean
    return [
        *result_table(results, len(data.test)).splitlines(),
        f"8 bits cost {cost:.2f} points of mean accuracy (n={results[0].n} each)",
    ]
