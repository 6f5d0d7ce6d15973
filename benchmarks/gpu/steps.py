"""Times of steps, of training and of evaluation on a GPU, beside plain twins and the GPU's floor.

    python benchmarks/gpu/steps.py --seconds 180 --out steps.json

Seconds by the clock with the device waited for: ``ms`` of a call among many that are given one
after another, ``host_ms`` until such a call returns when the device was idle before it, and
``alone_ms`` until the device is done with it; medians, after a few calls that warm up. The twins
(:mod:`twins`) are eager float32, class by class, under torch's own switches, with TF32 off; ``twin
tf32`` has it on in convolutions, as torch does by default. Sections, the most important first:
``floors``, ``steps``, ``evaluation``, ``profile``, ``grouped``, ``compiled``.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from condensery.condensation.loop import Condenser
from condensery.runtime.plan import exact_plan

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import runs
import twins
from floors import Floors
from sections import EAGER, Sections, facts_of, wait
from timed import Call, Timed, changed
from training_times import TrainingTimes

from gradient_step import operations as gradient_operations

from measure import forward_operations


class Steps(runs.Runs):
    """Steps of every recipe, what they spend their time on, and what compiling brings."""

    def steps(self) -> str:
        """All recipes, the most telling first."""
        if self.small:
            wanted = [(recipe, 2) for recipe in ("dm", "gm_mda", "idc", "cafe")]
        else:
            wanted = [("dm", 10), ("dc", 1), ("dsa", 10), ("dc", 10), ("idc", 10), ("cafe", 1)]
            wanted += [("gm_mda", 10), ("dm", 1), ("dsa", 1), ("dm", 50), ("dc", 50)]
            wanted += [("idc", 1), ("cafe", 10), ("gm_mda", 1), ("dsa", 50)]
        full = 0 if self.small else 6
        for place, (recipe, ipc) in enumerate(wanted):
            self._steps_of(recipe, ipc, full=place < full)
        return f"{len(wanted)} recipes and budgets"

    def _steps_of(self, recipe: str, ipc: int, full: bool) -> None:
        """Twins and plans of a recipe, in turn."""
        times: dict[str, dict[str, float]] = {}
        run: Condenser | None = None
        parts: dict[str, Call] = {}
        try:
            plans = self.plans(recipe, ipc, full)
        except Exception as error:  # the twin is measured all the same
            print(f"  {recipe} {ipc}: no plans, {error!r}"[:200], flush=True)
            plans = {}

        def note(what: str, part: str, found: dict[str, Any] | None) -> None:
            if found and "ms" in found:
                times.setdefault(part, {})[what] = found["ms"]
                first = times[part].get("twin")
                found["ratio"] = first / found["ms"] if first else None

        kinds = {"twin": False, **({"twin tf32": True} if self.gpu else {})}
        if self.named:
            kinds = {name: tf32 for name, tf32 in kinds.items() if name in self.named}
            plans = {name: plan for name, plan in plans.items() if name in self.named}
        for name, tf32 in kinds.items():
            run = self.made(f"{recipe} {ipc} {name}", recipe, ipc, exact_plan(self.device, 1))
            if run is None:
                continue
            with twins.plain(self.device, tf32):
                parts = self.parts_of(f"{recipe} {ipc} {name}", runs.twin_parts, recipe, run)
                for part, work in parts.items():
                    note(name, part, self.put(f"{recipe} {ipc} {part} {name}", work))
        for name, plan in plans.items():
            run = self.made(f"{recipe} {ipc} {name}", recipe, ipc, plan)
            if run is None:
                continue
            with plan.applied():
                parts = self.parts_of(f"{recipe} {ipc} {name}", runs.parts, recipe, run)
                for part, work in parts.items():
                    note(name, part, self.put(f"{recipe} {ipc} {part} {name}", work))
        del run, parts
        if self.gpu:  # graphs keep memory of their own
            gc.collect()
            torch.cuda.empty_cache()
        floor = self._floor_ms(recipe, ipc)
        if floor:
            self.sections.piece(f"{recipe} {ipc} floor", lambda: floor)
        for part, found in times.items():
            words = ", ".join(f"{name} {ms:.2f}" for name, ms in found.items())
            print(f"  {recipe} {ipc} {part}, ms: {words}", flush=True)

    def _floor_ms(self, recipe: str, ipc: int) -> dict[str, float]:
        """Milliseconds of the convolutions at the measured rates of products."""
        measured = self.sections.content["sections"].get("floors", {})
        rates = {kind: measured.get(f"product_{kind}_tflops") for kind in ("fp32", "tf32", "bf16")}
        rates = {kind: rate for kind, rate in rates.items() if isinstance(rate, float)}
        if recipe not in ("dm", "dc", "dsa", "gm_mda"):
            return {}
        real = 256 * self.data.train.classes
        work = gradient_operations(self.data, ipc, real)
        one = forward_operations(self.data.train.shape)
        if recipe == "dm":
            work = {"real": real * one, "made": 2 * self.data.train.classes * ipc * one}
        return {
            f"{part} {kind}_ms": work[part] / rate / 1e9
            for part in work
            for kind, rate in rates.items()
        }

    def profile(self) -> str:
        """Tables of what a few steps spend their time on, in a text file."""
        tables: list[str] = []
        lines = []
        for recipe, ipc, calls in (("dm", 10, 10), ("dsa", 10, 5), ("dc", 10, 5)):
            ipc, calls = (2, 1) if self.small else (ipc, calls)
            plans = self.plans(recipe, ipc, False)
            for name in ("auto", "eager"):
                if self.named and name not in self.named:
                    continue
                if name not in plans or (self.small and recipe != "dm"):
                    continue
                run = self.made(f"{recipe} {name}", recipe, ipc, plans[name])
                if run is None:
                    continue
                with plans[name].applied():
                    parts = self.parts_of(f"{recipe} {name}", runs.parts, recipe, run)
                    for part, work in parts.items():
                        found = self.sections.piece(
                            f"{recipe} {part} {name}",
                            partial(self._profiled, work, calls, tables),
                        )
                        if found and tables:
                            head = f"{recipe} IPC {ipc} {part} {name}, {calls} calls"
                            tables[-1] = f"=== {head}: {found}\n{tables[-1]}"
                            lines.append(f"{recipe} {part} {name} busy {found['busy']:.2f}")
                if self.sections.out is not None:
                    target = self.sections.out.with_suffix(".profile.txt")
                    target.write_text("\n\n".join(tables) + "\n", encoding="utf-8")
        return ", ".join(lines)

    def _profiled(self, work: Call, calls: int, tables: list[str]) -> dict[str, Any]:
        from torch.profiler import ProfilerActivity, profile

        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.gpu else [])]
        for k in range(5):
            work(k)
        wait(self.device)
        began = time.perf_counter()
        for k in range(calls):
            work(5 + k)
        wait(self.device)
        bare = time.perf_counter() - began
        with profile(activities=kinds) as seen:
            for k in range(calls):
                work(5 + calls + k)
            wait(self.device)
        averages = seen.key_averages()
        busy = sum(
            float(getattr(one, "self_device_time_total", 0.0))
            for one in averages
            if "CUDA" in str(getattr(one, "device_type", ""))
        )
        launches = sum(
            int(one.count) for one in averages if "launch" in one.key.lower() and "cuda" in one.key
        )
        orders = ["self_device_time_total"] if self.gpu else []
        shown = [
            averages.table(sort_by=order, row_limit=12, max_name_column_width=70)
            for order in [*orders, "self_cpu_time_total"]
        ]
        tables.append("\n".join(shown))
        return {
            "ms": 1e3 * bare / calls,
            "device_ms": busy / 1e3 / calls,
            "busy": busy / 1e6 / bare,
            "launches": launches / calls,
        }

    def compiled(self) -> str:
        """The first call of compiled plans, and later ones, where there is time for it."""
        lines = []
        for recipe in [] if self.small else ["dm", "dc"]:
            fast = self.plans(recipe, 10, False)["auto"]
            changes = {"name": "compiled", **EAGER, "compile": True, "together": True}
            plan = changed(fast, {**changes, "channels_last": True})
            if self.sections.left() < 75:
                self.sections.piece(f"{recipe} 10", lambda: None, need=75)
                continue
            run = self.made(f"{recipe} 10", recipe, 10, plan)
            if run is None:
                continue
            part, work = next(iter(self.parts_of(recipe, runs.parts, recipe, run).items()))
            with plan.applied():
                found = self.put(f"{recipe} 10 {part} compiled", work)
            if found and "ms" in found:
                lines.append(f"{recipe} {part} {found['ms']:.2f} ms after {found['first_ms']:.0f}")
        return ", ".join(lines) or "nothing compiled"


#: Sections and what has them, in order.
_SECTIONS: dict[str, type[Timed]] = {
    "floors": Floors,
    "steps": Steps,
    "evaluation": TrainingTimes,
    "profile": Steps,
    "grouped": Floors,
    "compiled": Steps,
}


def main(words: Sequence[str] | None = None) -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=here)
    parser.add_argument("--seconds", type=float, default=180.0, help="for all, imports included")
    parser.add_argument("--each", type=float, default=0.25, help="seconds a measurement")
    parser.add_argument("--only", nargs="*", default=[], metavar="SECTION")
    parser.add_argument("--plans", nargs="*", default=[], metavar="NAME", help="these alone")
    parser.add_argument("--small", action="store_true", help="tiny numbers, for a dry run")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    facts = {
        **facts_of("gpu steps", options.device),
        "protocol": "seconds by the clock, the device waited for; medians after warming up",
        "each_s": options.each,
    }
    sections = Sections(options.out, options.seconds, options.only, facts)
    for name in options.only or _SECTIONS:
        of = _SECTIONS[name](options.device, options.small, sections, options.each)
        of.named = options.plans
        sections.run(name, getattr(of, name))
    sections.write()
    print(f"steps done, {sections.left():.0f} s left", flush=True)


if __name__ == "__main__":
    main()
