"""Draw accuracy over minutes from files of the ladder: a curve for each recipe.

    python benchmarks/best/over_minutes.py benchmarks/results/best_cifar10_ipc10.jsonl \
        --names random dm_mf best --out docs/images/best_minutes.png

Of runs with the same minutes the last counts. A name that was measured at one number of minutes,
such as ``random``, which takes none, is a level line. Bands are the standard deviation of networks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from condensery.utils.plotting import Line, curves, drawing


def measured(
    paths: list[Path], names: list[str], net: str, seed: int = 0
) -> dict[str, dict[float, dict[str, Any]]]:
    """Of each name the result at each number of minutes with one seed, tested through ``net``."""
    found: dict[str, dict[float, dict[str, Any]]] = {name: {} for name in names}
    for path in paths:
        for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if record.get("seed", 0) != seed:
                continue
            for row in record["results"]:
                if record["name"] in found and row["net"] == net:
                    found[record["name"]][record["minutes"]] = row
    missing = [name for name, rows in found.items() if not rows]
    if missing:
        raise SystemExit(f"no result of {', '.join(missing)} through {net} in the files")
    return found


def lines(found: dict[str, dict[float, dict[str, Any]]]) -> list[Line]:
    """The curves; where there is one number of minutes, a level line over all of them."""
    over = sorted({minutes for rows in found.values() for minutes in rows})
    drawn = []
    for name, rows in found.items():
        level = rows[min(rows)] if len(rows) == 1 else None
        at = [level or rows[m] for m in over if level or m in rows]
        x = tuple(m for m in over if level or m in rows)
        mean, std = (tuple(row[of] for row in at) for of in ("mean", "std"))
        drawn.append(Line(name, x, mean, std))
    return drawn


def main(words: list[str] | None = None) -> None:
    """Read the files and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help="JSON lines of ladder.py")
    parser.add_argument("--names", nargs="+", default=["random", "dm_mf", "best"])
    parser.add_argument("--net", default="convnet3", help="that the sets were tested through")
    parser.add_argument("--seed", type=int, default=0, help="of the sets")
    parser.add_argument("--title", default="", help="above the drawing")
    parser.add_argument("--out", type=Path, required=True, help="picture: PNG, SVG or PDF")
    options = parser.parse_args(words)
    found = measured(options.files, options.names, options.net, options.seed)
    drawn = lines(found)
    with drawing(options.out, 5.5, 3.8) as axes:
        curves(axes, drawn, "minutes, all told", "accuracy, % (mean ± std)")
        over = sorted({m for one in drawn for m in one.x})
        axes.set_xscale("log")
        axes.set_xticks(over, [f"{m:g}" for m in over])
        axes.minorticks_off()
        axes.set_title(options.title or options.net)


if __name__ == "__main__":
    main()
