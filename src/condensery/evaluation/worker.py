"""One of the processes that train and test networks beside each other; see ``processes.py``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO

from condensery.errors import SENTENCES
from condensery.runtime.malloc import keep_memory

from .cell_files import read_cell
from .evaluator import Evaluator


def serve(folder: Path, jobs: IO[str], answers: IO[str]) -> None:
    """Train and test the networks that are requested, until no more arrive or one of them fails."""
    keep_memory()

    def say(**facts: object) -> None:
        print(json.dumps(facts), file=answers, flush=True)

    evaluator = Evaluator(read_cell(folder), lambda job, epochs: say(epochs=epochs))
    for line in jobs:
        set_index, network_index = json.loads(line)
        try:
            found = evaluator.measure(set_index, network_index)
        except tuple(SENTENCES.values()) as error:
            kind = next(one for one in type(error).__mro__ if one.__name__ in SENTENCES)
            say(error=kind.__name__, text=str(error))
            return
        say(**found.as_dict())


if __name__ == "__main__":
    _answers, sys.stdout = sys.stdout, sys.stderr  # what anything else prints is not an answer
    try:
        serve(Path(sys.argv[1]), sys.stdin, _answers)
    except (BrokenPipeError, KeyboardInterrupt):  # the reader is gone
        os._exit(1)
