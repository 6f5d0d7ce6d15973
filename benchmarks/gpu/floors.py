"""What a GPU can do: copies, products, launches, and convolutions of one network and of several."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timed import Call, Timed, paced
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, unfold

from condensery import nets
from condensery.runtime.randomness import fork_rng

from measure import forward_operations


class Floors(Timed):
    """Floors that steps and training are measured against."""

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
