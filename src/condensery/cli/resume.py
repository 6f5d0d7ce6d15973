"""``condensery resume``: continues a run, or several sets, where they stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condensery.condensation.run_folder import RunFolder
from condensery.config.recipes import read_yaml
from condensery.errors import UsageError
from condensery.methods.pools.store import INDEX as POOL
from condensery.runtime.distributed import joined

from .condense import condense_sets
from .flags import CondenseFlags


def resume(options: Any) -> int:
    """Continue a run, or several sets, from where they stopped, with any number of processes."""
    with joined() as ranks:
        return condense_sets(_same_command(options), [], ranks)


def _same_command(options: Any) -> CondenseFlags:
    """The flags of the command that continues a run."""
    place = Path(options.run)
    several = not (place / "recipe.yaml").exists() and (place / "0" / "recipe.yaml").exists()
    first = RunFolder(place / "0" if several else place)
    if (place / POOL).exists():
        raise UsageError(f"{place} is a pool; the command that started it continues it")
    if not (first.path / "recipe.yaml").exists():
        what = "does not exist" if not place.exists() else "holds no run"
        raise UsageError(f"{place} {what}; name the folder given to condense as --out")
    if "select" in read_yaml(first.path / "recipe.yaml", "the recipe"):
        raise UsageError(f"{place} is a selection; there is nothing to resume")
    sets = _sets_of(place) if several else 1
    return CondenseFlags(
        config=str(first.path),
        out=str(place),
        sets=sets,
        iterations=options.iterations,
        minutes=options.minutes,
        trust_imports=options.trust_imports,
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=options.keep_checkpoints,
        json=options.json,
        quiet=options.quiet,
    )


def _sets_of(place: Path) -> int:
    """How many sets a folder has, or was to have when the last of them was started."""
    numbers = [int(p.name) for p in place.iterdir() if p.name.isascii() and p.name.isdigit()]
    told = [int(RunFolder(place / str(n)).facts().get("sets", 1)) for n in numbers]
    return max([*told, max(numbers) + 1])
