"""What the scripts share: pieces of work that are caught and timed, and the plans they compare."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from condensery.condensation.configure import configure, plan_for
from condensery.data import Data, load
from condensery.runtime.plan import Plan, choose_plan
from condensery.runtime.provenance import commit

#: The start of the process, near enough: imports count.
_BEGAN = time.perf_counter() - time.process_time()

#: What makes a plan eager, call by call.
EAGER: dict[str, Any] = {"compile": False, "together": False}
EAGER |= {"graphs": False} if "graphs" in {f.name for f in dataclasses.fields(Plan)} else {}
#: What a dry run puts on top.
SMALL: dict[str, Any] = {"supply.net": "convnet3:width=8", "real_batch": 8, "iterations": 2}


class Sections:
    """Pieces of work that are caught, timed and written one by one, until the time is up.

    Args:
        out: the JSON file.
        seconds: for all of them, from the start of the process.
        only: names of sections; all when empty.
        facts: what the file begins with.
    """

    def __init__(
        self, out: Path | None, seconds: float, only: Sequence[str], facts: dict[str, Any]
    ) -> None:
        self.out, self.seconds, self.only = out, seconds, tuple(only)
        self.content: dict[str, Any] = {**facts, "sections": {}}
        self._section = ""

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - self.spent()

    def spent(self) -> float:
        """Seconds since the process began."""
        return time.perf_counter() - _BEGAN

    def run(self, name: str, work: Callable[[], str]) -> None:
        """One section; it gives a line for people."""
        if self.only and name not in self.only:
            return
        began, self._section = time.perf_counter(), name
        self.content["sections"].setdefault(name, {})
        try:
            line = work() if self.left() > 0 else "no time left"
        except Exception:  # whatever breaks, the other sections are run
            self.content["sections"][name]["error"] = traceback.format_exc()
            line = f"FAILED: {last_line(traceback.format_exc())}"
        took = time.perf_counter() - began
        self.content["sections"][name]["seconds"] = took
        self.write()
        print(f"[{name} {took:.1f} s] {line}", flush=True)

    def piece(self, name: str, work: Callable[[], Any], need: float = 0.0) -> Any:
        """One result of the section; None where it failed or where there was no time for it.

        Args:
            name: its key.
            work: gives plain values.
            need: seconds that must be left.
        """
        place = self.content["sections"][self._section]
        if self.left() <= need:
            place.setdefault("skipped", []).append(name)
            return None
        found = None
        try:
            found = place[name] = work()
        except Exception:  # whatever breaks, the other pieces are run
            place[name] = {"error": traceback.format_exc()}
            print(f"  {name} FAILED: {last_line(place[name]['error'])[:160]}", flush=True)
        self.write()
        return found

    def write(self) -> None:
        """The file as it is now."""
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.out.with_suffix(".tmp")
            fresh.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
            fresh.replace(self.out)


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def facts_of(name: str, device: str) -> dict[str, Any]:
    """What numbers were measured on."""
    found: dict[str, Any] = {
        "benchmark": name,
        "device": device,
        "gpu": torch.cuda.get_device_name() if device.startswith("cuda") else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "commit": os.environ.get("CONDENSERY_COMMIT") or commit(),
        "seed": 0,
    }
    return found


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def known_fields() -> set[str]:
    """Fields of a plan; some are newer than this file."""
    return {field.name for field in dataclasses.fields(Plan)}


def uncompiled(plan: Plan) -> Plan:
    """A plan without compiling; classes stay together where recorded calls take them."""
    recorded = bool(getattr(plan, "graphs", False))
    return dataclasses.replace(plan, compile=False, together=plan.together and recorded)


def chosen(data: Data, recipe: str, ipc: int, device: str) -> Plan:
    """``auto`` for a recipe's whole schedule, or for one too short to compile on a CPU."""
    if device == "cpu":
        return choose_plan("auto", shape=data.train.shape, images=1.0, device=device, threads=1)
    return uncompiled(plan_for(data, configure(data, recipe, {"ipc": ipc}), "auto", device, 1))


def tiny_data() -> Data:
    """Random images for a dry run."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    images = rng.integers(0, 256, (len(labels), 3, 16, 16), dtype=np.uint8)
    return load((images, labels), test=(images[::4].copy(), labels[::4].copy()))
