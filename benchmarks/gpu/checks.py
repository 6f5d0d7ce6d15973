"""Whether a GPU computes what it should, in under a minute.

    python benchmarks/gpu/checks.py --out checks.json

Sections, the most important first: ``environment``; ``determinism`` (the same seed twice, bytes
compared, and waits for the device counted); ``agreement`` (pixel gradients of every plan against
float64, beside the noise of another real batch); ``resume``; ``evaluation`` (accuracies of the
same networks under several plans, in pairs); ``compiler``. Each piece is caught and timed by
itself, and the file is written after each: what fails leaves its traceback, and the rest goes on.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condensery import evaluate, select_random
from condensery.condensation.configure import configure, plan_for
from condensery.condensation.loop import Condenser
from condensery.data import Data, load
from condensery.runtime.plan import Plan, exact_plan, fast_bfloat16, has_compiler
from condensery.utils.checkpoint import load_state, save_state

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sections import EAGER, SMALL, Sections, chosen, facts_of, known_fields, tiny_data, wait

from measure import noise_data, reference_gradients, relative

#: Short forms of the recipes' schedules: a few steps, every part of a step.
SHORT: dict[str, dict[str, Any]] = {
    "dm": {"iterations": 5},
    "dsa": {"iterations": 2, "supply.steps": 3, "supply.epochs": 2},
    "dc": {"iterations": 2, "supply.steps": 3, "supply.epochs": 2},
    "gm_mda": {"iterations": 2, "supply.steps": 3, "supply.epochs": [2]},
    "idc": {"iterations": 1, "supply.steps": 4, "supply.images": 160},
    "cafe": {
        "iterations": 1,
        "supply.gamma": 2,
        "supply.step_cap": 4,
        "supply.epoch_cap": 3,
        "supply.query": 32,
    },
}


def digest(*tensors: Tensor) -> str:
    """SHA-256 of bytes."""
    out = hashlib.sha256()
    for tensor in tensors:
        out.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return out.hexdigest()


def plans_for(data: Data, recipe: str, ipc: int, device: str) -> dict[str, Plan]:
    """``exact``, ``auto`` without compiling, and ``auto`` one choice at a time."""
    gpu = device.startswith("cuda")
    base = chosen(data, recipe, ipc, device)
    single = dataclasses.replace(
        base, name="float32", real_dtype="float32", update_dtype="float32", tf32=False
    )
    out = {
        "auto": base,
        "exact": exact_plan(device, 1),
        "float32": single,
        "tf32": dataclasses.replace(single, name="tf32", tf32=True),
        "bf16": dataclasses.replace(single, name="bf16", real_dtype="bfloat16"),
    }
    if gpu:
        out["eager"] = dataclasses.replace(base, name="eager", **EAGER)
    return out


class Checks:
    """The sections, over the same data.

    Args:
        device: torch device.
        small: whether this is a dry run with tiny numbers.
        sections: where results go.
        nets: networks that are compared in pairs.
    """

    def __init__(self, device: str, small: bool, sections: Sections, nets: int = 5) -> None:
        self.device, self.small, self.sections, self.nets = device, small, sections, nets
        self.more = SMALL if small else {}
        self._held: dict[str, Data] = {}

    def data(self, name: str) -> Data:
        """``noise`` of CIFAR-10's shape, ``digits``, or MNIST where it is there."""
        if name not in self._held:
            random = name == "noise"
            own = tiny_data() if self.small else noise_data(10, 512)
            self._held[name] = own if random else load(name)
        return self._held[name]

    def real(self) -> str:
        """MNIST where it is, digits otherwise."""
        root = os.environ.get("CONDENSERY_DATA")
        there = root is not None and (Path(root) / "mnist").is_dir()
        return "mnist" if there and not self.small else "digits"

    def condenser(self, recipe: str, data: Data, plan: Plan, **more: Any) -> Condenser:
        """A short run."""
        given = {"ipc": 2, **SHORT[recipe], **self.more, **more}
        return Condenser(data, configure(data, recipe, given), plan)

    def recipes(self) -> list[str]:
        """Those that are tried."""
        return ["dm", "dc"] if self.small else list(SHORT)

    def environment(self) -> str:
        """What is here, and how long it takes to import it in a fresh process."""
        held = self.sections.content["sections"]["environment"]
        if not self.small:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import condensery"], check=True)
            held["import_s"] = time.perf_counter() - began
        held["bfloat16"] = fast_bfloat16(self.device)
        held["processors"] = os.cpu_count()
        if self.device.startswith("cuda"):
            began = time.perf_counter()
            torch.ones(8, device=self.device).sum().item()
            held["first_kernel_s"] = time.perf_counter() - began
            facts = torch.cuda.get_device_properties(self.device)
            held["memory_gb"] = facts.total_memory / 2**30
            held["capability"] = list(torch.cuda.get_device_capability())
            held["cudnn"] = torch.backends.cudnn.version()
        held["plan_fields"] = sorted(known_fields())
        for recipe in [] if self.small else self.recipes():
            data = self.data("noise")
            config = configure(data, recipe, {"ipc": 10})
            held[f"auto {recipe}"] = plan_for(data, config, "auto", self.device).describe()
        return (
            f"torch {torch.__version__}, import {held.get('import_s', 0):.1f} s, "
            f"bf16 {held['bfloat16']}"
        )

    def compiler(self) -> str:
        """Whether torch.compile works here, and how long it takes to find out."""
        if self.small:
            return "not asked"
        found = self.sections.piece("has_compiler", lambda: has_compiler(self.device), need=5)
        return str(found)

    def determinism(self) -> str:
        """The same seed twice, and how often the host waits for the device in a step."""
        same, different = 0, []
        for source in ["noise"] if self.small else ["noise", "digits"]:
            for recipe in self.recipes():
                data = self.data(source)
                plans = plans_for(data, recipe, 2, self.device)
                for name in ("auto", "exact", "eager") if source == "noise" else ("auto",):
                    if name not in plans:
                        continue
                    key = f"{source} {recipe} {name}"
                    found = self.sections.piece(
                        key, partial(self._twice, recipe, data, plans[name])
                    )
                    if found and found["same"]:
                        same += 1
                    elif found:
                        different.append(key)
        if self.device.startswith("cuda"):
            for recipe in self.recipes():
                plan = plans_for(self.data("noise"), recipe, 2, self.device)["auto"]
                self.sections.piece(f"waits {recipe}", partial(self._waits, recipe, plan))
        held = self.sections.content["sections"]["determinism"]
        waits = {k[6:]: v.get("a_step") for k, v in held.items() if k.startswith("waits ")}
        return f"{same} the same twice; different: {different or 'none'}; waits a step {waits}"

    def _twice(self, recipe: str, data: Data, plan: Plan) -> dict[str, Any]:
        stored, took = [], []
        for _ in range(2):
            began = time.perf_counter()
            run = self.condenser(recipe, data, plan)
            run.run()
            stored.append(run.stored.detach().cpu())
            took.append(time.perf_counter() - began)
        return {
            "same": digest(stored[0]) == digest(stored[1]),
            "sha256": digest(stored[0]),
            "largest_difference": float((stored[0] - stored[1]).abs().max()),
            "steps": run.steps,
            "seconds": took,
            "plan": plan.describe(),
        }

    def _waits(self, recipe: str, plan: Plan) -> dict[str, Any]:
        """Waits by the line of code that makes them."""
        run = self.condenser(recipe, self.data("noise"), plan, iterations=100)
        steps = 3
        with plan.applied():
            for _ in range(2):
                run.step()
            wait(self.device)
            with waits() as places:
                for _ in range(steps):
                    run.step()
        counted = collections.Counter(places)
        return {"a_step": len(places) / steps, "places": dict(counted.most_common(12))}

    def agreement(self) -> str:
        """Relative errors of the first step's pixel gradient."""
        lines = []
        for recipe in self.recipes():
            found = self.sections.piece(recipe, partial(self._agreement, recipe))
            if found:
                named = {k: v for k, v in found.items() if isinstance(v, float)}
                lines.append(f"{recipe}: " + ", ".join(f"{k} {v:.1e}" for k, v in named.items()))
        return "\n  ".join(lines)

    def _agreement(self, recipe: str) -> dict[str, Any]:
        """Against float64 on the CPU, with a small real batch, so that it does not take long."""
        data, real = self.data("noise"), 8 if self.small else 32
        ipc = 2 if self.small else 10

        def gradient(plan: Plan) -> Tensor:
            run = self.condenser(recipe, data, plan, ipc=ipc, real_batch=real)
            with plan.applied():
                found = run.matcher.gradient(run.supply.new(0), run.stored.detach(), 0, 0)[1]
            return found.detach().cpu().double()

        threads = min(16, os.cpu_count() or 1) if not self.small else 1
        expected = gradient(exact_plan("cpu", threads, "float64"))
        double = exact_plan(self.device, 1, "float64")
        out: dict[str, Any] = {"float64 here": relative(gradient(double), expected)}
        errors: dict[str, str] = {}
        for name, plan in plans_for(data, recipe, ipc, self.device).items():
            try:
                out[name] = relative(gradient(plan), expected)
            except Exception as error:  # a plan that fails does not hide the others
                errors[name] = repr(error)
        run = self.condenser(recipe, data, double, ipc=ipc, real_batch=real)
        try:
            with double.applied():
                pairs = reference_gradients(run, 1 if self.small else 2)
            out["another batch"] = statistics.mean(relative(b, a) for a, b in pairs)
        except Exception as error:
            errors["another batch"] = repr(error)
        return {**out, "errors": errors} if errors else out

    def resume(self) -> str:
        """A run that is stopped half way and taken up, against one that is not."""
        results = {}
        for recipe in ("dm",) if self.small else ("dm", "dc", "idc"):
            found = self.sections.piece(recipe, partial(self._resume, recipe))
            results[recipe] = found and (found["same"], found["continues_on_cpu"])
        return f"same bytes, continues on a CPU: {results}"

    def _resume(self, recipe: str) -> dict[str, Any]:
        data = self.data("noise")
        plan = plans_for(data, recipe, 2, self.device)["auto"]
        whole = self.condenser(recipe, data, plan)
        with plan.applied():
            while not whole.finished:
                whole.step()
        half = self.condenser(recipe, data, plan)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "state.safetensors"
            with plan.applied():
                for _ in range(whole.steps // 2):
                    half.step()
                save_state(half.state(), place)
            again = self.condenser(recipe, data, plan)
            again.load_state(load_state(place))
            with plan.applied():
                while not again.finished:
                    again.step()
            there = self.condenser(recipe, data, exact_plan("cpu", 1))
            there.load_state(load_state(place))
            there.step()
        return {
            "same": digest(again.stored) == digest(whole.stored),
            "largest_difference": float((again.stored - whole.stored).detach().abs().max()),
            "continues_on_cpu": bool(there.stored.isfinite().all()),
            "steps": whole.steps,
        }

    def evaluation(self) -> str:
        """The same networks under several plans, random sets, in pairs with ``exact``."""
        name = self.real()
        data, lines = self.data(name), []
        count, epochs = (2, 2) if self.small else (self.nets, 100)
        exact = exact_plan(self.device, 1)
        # Recorded steps on a GPU: pairs need many networks, and eager ones take long.
        fast: dict[str, Any] = {"graphs": True} if self.device != "cpu" else {}
        single = dataclasses.replace(exact, name="tf32", tf32=True, **fast)
        plans: dict[str, str | Plan] = {"auto": "auto", "tf32": single}
        if not self.small:
            more: dict[str, Any] = {"update_dtype": "bfloat16", **fast}
            plans["bf16"] = dataclasses.replace(exact, name="bf16", **more)
        for ipc in (1,) if self.small else (1, 10):
            set_ = select_random(data, ipc=ipc)

            def accuracies(plan: str | Plan, set_: Any = set_) -> dict[str, Any]:
                given: dict[str, Any] = {"repeats": count, "epochs": epochs, "protocol": "dc"}
                given |= {"network": "convnet3:width=8"} if self.small else {}
                given |= {"device": self.device, "threads": 1} if isinstance(plan, str) else {}
                began = time.perf_counter()
                found = evaluate(set_, data, plan=plan, **given)[0]
                seconds = time.perf_counter() - began
                known = list(found.accuracies)
                return {"accuracies": known, "mean": found.mean, "std": found.std,
                        "plan": found.plan, "protocol": found.protocol,
                        "seconds": seconds}  # fmt: skip

            first = self.sections.piece(f"{name} ipc{ipc} exact", partial(accuracies, exact))
            words = [f"exact {first['mean']:.2f}"] if first else []
            for label, plan in plans.items():
                key = f"{name} ipc{ipc} {label}"
                found = self.sections.piece(key, partial(accuracies, plan))
                if first and found:
                    pairs = zip(found["accuracies"], first["accuracies"], strict=True)
                    found["differences"] = [a - b for a, b in pairs]
                    most = max(abs(d) for d in found["differences"])
                    mean = statistics.mean(found["differences"])
                    words.append(f"{label} {mean:+.3f} (largest {most:.2f})")
            lines.append(f"{name} IPC {ipc}: " + ", ".join(words))
        return "; ".join(lines)


@contextmanager
def waits() -> Iterator[list[str]]:
    """The places where the host waits for the device, one entry a time."""
    places: list[str] = []
    always = torch.is_warn_always_enabled()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.set_warn_always(True)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")
            torch.set_warn_always(always)
            for one in seen:
                if "synchroniz" in str(one.message).lower():
                    file = Path(one.filename)
                    places.append(f"{file.parent.name}/{file.name}:{one.lineno}")


def main(words: Sequence[str] | None = None) -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__)
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=here)
    parser.add_argument("--seconds", type=float, default=85.0, help="for all, imports included")
    parser.add_argument("--only", nargs="*", default=[], metavar="SECTION")
    parser.add_argument("--nets", type=int, default=5, help="of the evaluation")
    parser.add_argument("--small", action="store_true", help="tiny numbers, for a dry run")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    facts = facts_of("gpu checks", options.device)
    sections = Sections(options.out, options.seconds, options.only, facts)
    checks = Checks(options.device, options.small, sections, options.nets)
    for name in ("environment", "determinism", "agreement", "resume", "evaluation", "compiler"):
        sections.run(name, getattr(checks, name))
    sections.content["total_s"] = sections.spent()
    sections.write()
    print(f"checks done in {sections.content['total_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
