"""Accuracies that are kept network by network, so that an interrupted test goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import write_json


class Accuracies:
    """The accuracies of some sets in one file, which is written after every network.

    Args:
        path: the file.
        facts: what the accuracies depend on beside the sets; a file of other facts begins anew.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.facts = dict(facts)
        self._sets: list[dict[str, Any]] = self._read()
        self._since = time.perf_counter()

    def of(self, number: int, digest: str) -> list[float]:
        """What is known of a set; a set with another digest is another one.

        Args:
            number: of the set.
            digest: of its file.
        """
        while len(self._sets) <= number:
            self._sets.append({"digest": "", "seconds": 0.0, "accuracies": []})
        if self._sets[number]["digest"] != digest:
            self._sets[number] = {"digest": digest, "seconds": 0.0, "accuracies": []}
        return list(self._sets[number]["accuracies"])

    @property
    def seconds(self) -> float:
        """Time that the networks took."""
        return sum(float(one["seconds"]) for one in self._sets)

    def begin(self) -> None:
        """The time of the next network counts from now on."""
        self._since = time.perf_counter()

    def add(self, number: int, accuracy: float) -> None:
        """One more network of a set, in order; the file is written."""
        now = time.perf_counter()
        one = self._sets[number]
        one["accuracies"].append(accuracy)
        one["seconds"] += now - self._since
        self._since = now
        write_json(self.path, {"facts": self.facts, "sets": self._sets})

    def _read(self) -> list[dict[str, Any]]:
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            if held["facts"] != self.facts:
                return []
            return [
                {
                    "digest": str(one["digest"]),
                    "seconds": float(one["seconds"]),
                    "accuracies": [float(a) for a in one["accuracies"]],
                }
                for one in held["sets"]
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []
