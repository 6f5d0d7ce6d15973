"""Words that people use for flags, recipes, data and devices, and what they are called here."""

from __future__ import annotations

import re

#: Flags of other programs, and what to give here.
FLAGS = {
    "--method": "--recipe",
    "--algorithm": "--recipe",
    "--model": "--net (evaluate, select), or --supply.net (condense)",
    "--arch": "--net (evaluate, select), or --supply.net (condense)",
    "--network": "--net (evaluate, select), or --supply.net (condense)",
    "--lr": "--optimizer.rate (condense), or --rate (pool, select)",
    "--learning-rate": "--optimizer.rate (condense), or --rate (pool, select)",
    "--lr-img": "--optimizer.rate",
    "--ratio": "--ipc N, images per class",
    "--images-per-class": "--ipc",
    "--ipc-per-class": "--ipc",
    "--spc": "--ipc",
    "--steps": "--iterations",
    "--niter": "--iterations",
    "--num-iterations": "--iterations",
    "--iteration": "--iterations",
    "--dataset": "--data",
    "--data-path": "--data",
    "--data-dir": "--data",
    "--input": "--data",
    "--image-size": "--size",
    "--img-size": "--size",
    "--resolution": "--size",
    "--output": "--out",
    "--output-dir": "--out",
    "--save-path": "--out",
    "--gpu": "--device cuda",
    "--cuda": "--device cuda",
    "--workers": "--threads",
    "--num-workers": "--threads",
    "--batch-size": "--real-batch (condense), or --batch (pool, select)",
    "--batch-real": "--real-batch",
    "--num-eval": "--nets",
    "--repeats": "--nets",
    "--runs": "--sets",
    "--time": "--minutes",
    "--timeout": "--minutes",
    "--format": "--to",
    "--verbose": "nothing: progress is shown unless --quiet is given",
    "--resume": "nothing: the same command continues a run, and so does condensery resume RUN",
}

#: Devices by other names.
DEVICES = {"gpu": "cuda", "nvidia": "cuda"}


def flag_hint(got: str, known: list[str]) -> str | None:
    """What to give in place of a flag; None where the word is not known.

    A flag that the command does not have is passed over where it has another one.

    >>> flag_hint("--method", ["--recipe", "--data"])
    '--recipe'
    """
    hint = FLAGS.get(got.replace("_", "-").lower())
    if hint is None:
        return None
    plain = re.match(r"--[\w-]+", hint)
    fits = plain is None or plain[0] in known or "(" in hint or "." in hint
    return hint if fits else None


def command_hint(got: str, recipes: list[str]) -> str | None:
    """A command line, where a recipe was given for a command.

    >>> command_hint("dm", ["dm", "dc"])
    'condensery condense --recipe dm'
    """
    return f"condensery condense --recipe {got}" if got in recipes else None
