"""Pages that are generated from the code, so that they cannot drift from it."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from condensery.cli.catalogue import facts
from condensery.cli.main import COMMANDS, main
from condensery.utils.files import write_text


def write_reference(folder: Path) -> None:
    """Write commands, recipes, networks, protocols, data sets and selections into a folder."""
    folder.mkdir(exist_ok=True)
    pages = {
        "commands": _commands(),
        "recipes": _recipes(),
        "networks": _networks(),
        "protocols": _protocols(),
        "datasets": _data_sets(),
        "selections": _selections(),
    }
    for name, lines in pages.items():
        text = "\n".join(lines) + "\n"
        place = folder / f"{name}.md"
        # An unchanged page is not read again by an incremental build.
        if not place.exists() or place.read_text(encoding="utf-8") != text:
            write_text(place, text)


def _commands() -> list[str]:
    os.environ["COLUMNS"] = "88"
    lines = ["# Every command", "", "What `condensery COMMAND --help` prints.", ""]
    for name in COMMANDS:
        page = io.StringIO()
        with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
            main([name, "--help"])
        lines += [f"## {name}", "", "```text", page.getvalue().strip(), "```", ""]
    return lines


def _recipes() -> list[str]:
    found = facts("recipes")
    lines = [
        "# Every recipe",
        "",
        "The cost counts passes of single images through the network over the whole schedule, as a "
        "multiple of `dm`'s, at ten images per class of CIFAR-10. It is computed from the "
        "settings; `best` takes the minutes it is given. Settings are those of that case, too; "
        "others come with other data and budgets: `recipe.yaml` in the run folder says them. What "
        "the settings mean is on the page of [methods](../methods.md).",
        "",
        *_table(
            ["recipe", "cost", "good for"],
            [
                [f"[`{r['name']}`](#{_anchor(r['name'])})", _cost(r["cost"]), r["good_for"]]
                for r in found
            ],
        ),
    ]
    for one in found:
        lines += ["", f"## {one['name']}", "", f"{one['about']}. {one['paper']}.", ""]
        parts = [
            "iterations",
            "real_batch",
            "formation",
            "objective",
            "supply",
            "augmentation",
            "optimizer",
            *(["budget"] if one["budget"] else []),
        ]
        lines += _table(
            ["", "settings"], [[part.replace("_", " "), _settings(one[part])] for part in parts]
        )
    return lines


def _networks() -> list[str]:
    rows = [
        [
            f"`{one['name']}`",
            one["about"],
            ", ".join(f"`{key}={value}`" for key, value in one["options"].items()),
            _number(one["parameters"]),
        ]
        for one in facts("networks")
    ]
    return [
        "# Every network",
        "",
        "Options with their defaults; 0 is chosen by the size of the images. Parameters on 3×32×32 "
        "images and ten classes. More about them: [networks](../networks.md).",
        "",
        *_table(["name", "what it is", "options", "parameters"], rows),
    ]


def _protocols() -> list[str]:
    lines = [
        "# Every protocol",
        "",
        "Constants at ten images per class of CIFAR-10; cases by data and network are in the files "
        "of [training/protocol_files](../../src/condensery/training/protocol_files). How they are "
        "used and overridden: [evaluation](../evaluation.md).",
    ]
    for one in facts("protocols"):
        rows = [
            [key.replace("_", " "), _plain(value)]
            for key, value in one.items()
            if key not in ("name", "about")
        ]
        lines += [
            "",
            f"## {one['name']}",
            "",
            f"{one['about']}.",
            "",
            *_table(["constant", "value"], rows),
        ]
    return lines


def _data_sets() -> list[str]:
    rows = [
        [f"`{one['name']}`", one["about"], f"`{one['hub']}`" if one["hub"] else ""]
        for one in facts("data")
        if one["hub"] or one["embedded"] or one["name"] == "fsdd"
    ]
    return [
        "# Every data set that has a name",
        "",
        "Names are looked up in `$CONDENSERY_DATA` first, then on the Hugging Face hub. Everything "
        "else that can be read: [data](../data.md).",
        "",
        *_table(["name", "what it holds", "hub"], rows),
    ]


def _selections() -> list[str]:
    rows = [
        [f"`{one['name']}`", one["about"], "yes" if one["trains_a_network"] else "no"]
        for one in facts("selections")
    ]
    return [
        "# Every selection",
        "",
        "Baselines that keep real images: [selections](../selections.md).",
        "",
        *_table(["name", "what it keeps", "trains a network"], rows),
    ]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *cells]]


def _settings(value: Any) -> str:
    if not isinstance(value, dict):
        return _plain(value)
    rest = {key: each for key, each in value.items() if key != "kind" and each is not None}
    kind = [f"**{value['kind']}**"] if "kind" in value else []
    return ", ".join([*kind, *(f"{key} `{_plain(each)}`" for key, each in rest.items())])


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_plain(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}"


def _cost(value: float | None) -> str:
    return "`--minutes`" if value is None else _number(value)


def _anchor(name: str) -> str:
    return name.replace("_", "-").lower()
