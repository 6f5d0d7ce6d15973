"""``condensery export``: sets as plain data, or as other sets."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import yaml

from condensery.errors import UsageError, unknown_name
from condensery.evaluation.api import evaluate as evaluate_sets
from condensery.evaluation.result import Result, result_table
from condensery.runtime.malloc import keep_memory
from condensery.sets.condensed import CondensedSet
from condensery.sets.export import FORMATS, rounded
from condensery.sets.export import export as export_set
from condensery.sets.picture import save_picture
from condensery.utils.files import whole_folder, write_text
from condensery.utils.text import size_text

from .shared import conclude, data_of, facts_of_set, spec_of


def export(options: Any) -> int:
    """Write a set as plain data, and measure what 8 bits cost where that is asked."""
    condensed = CondensedSet.load(options.run)
    if options.to == "packed":
        return _pack(condensed, options)
    if options.to not in FORMATS:
        raise unknown_name("export format", options.to, (*FORMATS, "packed"))
    if options.to == "wav" and options.verify:
        raise UsageError("--verify measures what 8 bits cost; leave it out with --to wav")
    if options.factor is not None:
        raise UsageError("--factor needs --to packed: only packing shrinks images")
    how = {"stored": options.stored, "iterations": options.iterations, "seed": options.seed}
    written = export_set(condensed, options.to, options.out, **how)
    lines = [f"{len(condensed)} images: {written}"]
    outcome: dict[str, Any] = {"out": str(written), "to": options.to}
    if options.verify:
        keep_memory()
        results, tested_on = _verify(condensed, options)
        cost = results[0].mean - results[1].mean
        lines += result_table(results, tested_on).splitlines()
        lines.append(f"8 bits cost {cost:.2f} points of mean accuracy (n={results[0].n} each)")
        outcome["results"] = [result.as_dict() for result in results]
    conclude(options, outcome, lines)
    return 0


def _pack(condensed: CondensedSet, options: Any) -> int:
    """Write a new set folder whose images were shrunk afterwards (IDC, table 6)."""
    if options.stored or options.verify or (options.iterations, options.seed) != (None, None):
        raise UsageError("--to packed takes --factor and --out, and no other export flags")
    packed = condensed.packed(2 if options.factor is None else options.factor)
    folder, about = Path(options.out), packed.about
    with whole_folder(folder) as temporary:
        # Where the data came from is for this machine, not for the file.
        place = spec_of(Path(options.run), condensed.about.config)
        text = yaml.safe_dump({**about.config, "data": place}, sort_keys=False, allow_unicode=True)
        write_text(temporary / "recipe.yaml", text)
        save_picture(packed, temporary / "images.png")
        packed.save(temporary)
    lines = [
        f"{len(packed)} images in the storage of {about.ipc} per class, "
        f"{size_text(packed.stored_bytes)}: {folder}",
        f"next: {shlex.join(['condensery', 'evaluate', str(folder)])}",
    ]
    conclude(options, {"out": str(folder), "to": "packed", **facts_of_set(packed)}, lines)
    return 0


def _verify(condensed: CondensedSet, options: Any) -> tuple[list[Result], int]:
    """The set as it is, and as 8 bits hold it, under one protocol and the same seeds."""
    data = data_of([options.run], options)
    eight = (rounded(condensed).float() / 255).to(condensed.images)
    shape = (1, -1, 1, 1)
    about = condensed.about
    mean = eight.new_tensor(about.mean).view(shape)
    images = (eight - mean) / eight.new_tensor(about.std).view(shape)
    coarse = CondensedSet(
        images.unflatten(0, (len(condensed.stored), -1)),
        dataclasses.replace(about, method=f"{about.method}, 8 bits"),
    )
    results = evaluate_sets(
        [condensed, coarse],
        data,
        repeats=options.nets,
        epochs=options.epochs,
        plan=options.plan,
        device=options.device,
        threads=options.threads,
    )
    return results, len(data.test)
