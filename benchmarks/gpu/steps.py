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
import contextlib
import dataclasses
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, unfold

from condensery import nets, select_random
from condensery.condensation.configure import configure
from condensery.condensation.loop import Condenser
from condensery.evaluation.evaluator import Evaluator
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.runtime.plan import Plan, exact_plan
from condensery.runtime.randomness import fork_rng
from condensery.training.stacked import StackedNetworks

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import twins
from checks import (
    EAGER,
    SMALL,
    Sections,
    chosen,
    facts_of,
    known_fields,
    tiny_data,
    uncompiled,
    wait,
)

from gradient_step import operations as gradient_operations

from measure import forward_operations, noise_data

Call = Callable[[int], Any]

STRATEGY = "color_crop_cutout_flip_scale_rotate"


def paced(work: Call, device: str, seconds: float) -> dict[str, Any]:
    """Median times of a call, which gets the numbers 0, 1, 2, …

    Args:
        work: gives the device its work; its result is not read.
        device: that is waited for.
        seconds: about so long are calls measured; 0 takes as few as there can be.
    """
    number = itertools.count()
    gpu = device.startswith("cuda")
    wait(device)
    held = 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    began = time.perf_counter()
    work(next(number))
    wait(device)
    first = time.perf_counter() - began
    took = first
    rounds = 3 if seconds else 1
    for _ in range(rounds):
        began = time.perf_counter()
        work(next(number))
        wait(device)
        took = time.perf_counter() - began
        if took > seconds:
            break
    alone, host = [], []
    for _ in range(max(rounds - 1, 1, min(20, int(0.3 * seconds / took)))):
        began = time.perf_counter()
        work(next(number))
        host.append(time.perf_counter() - began)
        wait(device)
        alone.append(time.perf_counter() - began)
    count = max(1, min(100, int(0.2 * seconds / statistics.median(alone))))
    each = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            work(next(number))
        wait(device)
        each.append((time.perf_counter() - began) / count)
    peak = torch.cuda.max_memory_allocated() - held if gpu else 0
    return {
        "ms": 1e3 * statistics.median(each),
        "ms_range": [1e3 * min(each), 1e3 * max(each)],
        "host_ms": 1e3 * statistics.median(host),
        "alone_ms": 1e3 * statistics.median(alone),
        "first_ms": 1e3 * first,
        "calls": next(number),
        "peak_mb": peak / 2**20 if gpu else None,
    }


class Steps:
    """The sections, over random images of CIFAR-10's shape.

    Args:
        device: torch device.
        small: whether this is a dry run with tiny numbers.
        sections: where results go.
        each: seconds that a call is measured for.
    """

    def __init__(self, device: str, small: bool, sections: Sections, each: float) -> None:
        self.device, self.small, self.sections = device, small, sections
        self.gpu = device.startswith("cuda")
        self.each = 0.0 if small else each
        self.named: list[str] = []
        """Plans that are measured alone; all when empty."""
        self.data = tiny_data() if small else noise_data(10, 512)
        self.more: dict[str, Any] = SMALL if small else {}
        self.net = SMALL["supply.net"] if small else "convnet3"

    def put(self, name: str, work: Call, need: float = 0.0) -> dict[str, Any] | None:
        """Measure a call as a piece of the section."""
        found: dict[str, Any] | None = self.sections.piece(
            name, lambda: paced(work, self.device, self.each), need
        )
        return found

    # What the machine can do.

    def floors(self) -> str:
        """Copies, products, launches, and training passes of ConvNet-3."""
        piece, device = self.sections.piece, self.device
        size, side = (2**20, 256) if self.small else (2**28, 8192)

        def copies() -> float:
            source = torch.randn(size, device=device)
            target = torch.empty_like(source)
            found = paced(lambda k: target.copy_(source), device, self.each)
            return float(2 * source.nbytes / found["ms"] / 1e6)

        rates = {"copy GB/s": piece("copy_gb_s", copies)}

        def product(kind: str) -> float:
            dtype = torch.bfloat16 if kind == "bf16" else torch.float32
            a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
            out = torch.empty_like(a)
            with self.precision(kind):
                found = paced(lambda k: torch.mm(a, b, out=out), device, self.each)
            return float(2 * side**3 / found["ms"] / 1e9)

        for kind in ("fp32", "tf32", "bf16"):
            name = f"product_{kind}_tflops"
            rates[f"{kind} TFLOP/s"] = piece(name, partial(product, kind))
        self.rates = {kind: rates[f"{kind} TFLOP/s"] for kind in ("fp32", "tf32", "bf16")}
        self.sections.piece("launch_1000", lambda: paced(self._launches(), device, self.each))
        if self.gpu:
            self.sections.piece("graphed_1000", lambda: paced(self._replays(), device, self.each))
        for n in (4,) if self.small else (256, 100, 2560):
            for kind, last in itertools.product(("fp32", "tf32", "bf16"), (False, True)):
                layout = "channels_last" if last else "nchw"
                for fixed in (True, False) if n == 256 else (True,):
                    name = f"training {n} {kind} {layout}{'' if fixed else ' any algorithm'}"
                    piece(name, partial(self._training, n, kind, last, fixed))
        return ", ".join(f"{name} {value:.0f}" for name, value in rates.items() if value)

    @contextlib.contextmanager
    def precision(self, kind: str, deterministic: bool = True) -> Iterator[None]:
        """Torch's switches for fp32, tf32 or bf16."""
        if not self.gpu:
            yield
            return
        torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
        try:
            with torch.backends.cudnn.flags(
                enabled=True,
                benchmark=False,
                deterministic=deterministic,
                allow_tf32=kind == "tf32",
            ):
                yield
        finally:
            torch.set_float32_matmul_precision("highest")

    def _launches(self) -> Call:
        small = torch.zeros(8, device=self.device)

        def launches(k: int) -> None:
            for _ in range(1000):
                small.add_(1)

        return launches

    def _replays(self) -> Call:
        small = torch.zeros(8, device=self.device)
        small.add_(1)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(1000):
                small.add_(1)
        return lambda k: graph.replay()

    def _training(self, n: int, kind: str, last: bool, deterministic: bool) -> dict[str, Any]:
        """Forward and back to the weights of ConvNet-3, and the rate of its convolutions."""
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        layout = torch.channels_last if last else torch.contiguous_format
        with fork_rng(0, "floor"):
            network = nets.build(self.net, (3, 32, 32), 10).to(self.device, dtype)
        network = network.to(memory_format=layout)  # type: ignore[call-overload]
        weights = list(network.parameters())
        images = torch.randn(n, 3, 32, 32, device=self.device).to(dtype, memory_format=layout)
        labels = torch.arange(n, device=self.device) % 10

        def work(k: int) -> None:
            torch.autograd.grad(cross_entropy(network(images), labels), weights)

        with self.precision(kind, deterministic):
            found = paced(work, self.device, self.each)
        found["tflops"] = 3 * n * forward_operations((3, 32, 32)) / found["ms"] / 1e9
        return found

    # Steps.

    def plans(self, recipe: str, ipc: int, full: bool) -> dict[str, Plan]:
        """What is measured beside the twin: more of it where ``full``."""
        auto = chosen(self.data, recipe, ipc, self.device)
        out = {"exact": exact_plan(self.device, 1), "auto": auto}
        if self.gpu:
            out["eager"] = _changed(auto, {"name": "eager", **EAGER})
        if not full:
            return out
        single = {"real_dtype": "float32", "update_dtype": "float32"}
        half = {"real_dtype": "bfloat16", "update_dtype": "bfloat16"}
        out["float32"] = _changed(auto, {**single, "tf32": False})
        out["tf32"] = _changed(auto, {**single, "tf32": True})
        out["bf16 training"] = _changed(auto, half)
        out["other layout"] = _changed(auto, {"channels_last": not auto.channels_last})
        if auto.together:
            out["class by class"] = _changed(auto, {"together": False})
        return out

    def condenser(self, recipe: str, ipc: int, plan: Plan) -> Condenser:
        """A run whose parts are measured."""
        config = configure(self.data, recipe, {"ipc": ipc, **self.more})
        return Condenser(self.data, config, plan)

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
            run = self._made(f"{recipe} {ipc} {name}", recipe, ipc, exact_plan(self.device, 1))
            if run is None:
                continue
            with twins.plain(self.device, tf32):
                parts = self._parts_of(f"{recipe} {ipc} {name}", self.twin_parts, recipe, run)
                for part, work in parts.items():
                    note(name, part, self.put(f"{recipe} {ipc} {part} {name}", work))
        for name, plan in plans.items():
            run = self._made(f"{recipe} {ipc} {name}", recipe, ipc, plan)
            if run is None:
                continue
            with plan.applied():
                parts = self._parts_of(f"{recipe} {ipc} {name}", self.parts, recipe, run)
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

    def _parts_of(
        self,
        name: str,
        of: Callable[[str, Condenser], dict[str, Call]],
        recipe: str,
        run: Condenser,
    ) -> dict[str, Call]:
        """The parts of a step; none where they cannot be made."""
        made: list[dict[str, Call]] = []

        def make() -> list[str]:
            made.append(of(recipe, run))
            return list(made[0])

        self.sections.piece(f"{name} parts", make)
        return made[0] if made else {}

    def _made(self, name: str, recipe: str, ipc: int, plan: Plan) -> Condenser | None:
        if self.sections.left() <= 0:
            return None
        made: list[Condenser] = []

        def make() -> str:
            made.append(self.condenser(recipe, ipc, plan))
            return plan.describe()

        self.sections.piece(f"{name} plan", make)
        return made[0] if made else None

    def _floor_ms(self, recipe: str, ipc: int) -> dict[str, float]:
        """Milliseconds of the convolutions at the measured rates of products."""
        rates = {k: v for k, v in getattr(self, "rates", {}).items() if isinstance(v, float)}
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

    def twin_parts(self, recipe: str, run: Condenser) -> dict[str, Call]:
        """The parts of a recipe as the twin does them."""
        if recipe == "dm":
            return {"step": lambda k: twins.dm_step(run, k)}
        network = run.supply.new(0)
        if recipe == "idc":
            return {
                "match": lambda k: twins.idc_match(run, network, k),
                "update": lambda k: twins.idc_update(run, network, k),
            }
        epoch: dict[str, Call] = {"epoch": lambda k: twins.supply_epochs(run, network, 1)}
        if recipe == "cafe":
            return {
                "match": lambda k: twins.cafe_match(run, network, k),
                "check": lambda k: twins.cafe_check(run, network, k),
                **epoch,
            }
        fresh: dict[str, Call] = {
            "new and match": lambda k: twins.gradient_match(run, run.supply.new(k), k)
        }
        return {
            "match": lambda k: twins.gradient_match(run, network, k),
            **epoch,
            **(fresh if _single(run) else {}),
        }

    def parts(self, recipe: str, run: Condenser) -> dict[str, Call]:
        """The same parts under the run's plan."""
        if recipe == "dm":
            return {"step": lambda k: run.step()}
        network = run.supply.new(0)
        supply: Any = run.supply

        def match(k: int) -> Tensor:
            return run.matcher.gradient(network, run.stored.detach(), k, 0)[1]

        def epoch(k: int) -> None:
            course().epochs(*run.context().synthetic(), range(k, k + 1), (0, 0))

        held: list[Any] = []

        def course() -> Any:
            if not held:
                held.append(run.context().course(network, supply._protocol))
            return held[0]

        if recipe == "idc":
            images = run.config.supply.settings["images"]
            return {
                "match": match,
                "update": lambda k: course().some(run.context().real, images, (k, 0)),
            }
        if recipe == "cafe":
            query = run.config.supply.settings["query"]
            return {
                "match": match,
                "check": lambda k: course().accuracy(run.context().query(query, k)),
                "epoch": epoch,
            }
        fresh: dict[str, Call] = {"new and match": lambda k: run.step()}
        return {"match": match, "epoch": epoch, **(fresh if _single(run) else {})}

    # Evaluation.

    def evaluation(self) -> str:
        """An epoch of a network among those that are trained on a set."""
        lines = []
        for place, ipc in enumerate((2,) if self.small else (10, 1, 50)):
            row = Row.named("set", select_random(self.data, ipc=ipc), self.data)
            middle: dict[str, float] = {}
            for name, (count, work) in self._ways(row, full=place == 0).items():
                key = f"{ipc * self.data.train.classes} images, {name}"
                found = self.sections.piece(key, partial(self._epoch, count, work))
                if found and "ms" in found:
                    middle[name] = found["ms"]
                    found["ratio"] = middle["twin"] / found["ms"] if "twin" in middle else None
            words = ", ".join(f"{name} {ms:.3f}" for name, ms in middle.items())
            print(f"  IPC {ipc}, ms a network's epoch: {words}", flush=True)
            lines.append(f"IPC {ipc} best {min(middle.values()):.3f} ms" if middle else "")
        return "; ".join(lines)

    def _epoch(self, networks: int, work: Call) -> dict[str, Any]:
        """Milliseconds of a network's epoch: ``work`` trains some networks for some epochs."""
        few = 1 if self.small else 5
        began = time.perf_counter()
        work(few)
        wait(self.device)
        first = time.perf_counter() - began

        def seconds(epochs: int) -> float:
            if self.gpu:
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            work(epochs)
            wait(self.device)
            return time.perf_counter() - began

        again = seconds(few)
        more = max(few, min(100, int(few * self.each / again)))
        found = [(seconds(few + more) - seconds(few)) / more / networks for _ in range(2)]
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.gpu else None
        return {
            "ms": 1e3 * statistics.median(found),
            "ms_range": [1e3 * min(found), 1e3 * max(found)],
            "networks": networks,
            "epochs": more,
            "first_s": first,
            "peak_mb": peak,
        }

    def _ways(self, row: Row, full: bool) -> dict[str, tuple[int, Call]]:
        """Numbers of networks, and calls that train them for so many epochs; all where ``full``."""
        several = 2 if self.small else 20
        exact = exact_plan(self.device, 1)
        last = _changed(exact, {"channels_last": self.gpu})
        out: dict[str, tuple[int, Call]] = {}
        for name, tf32 in {"twin": False, **({"twin tf32": True} if self.gpu else {})}.items():
            out[name] = 1, self._twin(row, tf32)
        alone = {"exact": exact, "channels last": last, "tf32": _changed(last, {"tf32": True})}
        graphs = self.gpu and "graphs" in known_fields()
        if graphs:
            alone["graphs"] = _changed(last, {"graphs": True})
            alone["graphs nchw"] = _changed(exact, {"graphs": True})
            alone["graphs tf32"] = _changed(last, {"graphs": True, "tf32": True})
            half = {"graphs": True, "tf32": True, "update_dtype": "bfloat16"}
            alone["graphs bf16"] = _changed(last, half)
        crowds = {"together": exact, "together tf32": _changed(exact, {"tf32": True})}
        half = {"tf32": True, "update_dtype": "bfloat16"}
        crowds["together bf16"] = _changed(exact, half)
        if graphs:
            crowds["together graphs"] = _changed(exact, {"graphs": True})
            crowds["together graphs tf32"] = _changed(exact, {"graphs": True, "tf32": True})
        found: list[Plan] = []

        def automatic() -> str:
            how = EvaluationSettings(20, plan="auto", device=self.device, threads=1)
            found.append(uncompiled(cell_of(row, self.data, self.net, "dsa", how).plan))
            return found[0].describe()

        self.sections.piece(f"auto of {len(row.sets[0])} images", automatic)
        for auto in found:
            out["auto"] = auto.networks, self._bench(row, auto, auto.networks)
        for name, plan in alone.items():
            out[name] = 1, self._bench(row, plan, 1)
        for name, plan in crowds.items():
            out[f"{several} {name}"] = several, self._bench(row, plan, several)
        few = ("twin", "auto", "exact", "graphs", "graphs tf32", f"{several} together")
        if self.named:
            return {name: way for name, way in out.items() if name in self.named}
        return out if full else {name: out[name] for name in few if name in out}

    def _twin(self, row: Row, tf32: bool) -> Call:
        """One network, plainly."""

        def work(epochs: int) -> None:
            images, labels = row.sets[0].images, row.sets[0].labels
            network = nets.build(self.net, self.data.train.shape, self.data.train.classes)
            how: dict[str, Any] = {"weight_decay": 5e-4, "strategy": STRATEGY}
            with twins.plain(self.device, tf32):
                twins.train_epochs(
                    network.to(self.device),
                    images.to(self.device),
                    labels.to(self.device),
                    epochs,
                    **how,
                )

        return work

    def _bench(self, row: Row, plan: Plan, networks: int) -> Call:
        """Networks under a plan, in one call where there are several; made when first called."""
        held: list[Evaluator] = []

        def work(epochs: int) -> None:
            if not held:
                held.append(
                    Evaluator(
                        cell_of(row, self.data, self.net, "dsa", EvaluationSettings(1, plan=plan))
                    )
                )
            bench = held[0]
            trainer = bench.trainer
            trainer.protocol = bench.cell.training.changed(epochs=epochs)
            with plan.applied():
                built: list[nn.Module] = [bench._new(0, number) for number in range(networks)]
                if networks == 1:
                    trainer.train(built[0], bench._source(0), 0)
                else:
                    StackedNetworks(trainer, built).train(bench._source(0), range(networks))

        return work

    # Where the time goes.

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
                run = self._made(f"{recipe} {name}", recipe, ipc, plans[name])
                if run is None:
                    continue
                with plans[name].applied():
                    parts = self._parts_of(f"{recipe} {name}", self.parts, recipe, run)
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

    # Convolutions of several networks.

    def grouped(self) -> str:
        """Twenty convolutions, forward and back: grouped, one by one, and as products."""
        several, channels, side = (2, 4, 4) if self.small else (20, 128, 16)
        for n, kind in itertools.product(
            (2,) if self.small else (10, 100), ("fp32", "tf32", "bf16")
        ):
            dtype = torch.bfloat16 if kind == "bf16" else torch.float32
            for way in ("grouped", "single", "products"):

                def work(n: int = n, kind: str = kind, way: str = way, t: Any = dtype) -> Any:
                    x = torch.randn(several, n, channels, side, side, device=self.device).to(t)
                    w = torch.randn(several, channels, channels, 3, 3, device=self.device).to(t)
                    x, w = x.requires_grad_(), w.requires_grad_()
                    slope = torch.randn_like(x)

                    def call(k: int) -> None:
                        out = _CONVOLVED[way](x, w)
                        torch.autograd.grad(out, (x, w), slope)

                    with self.precision(kind):
                        return paced(call, self.device, self.each / 2)

                self.sections.piece(f"{several}x{n} {kind} {way}", work, need=2)
        held = self.sections.content["sections"]["grouped"]
        found = {k: v["ms"] for k, v in held.items() if isinstance(v, dict) and "ms" in v}
        return ", ".join(f"{name} {ms:.2f}" for name, ms in found.items())

    # What compiling brings.

    def compiled(self) -> str:
        """The first call of compiled plans, and later ones, where there is time for it."""
        lines = []
        for recipe in [] if self.small else ["dm", "dc"]:
            fast = self.plans(recipe, 10, False)["auto"]
            changes = {"name": "compiled", **EAGER, "compile": True, "together": True}
            plan = _changed(fast, {**changes, "channels_last": True})
            if self.sections.left() < 75:
                self.sections.piece(f"{recipe} 10", lambda: None, need=75)
                continue
            run = self._made(f"{recipe} 10", recipe, 10, plan)
            if run is None:
                continue
            part, work = next(iter(self._parts_of(recipe, self.parts, recipe, run).items()))
            with plan.applied():
                found = self.put(f"{recipe} 10 {part} compiled", work)
            if found and "ms" in found:
                lines.append(f"{recipe} {part} {found['ms']:.2f} ms after {found['first_ms']:.0f}")
        return ", ".join(lines) or "nothing compiled"


def _changed(plan: Plan, changes: dict[str, Any]) -> Plan:
    return dataclasses.replace(plan, **changes)


def _single(run: Condenser) -> bool:
    """Whether an outer iteration is one pixel step."""
    return int(run.config.supply.settings.get("steps") or 0) == 1


def _grouped(x: Tensor, w: Tensor) -> Tensor:
    several, n, channels, *side = x.shape
    merged = x.transpose(0, 1).reshape(n, several * channels, *side)
    out = conv2d(merged, w.flatten(0, 1), padding=1, groups=several)
    return out.view(n, several, channels, *side).transpose(0, 1)


def _one_by_one(x: Tensor, w: Tensor) -> Tensor:
    return torch.stack([conv2d(a, b, padding=1) for a, b in zip(x, w, strict=True)])


def _products(x: Tensor, w: Tensor) -> Tensor:
    several, n, channels, *side = x.shape
    columns = unfold(x.flatten(0, 1), 3, padding=1).view(several, n, channels * 9, -1)
    columns = columns.transpose(1, 2).reshape(several, channels * 9, -1)
    out = torch.bmm(w.flatten(2), columns)
    return out.view(several, channels, n, *side).transpose(1, 2)


_CONVOLVED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grouped": _grouped,
    "single": _one_by_one,
    "products": _products,
}


_SECTIONS = ("floors", "steps", "evaluation", "profile", "grouped", "compiled")


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
    steps = Steps(options.device, options.small, sections, options.each)
    steps.named = options.plans
    for name in options.only or _SECTIONS:
        sections.run(name, getattr(steps, name))
    sections.write()
    print(f"steps done, {sections.left():.0f} s left", flush=True)


if __name__ == "__main__":
    main()
