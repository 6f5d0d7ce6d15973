"""Times of training networks on small sets, one at a time and together."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import torch
import twins
from sections import known_fields, uncompiled, wait
from timed import Call, Timed, changed
from torch import nn

from condensery import nets, select_random
from condensery.evaluation.evaluator import Evaluator
from condensery.evaluation.rows import Row
from condensery.evaluation.run import EvaluationSettings, cell_of
from condensery.runtime.plan import Plan, exact_plan
from condensery.training.stacked import StackedNetworks

STRATEGY = "color_crop_cutout_flip_scale_rotate"


class TrainingTimes(Timed):
    """An epoch on sets of several sizes."""

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
        last = changed(exact, {"channels_last": self.gpu})
        out: dict[str, tuple[int, Call]] = {}
        for name, tf32 in {"twin": False, **({"twin tf32": True} if self.gpu else {})}.items():
            out[name] = 1, self._twin(row, tf32)
        alone = {"exact": exact, "channels last": last, "tf32": changed(last, {"tf32": True})}
        graphs = self.gpu and "graphs" in known_fields()
        if graphs:
            alone["graphs"] = changed(last, {"graphs": True})
            alone["graphs nchw"] = changed(exact, {"graphs": True})
            alone["graphs tf32"] = changed(last, {"graphs": True, "tf32": True})
            half = {"graphs": True, "tf32": True, "update_dtype": "bfloat16"}
            alone["graphs bf16"] = changed(last, half)
        crowds = {"together": exact, "together tf32": changed(exact, {"tf32": True})}
        half = {"tf32": True, "update_dtype": "bfloat16"}
        crowds["together bf16"] = changed(exact, half)
        if graphs:
            crowds["together graphs"] = changed(exact, {"graphs": True})
            crowds["together graphs tf32"] = changed(exact, {"graphs": True, "tf32": True})
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
